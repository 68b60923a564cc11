#include "server/core/ids.h"

#include <cstddef>

#include "absl/strings/str_cat.h"

namespace dreamgate::core {
namespace {

constexpr char kAlphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

}  // namespace

std::string IdGenerator::Next(absl::Time now, Random& random) {
  const auto now_millis = static_cast<uint64_t>(absl::ToUnixMillis(now));
  if (now_millis > millis_) {
    millis_ = now_millis;
    random_high_ = static_cast<uint16_t>(random.Draw());
    random_low_ = random.Draw();
  } else {
    // A random step keeps the order and leaves the next id as unguessable as the first.
    const uint64_t step = (random.Draw() >> 24) + 1;
    random_low_ += step;
    if (random_low_ < step && ++random_high_ == 0) ++millis_;  // all 80 bits have run over
  }

  std::string id(26, '0');
  uint64_t time = millis_;
  for (int i = 9; i >= 0; --i, time >>= 5) id[static_cast<size_t>(i)] = kAlphabet[time & 31];
  uint64_t low = random_low_;
  uint64_t high = random_high_;
  for (int i = 25; i >= 10; --i) {
    id[static_cast<size_t>(i)] = kAlphabet[low & 31];
    low = (low >> 5) | (high << 59);
    high >>= 5;
  }
  return id;
}

std::string AttemptToken(absl::Time now, Random& random) {
  constexpr size_t kTimeDigits = 11;  // until the year 2527
  const std::string millis = absl::StrCat(absl::Hex(absl::ToUnixMillis(now), absl::kZeroPad11));
  return random.UnguessableToken().replace(0, kTimeDigits, millis, millis.size() - kTimeDigits);
}

}  // namespace dreamgate::core

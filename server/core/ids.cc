#include "server/core/ids.h"

#include "absl/strings/str_format.h"

namespace dreamgate::core {
namespace {

constexpr char kAlphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

}  // namespace

std::string AttemptToken(absl::Time now, Random& random) {
  const auto millis = static_cast<uint64_t>(absl::ToUnixMillis(now)) & 0xFFFF'FFFF'FFFF;
  return absl::StrFormat("%012x%s", millis, random.UnguessableToken().substr(0, 20));
}

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

}  // namespace dreamgate::core

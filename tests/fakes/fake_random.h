// A seeded generator: the same seed, the same history.
#ifndef DREAMGATE_TESTS_FAKES_FAKE_RANDOM_H_
#define DREAMGATE_TESTS_FAKES_FAKE_RANDOM_H_

#include <cstdint>
#include <random>
#include <string>

#include "absl/strings/str_format.h"
#include "server/core/ports.h"

namespace dreamgate::fakes {

class FakeRandom final : public core::Random {
 public:
  explicit FakeRandom(uint64_t seed = 1) : engine_(seed) {}
  uint64_t Draw() override { return engine_(); }
  std::string UnguessableToken() override {
    return absl::StrFormat("%016x%016x", engine_(), engine_());
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace dreamgate::fakes

#endif  // DREAMGATE_TESTS_FAKES_FAKE_RANDOM_H_

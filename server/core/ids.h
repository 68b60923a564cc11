// Names that are drawn here and that nobody can guess.
//
// Prediction ids: 26 characters of Crockford's base 32 in lower case, 48 bits of
// milliseconds and 80 random ones (the layout of a ULID), so that they sort by time of
// creation.
// Attempt tokens: 32 lower-case hexadecimal digits, 11 of milliseconds and 21 random ones. They
// rise with time so that the ledger's index of them is appended to: random ones would change
// another page of it with each submission.
#ifndef DREAMGATE_SERVER_CORE_IDS_H_
#define DREAMGATE_SERVER_CORE_IDS_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "server/core/ports.h"

namespace dreamgate::core {

// Makes ids that rise strictly, also within a millisecond and when the clock steps back. Loop only.
class IdGenerator {
 public:
  std::string Next(absl::Time now, Random& random);

 private:
  uint64_t millis_ = 0;
  uint16_t random_high_ = 0;  // 16 of the 80 random bits
  uint64_t random_low_ = 0;   // the other 64
};

std::string AttemptToken(absl::Time now, Random& random);

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_IDS_H_

// SHA-256, HMAC, constant-time comparison and random bytes. A leaf over OpenSSL, which stays
// behind this header. Free functions without state; safe from any thread.
#ifndef DREAMGATE_SERVER_CRYPTO_CRYPTO_H_
#define DREAMGATE_SERVER_CRYPTO_CRYPTO_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace dreamgate::crypto {

// 64 lower-case hex digits.
std::string Sha256Hex(absl::string_view data);

// HMAC with SHA-256 (RFC 2104), as 64 lower-case hex digits. Any key length, also empty.
std::string HmacSha256Hex(absl::string_view key, absl::string_view message);

// Takes a time that depends on the lengths only, never on where the two differ.
bool ConstantTimeEquals(absl::string_view left, absl::string_view right);

// `bytes` (>= 0) bytes from the system's CSPRNG as 2 * `bytes` lower-case hex digits.
// Ends the process if there is no entropy: a guessable token is worse than none.
std::string RandomHex(int bytes);

// Uniform over all 64-bit values, from the same source and with the same end.
uint64_t RandomU64();

}  // namespace dreamgate::crypto

#endif  // DREAMGATE_SERVER_CRYPTO_CRYPTO_H_

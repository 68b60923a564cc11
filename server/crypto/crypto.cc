#include "server/crypto/crypto.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "absl/strings/escaping.h"

namespace dreamgate::crypto {
namespace {

constexpr size_t kSha256Bytes = 32;
using Digest = std::array<unsigned char, kSha256Bytes>;

// Ends the process unless `ok`. OpenSSL's operations fail only if it is broken, out of memory or without
// entropy. No caller can do anything about that, and going on would be unsafe.
void Require(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "dreamgate: fatal: %s\n", what);
  std::abort();
}

const unsigned char* Bytes(absl::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

std::string Hex(const unsigned char* data, size_t size) {
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(data), size));
}

}  // namespace

std::string Sha256Hex(absl::string_view data) {
  Digest digest;
  unsigned int size = 0;
  const int ok =
      EVP_Digest(data.data(), data.size(), digest.data(), &size, EVP_sha256(), /*impl=*/nullptr);
  Require(ok == 1 && size == digest.size(), "OpenSSL offers no SHA-256");
  return Hex(digest.data(), digest.size());
}

std::string HmacSha256Hex(absl::string_view key, absl::string_view message) {
  const std::unique_ptr<EVP_MAC, decltype(&EVP_MAC_free)> mac(
      EVP_MAC_fetch(nullptr, "HMAC", nullptr), &EVP_MAC_free);
  Require(mac != nullptr, "OpenSSL offers no HMAC");
  const std::unique_ptr<EVP_MAC_CTX, decltype(&EVP_MAC_CTX_free)> context(
      EVP_MAC_CTX_new(mac.get()), &EVP_MAC_CTX_free);
  char digest_name[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest_name, 0),
      OSSL_PARAM_construct_end()};
  // A null key would mean "keep the earlier key" to OpenSSL; an empty view may have null data.
  static constexpr unsigned char kNoKey = 0;
  const unsigned char* key_bytes = key.empty() ? &kNoKey : Bytes(key);
  Digest digest;
  size_t size = 0;
  const bool ok = context != nullptr &&
                  EVP_MAC_init(context.get(), key_bytes, key.size(), parameters) == 1 &&
                  EVP_MAC_update(context.get(), Bytes(message), message.size()) == 1 &&
                  EVP_MAC_final(context.get(), digest.data(), &size, digest.size()) == 1;
  Require(ok && size == digest.size(), "OpenSSL cannot compute an HMAC with SHA-256");
  return Hex(digest.data(), digest.size());
}

bool ConstantTimeEquals(absl::string_view left, absl::string_view right) {
  if (left.size() != right.size()) return false;
  return left.empty() || CRYPTO_memcmp(left.data(), right.data(), left.size()) == 0;
}

std::string RandomHex(int bytes) {
  std::string random(static_cast<size_t>(bytes), '\0');
  Require(RAND_bytes(reinterpret_cast<unsigned char*>(random.data()), bytes) == 1,
          "no entropy: the system's random source does not answer");
  return absl::BytesToHexString(random);
}

uint64_t RandomU64() {
  uint64_t random = 0;
  Require(RAND_bytes(reinterpret_cast<unsigned char*>(&random), sizeof(random)) == 1,
          "no entropy: the system's random source does not answer");
  return random;
}

}  // namespace dreamgate::crypto

#include "tests/net/test_certificates.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>

namespace dreamgate::net_test {

namespace {

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

void Require(bool condition, const char* what) {
  if (condition) return;
  std::cerr << "test certificates: " << what << "\n";
  std::abort();
}

void AddExtension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
  Require(extension != nullptr, "extension");
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

// Unsigned; valid for a day around now.
Certificate Draft(EVP_PKEY* key, const char* name, long serial) {
  Certificate certificate(X509_new(), X509_free);
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 24 * 3600);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
  return certificate;
}

void Save(const std::string& file, X509* certificate) {
  std::FILE* out = std::fopen(file.c_str(), "w");
  Require(out != nullptr && PEM_write_X509(out, certificate) == 1, "writing");
  std::fclose(out);
}

}  // namespace

TestCertificates::TestCertificates(const std::string& subject_alternative_names) {
  std::string pattern = (std::filesystem::temp_directory_path() / "dreamgate-tls-XXXXXX").string();
  Require(mkdtemp(pattern.data()) != nullptr, "temporary folder");
  folder_ = pattern;

  const Key ca_key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const Certificate ca = Draft(ca_key.get(), "Test Authority", 1);
  X509_set_issuer_name(ca.get(), X509_get_subject_name(ca.get()));
  AddExtension(ca.get(), ca.get(), NID_basic_constraints, "critical,CA:TRUE");
  AddExtension(ca.get(), ca.get(), NID_key_usage, "critical,keyCertSign");
  Require(X509_sign(ca.get(), ca_key.get(), EVP_sha256()) > 0, "signing");

  const Key leaf_key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const Certificate leaf = Draft(leaf_key.get(), "Test Server", 2);
  X509_set_issuer_name(leaf.get(), X509_get_subject_name(ca.get()));
  AddExtension(leaf.get(), ca.get(), NID_subject_alt_name, subject_alternative_names);
  Require(X509_sign(leaf.get(), ca_key.get(), EVP_sha256()) > 0, "signing");

  Save(ca_file(), ca.get());
  Save(chain_file(), leaf.get());
  std::FILE* out = std::fopen(key_file().c_str(), "w");
  Require(out != nullptr &&
              PEM_write_PrivateKey(out, leaf_key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1,
          "writing");
  std::fclose(out);
}

TestCertificates::~TestCertificates() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

}  // namespace dreamgate::net_test

// Certificates made on the spot, so that no key is ever committed. Test threads only.
#ifndef DREAMGATE_TESTS_NET_TEST_CERTIFICATES_H_
#define DREAMGATE_TESTS_NET_TEST_CERTIFICATES_H_

#include <string>

namespace dreamgate::net_test {

// PEM files in a temporary folder, removed with the object.
class TestCertificates {
 public:
  // An authority, and a leaf signed by it for `subject_alternative_names` in OpenSSL's notation,
  // for example "IP:127.0.0.1,DNS:localhost".
  explicit TestCertificates(const std::string& subject_alternative_names);
  ~TestCertificates();
  TestCertificates(const TestCertificates&) = delete;
  TestCertificates& operator=(const TestCertificates&) = delete;

  std::string ca_file() const { return folder_ + "/ca.pem"; }
  std::string chain_file() const { return folder_ + "/chain.pem"; }
  std::string key_file() const { return folder_ + "/key.pem"; }

 private:
  std::string folder_;
};

}  // namespace dreamgate::net_test

#endif  // DREAMGATE_TESTS_NET_TEST_CERTIFICATES_H_

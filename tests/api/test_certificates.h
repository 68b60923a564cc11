// Throw-away certificates for "localhost", made anew by each test.
#ifndef DREAMGATE_TESTS_API_TEST_CERTIFICATES_H_
#define DREAMGATE_TESTS_API_TEST_CERTIFICATES_H_

#include <string>

namespace dreamgate::api {

struct TestCertificate {
  std::string certificate_pem;  // self-signed, so it is its own CA
  std::string key_pem;
};

TestCertificate MakeTestCertificate();

}  // namespace dreamgate::api

#endif  // DREAMGATE_TESTS_API_TEST_CERTIFICATES_H_

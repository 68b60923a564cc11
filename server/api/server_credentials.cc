#include "server/api/server_credentials.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <fstream>
#include <iterator>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace dreamgate::api {
namespace {

constexpr unsigned int kRereadSeconds = 60;

absl::Status CheckPem(const std::string& path, absl::string_view what) {
  std::ifstream file(path, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file.is_open() || file.bad()) {
    return absl::InvalidArgumentError(absl::StrCat("TLS ", what, " ", path, ": cannot be read"));
  }
  if (!absl::StrContains(content, "-----BEGIN ")) {
    return absl::InvalidArgumentError(absl::StrCat("TLS ", what, " ", path, ": not in PEM form"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const GrpcServerOptions& options) {
  const std::string& certificate = options.tls_certificate_file;
  const std::string& key = options.tls_key_file;
  const std::string& client_ca = options.tls_client_ca_file;
  if (certificate.empty() != key.empty()) {
    return absl::InvalidArgumentError("TLS needs both a certificate file and a key file");
  }
  if (certificate.empty()) {
    if (client_ca.empty()) return grpc::InsecureServerCredentials();
    return absl::InvalidArgumentError(
        "a client CA file needs a certificate file and a key file too");
  }
  absl::Status checked = CheckPem(certificate, "certificate file");
  checked.Update(CheckPem(key, "key file"));
  if (!client_ca.empty()) checked.Update(CheckPem(client_ca, "client CA file"));
  if (!checked.ok()) return checked;

  grpc::experimental::TlsServerCredentialsOptions tls(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
          key, certificate, client_ca, kRereadSeconds));
  tls.watch_identity_key_cert_pairs();
  if (client_ca.empty()) {
    tls.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  } else {
    tls.watch_root_certs();
    tls.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(tls);
}

}  // namespace dreamgate::api

#include "server/net/tls.h"

#include <openssl/ssl.h>

#include <boost/asio/ssl/verify_mode.hpp>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/net/tls_asio.h"

namespace dreamgate::net {

namespace ssl = boost::asio::ssl;

namespace {

std::shared_ptr<TlsContext> MakeContext(ssl::context::method method) {
  auto tls = std::make_shared<TlsContext>(TlsContext{ssl::context(method)});
  SSL_CTX* native = tls->context.native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(native, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  // Idle connections give their 34 KB of record buffers back.
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);
  return tls;
}

absl::Status FileError(absl::string_view what, const std::string& file,
                       const boost::system::error_code& error) {
  return absl::InvalidArgumentError(
      absl::StrCat("cannot use ", what, " \"", file, "\": ", error.message()));
}

}  // namespace

absl::StatusOr<std::shared_ptr<TlsContext>> MakeClientTls(const std::string& ca_file) {
  auto tls = MakeContext(ssl::context::tls_client);
  boost::system::error_code error;
  tls->context.set_verify_mode(ssl::verify_peer, error);
  if (error) return absl::InternalError(error.message());
  if (ca_file.empty()) {
    tls->context.set_default_verify_paths(error);
    if (error) return FileError("the system's certificate authorities", "", error);
  } else {
    tls->context.load_verify_file(ca_file, error);
    if (error) return FileError("the CA file", ca_file, error);
  }
  return tls;
}

absl::StatusOr<std::shared_ptr<TlsContext>> MakeServerTls(const std::string& chain_file,
                                                          const std::string& key_file) {
  auto tls = MakeContext(ssl::context::tls_server);
  boost::system::error_code error;
  tls->context.use_certificate_chain_file(chain_file, error);
  if (error) return FileError("the certificate file", chain_file, error);
  tls->context.use_private_key_file(key_file, ssl::context::pem, error);
  if (error) return FileError("the private key file", key_file, error);
  if (SSL_CTX_check_private_key(tls->context.native_handle()) != 1) {
    return absl::InvalidArgumentError(absl::StrCat("the private key \"", key_file,
                                                   "\" does not belong to the certificate \"",
                                                   chain_file, "\""));
  }
  return tls;
}

absl::StatusOr<std::unique_ptr<ServerTls>> ServerTls::FromFiles(
    const std::string& chain_file, const std::string& key_file,
    absl::AnyInvocable<absl::Time()> now) {
  std::unique_ptr<ServerTls> result(new ServerTls(chain_file, key_file, std::move(now)));
  if (absl::Status status = result->ReadFiles(); !status.ok()) return status;
  return result;
}

absl::Status ServerTls::Refresh() {
  if (!watched_.HaveChanged()) return absl::OkStatus();
  absl::Status status = ReadFiles();
  return status.ok() || !watched_.Refuse(status) ? absl::OkStatus() : status;
}

absl::Status ServerTls::ReadFiles() {
  absl::StatusOr<std::shared_ptr<TlsContext>> context = MakeServerTls(chain_file_, key_file_);
  if (!context.ok()) return context.status();
  context_ = *std::move(context);
  watched_.Accept();
  return absl::OkStatus();
}

}  // namespace dreamgate::net

// The inside of a TlsContext, for the few files that make TLS streams (upstream, web).
#ifndef DREAMGATE_SERVER_NET_TLS_ASIO_H_
#define DREAMGATE_SERVER_NET_TLS_ASIO_H_

#include <boost/asio/ssl/context.hpp>

#include "server/net/tls.h"

namespace dreamgate::net {

struct TlsContext {
  boost::asio::ssl::context context;
};

}  // namespace dreamgate::net

#endif  // DREAMGATE_SERVER_NET_TLS_ASIO_H_

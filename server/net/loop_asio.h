// The loop as Asio sees it, for the few files that own sockets (net, upstream, web). Handlers run
// on the loop's thread.
#ifndef DREAMGATE_SERVER_NET_LOOP_ASIO_H_
#define DREAMGATE_SERVER_NET_LOOP_ASIO_H_

#include <boost/asio/io_context.hpp>

#include "server/net/loop.h"

namespace dreamgate::net {

boost::asio::io_context& AsioContext(Loop& loop);

}  // namespace dreamgate::net

#endif  // DREAMGATE_SERVER_NET_LOOP_ASIO_H_

// Names for requests that came without one. Safe from any thread.
#ifndef DREAMGATE_CLIENT_CPP_SRC_REQUEST_ID_H_
#define DREAMGATE_CLIENT_CPP_SRC_REQUEST_ID_H_

#include <string>

namespace dreamgate::client {

// A random UUID (version 4) from the system's entropy, in lower case.
std::string DrawRequestId();

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_CPP_SRC_REQUEST_ID_H_

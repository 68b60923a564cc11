// The version of the dreamgate client library.
#ifndef DREAMGATE_CLIENT_VERSION_H_
#define DREAMGATE_CLIENT_VERSION_H_

#include <string>

namespace dreamgate::client {

// For example "0.1.0". Of the library that was linked, not of the headers.
std::string Version();

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_VERSION_H_

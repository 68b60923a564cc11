#include "dreamgate/client/version.h"

namespace dreamgate::client {

std::string Version() { return DREAMGATE_VERSION; }

}  // namespace dreamgate::client

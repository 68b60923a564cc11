#include "server/core/invariant.h"

#include <cstdio>
#include <cstdlib>

namespace dreamgate::core {

void InvariantBroken(const char* what, const char* file, int line) {
  std::fprintf(stderr, "dreamgate: an invariant is broken, this process ends: %s (%s:%d)\n", what,
               file, line);
  std::fflush(stderr);
  std::abort();
}

}  // namespace dreamgate::core

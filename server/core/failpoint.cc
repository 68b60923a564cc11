#include "server/core/failpoint.h"

#if defined(DREAMGATE_FAILPOINTS) && DREAMGATE_FAILPOINTS

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace dreamgate::core {
namespace {

// The failpoint that is set, as the environment was at its first use.
class Armed {
 public:
  Armed() {
    const char* const text = std::getenv("FAILPOINT");
    if (text == nullptr) return;
    const char* const colon = std::strchr(text, ':');
    name_ = colon == nullptr ? std::string(text) : std::string(text, colon);
    if (colon != nullptr) passes_left_ = std::atoi(colon + 1);
    set_ = true;
  }

  void Pass(const char* name) {
    if (!set_ || name_ != name || passes_left_.fetch_sub(1) != 1) return;
    std::fprintf(stderr, "failpoint %s\n", name);
    std::fflush(stderr);
    std::raise(SIGKILL);
  }

 private:
  bool set_ = false;
  std::string name_;
  std::atomic<int> passes_left_ = 1;
};

}  // namespace

void PassFailpoint(const char* name) noexcept {
  static Armed armed;
  armed.Pass(name);
}

}  // namespace dreamgate::core

#endif

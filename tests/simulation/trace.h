// What happened, a line an event, for people. Costs nothing while it is off: a history that went wrong
// is replayed from its seed with the trace on.
#ifndef DREAMGATE_TESTS_SIMULATION_TRACE_H_
#define DREAMGATE_TESTS_SIMULATION_TRACE_H_

#include <string>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "tests/fakes/virtual_time.h"

namespace dreamgate::simulation {

class Trace {
 public:
  Trace(const fakes::VirtualTime& world, bool on) : world_(world), start_(world.Now()), on_(on) {}

  bool on() const { return on_; }
  // Strings and numbers; or functions that make them, which are called only if somebody reads it.
  template <typename... Parts>
  void Add(const Parts&... parts) {
    if (!on_) return;
    absl::StrAppendFormat(&text_, "%14.6f s  ", absl::ToDoubleSeconds(world_.Now() - start_));
    absl::StrAppend(&text_, Text(parts)..., "\n");
  }

  const std::string& text() const { return text_; }

 private:
  template <typename Part>
  static decltype(auto) Text(const Part& part) {
    if constexpr (std::is_invocable_v<const Part&>) {
      return part();
    } else {
      return (part);
    }
  }

  const fakes::VirtualTime& world_;
  const absl::Time start_;
  const bool on_;
  std::string text_;
};

}  // namespace dreamgate::simulation

#endif  // DREAMGATE_TESTS_SIMULATION_TRACE_H_

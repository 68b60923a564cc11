#include "tests/simulation/process.h"

namespace dreamgate::simulation {

void Agenda::Later(absl::Duration delay, absl::AnyInvocable<void() &&> work) {
  const uint64_t number = ++count_;
  Work& waiting = waiting_[number];
  waiting.run = std::move(work);
  waiting.due = world_.After(delay, [this, number] {
    auto due = waiting_.extract(number);  // out of the list first: it may clear it
    std::move(due.mapped().run)();
  });
}

void Agenda::Clear() {
  // One by one and out of the list first: destroying one may add others.
  while (!waiting_.empty()) waiting_.extract(waiting_.begin());
}

}  // namespace dreamgate::simulation

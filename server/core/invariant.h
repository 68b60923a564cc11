// Invariants: they hold whatever upstream, the disk and callers do. They are checked in release
// builds too: a process that has lost track of money ends at once, and the next one takes over from
// what is durable. Any thread.
#ifndef DREAMGATE_SERVER_CORE_INVARIANT_H_
#define DREAMGATE_SERVER_CORE_INVARIANT_H_

namespace dreamgate::core {

// Says on stderr what was broken and where, and aborts.
[[noreturn]] void InvariantBroken(const char* what, const char* file, int line);

}  // namespace dreamgate::core

// `what` says in words what holds.
#define DREAMGATE_INVARIANT(condition, what)           \
  (static_cast<bool>(condition) ? static_cast<void>(0) \
                                : ::dreamgate::core::InvariantBroken(what, __FILE__, __LINE__))

#endif  // DREAMGATE_SERVER_CORE_INVARIANT_H_

// Test-only: a named place where the process can be made to die. DREAMGATE_FAILPOINT("room.what")
// is nothing at all unless the build has DREAMGATE_FAILPOINTS; with it, the environment variable
//   FAILPOINT=room.what:N
// kills the process with SIGKILL at the N-th pass (from 1; ":1" may be left out) of that
// point. Names are lower-case and used once each; tests/walls holds them against the crash
// tests' list. Any thread.
#ifndef DREAMGATE_SERVER_CORE_FAILPOINT_H_
#define DREAMGATE_SERVER_CORE_FAILPOINT_H_

#if defined(DREAMGATE_FAILPOINTS) && DREAMGATE_FAILPOINTS

namespace dreamgate::core {

// Use the macro. A comparison of a pointer if no failpoint is set.
void PassFailpoint(const char* name) noexcept;

}  // namespace dreamgate::core

#define DREAMGATE_FAILPOINT(name) ::dreamgate::core::PassFailpoint(name)

#else

#define DREAMGATE_FAILPOINT(name) static_cast<void>(0)

#endif

#endif  // DREAMGATE_SERVER_CORE_FAILPOINT_H_

// The function that core and its ports call when something asynchronous is over.
#ifndef DREAMGATE_SERVER_CORE_COMPLETION_H_
#define DREAMGATE_SERVER_CORE_COMPLETION_H_

#include "absl/functional/any_invocable.h"

namespace dreamgate::core {

// Called exactly once, on the loop.
template <typename T>
using Completion = absl::AnyInvocable<void(T) &&>;

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_COMPLETION_H_

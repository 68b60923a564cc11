// Keeps a completion that a port still holds from calling into an object that is gone. A member of
// the object that hands out callbacks; loop only.
#ifndef DREAMGATE_SERVER_CORE_LIFELINE_H_
#define DREAMGATE_SERVER_CORE_LIFELINE_H_

#include <memory>
#include <utility>

namespace dreamgate::core {

class Lifeline {
 public:
  Lifeline() = default;
  Lifeline(const Lifeline&) = delete;
  Lifeline& operator=(const Lifeline&) = delete;

  // `work` as long as this Lifeline lives; afterwards calling it does nothing.
  template <typename Work>
  auto Guard(Work work) const {
    return [alive = std::weak_ptr<const bool>(alive_),
            work = std::move(work)](auto&&... arguments) mutable {
      if (!alive.expired()) std::move(work)(std::forward<decltype(arguments)>(arguments)...);
    };
  }

 private:
  const std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
};

}  // namespace dreamgate::core

#endif  // DREAMGATE_SERVER_CORE_LIFELINE_H_

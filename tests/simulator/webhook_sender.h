// Calls back for terminal tasks, as WaveSpeed does, with the irregularities that WebhookBehavior asks
// for. Lives in the io_context's single thread; only loopback addresses over plain http are called.
#ifndef DREAMGATE_TESTS_SIMULATOR_WEBHOOK_SENDER_H_
#define DREAMGATE_TESTS_SIMULATOR_WEBHOOK_SENDER_H_

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "tests/simulator/webhook_message.h"

namespace boost::asio {
class io_context;
}

namespace dreamgate::simulator {

class Backend;

class WebhookSender {
 public:
  // Borrows both; `backend` may be set later, before the first Schedule.
  explicit WebhookSender(boost::asio::io_context& context) : context_(context) {}
  void set_backend(Backend& backend) { backend_ = &backend; }

  // Delivers the task's webhook after `wait`, if it is terminal and not yet delivered then.
  void Schedule(const std::string& task_id, absl::Duration wait);

 private:
  void Due(const std::string& task_id);
  void Send(const WebhookMessage& message);

  boost::asio::io_context& context_;
  Backend* backend_ = nullptr;
  std::optional<WebhookMessage> held_;
};

}  // namespace dreamgate::simulator

#endif  // DREAMGATE_TESTS_SIMULATOR_WEBHOOK_SENDER_H_

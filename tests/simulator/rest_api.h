// WaveSpeed's REST API as values: a request in, an answer out, the tasks changed. No sockets, no lock:
// the Backend owns it and guards it.
#ifndef DREAMGATE_TESTS_SIMULATOR_REST_API_H_
#define DREAMGATE_TESTS_SIMULATOR_REST_API_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/simulator/message.h"
#include "tests/simulator/options.h"
#include "tests/simulator/task_store.h"

namespace dreamgate::simulator {

class RestApi {
 public:
  // Borrows both, which outlive it; `options` may change between calls. `base_url` has no slash at its
  // end.
  RestApi(const Options& options, TaskStore& tasks, std::string base_url,
          std::shared_ptr<const std::string> video);

  // `now` by this machine's clock. A request that should never have been sent adds to `violations()`.
  Answer Handle(const Request& request, absl::Time now);
  // The answer that Handle would give to a valid request of this kind, without any effect.
  Answer WithoutEffect() const;
  // The bare task object that a webhook carries.
  std::string WebhookBody(const Task& task, absl::Time now) const;

  std::string SubmitPath() const;
  const std::vector<std::string>& violations() const { return violations_; }
  // Tasks with a webhook created since the last call.
  std::vector<std::string> TakeNewWebhookTasks();

 private:
  Answer Submit(const Request& request, absl::Time now);
  Answer Result(const std::string& id, absl::Time now);
  Answer History(const Request& request, absl::Time now);
  Answer Delete(const Request& request);
  Answer Price(const Request& request);
  Answer Models();
  Answer Output(const Request& request, const std::string& path, absl::Time now);
  std::string ResultUrl(const Task& task) const;

  const Options& options_;
  TaskStore& tasks_;
  const std::string base_url_;
  const std::shared_ptr<const std::string> video_;
  std::vector<std::string> violations_;
  std::vector<std::string> new_webhook_tasks_;
};

// {"code":status,"message":message,"data":null} with that HTTP status.
Answer ErrorAnswer(int status, const std::string& message);
// Edit data.<field> of a wrapped body; a body without a data object comes back as it is.
std::string WithTaskField(const std::string& body, const std::string& field,
                          const std::string& value);
std::string WithoutTaskField(const std::string& body, const std::string& field);

}  // namespace dreamgate::simulator

#endif  // DREAMGATE_TESTS_SIMULATOR_REST_API_H_

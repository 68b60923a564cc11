// The meaning of WaveSpeed's HTTP answers: two readable tables, one for the paid POST and one for the
// free GET. Pure functions, any thread.
#ifndef DREAMGATE_SERVER_WAVESPEED_ANSWER_H_
#define DREAMGATE_SERVER_WAVESPEED_ANSWER_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/core/upstream_task.h"

namespace dreamgate::wavespeed {

// A complete answer: every byte of it arrived.
struct HttpAnswer {
  int status = 0;
  std::string content_type;  // as sent, may be empty
  std::string retry_after;   // as sent, may be empty
  std::string body;
  std::string date = {};  // as sent, may be empty
};

struct AnswerContext {
  absl::Time now;  // wall clock; HTTP dates are relative to it
  // Never to appear in a message, an observed failure's and raw status included, even if upstream
  // echoes them: the key, and a long prompt.
  std::vector<std::string> secrets;
};

// CreateRejected only where nothing can have been created; CreateUnknown whenever in doubt. Never
// CreateNotSent.
core::CreateOutcome ReadCreateAnswer(const HttpAnswer& answer, const AnswerContext& context);

// `task_id` is the one asked for; an answer about another task is a kTransient problem.
core::PollOutcome ReadPollAnswer(const HttpAnswer& answer, absl::string_view task_id,
                                 const AnswerContext& context);

}  // namespace dreamgate::wavespeed

#endif  // DREAMGATE_SERVER_WAVESPEED_ANSWER_H_

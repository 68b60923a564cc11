// Private to this room: what every answer of WaveSpeed has in common, looked at but not yet judged.
// Not to be included elsewhere (Boost.JSON stays in this room). Pure functions, any thread.
#ifndef DREAMGATE_SERVER_WAVESPEED_READING_H_
#define DREAMGATE_SERVER_WAVESPEED_READING_H_

#include <boost/json.hpp>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/wavespeed/answer.h"

namespace dreamgate::wavespeed {

struct Reading {
  // The HTTP status, or what the envelope's code means where HTTP said 200 and the envelope did not;
  // 0: a code that nobody knows.
  int status = 0;
  int code = 0;         // upstream's own code, 0: none
  std::string message;  // not empty unless `status` is a success and the body is an object
  bool credits_are_missing = false;
  std::optional<absl::Duration> retry_after;
  // The body, always an object; InvalidArgument says why there is none.
  absl::StatusOr<boost::json::value> document = absl::InvalidArgumentError("no answer");
};

Reading ReadAnswer(const HttpAnswer& answer, const AnswerContext& context);

// 2xx.
bool IsSuccess(int status);

}  // namespace dreamgate::wavespeed

#endif  // DREAMGATE_SERVER_WAVESPEED_READING_H_

// Upstream's history of tasks: how to ask for a page, and what the answer proves. It is evidence of
// what exists and, if it is whole, of what does not; so nothing is dropped from a page in silence.
// Pure functions, any thread.
#ifndef DREAMGATE_SERVER_WAVESPEED_HISTORY_H_
#define DREAMGATE_SERVER_WAVESPEED_HISTORY_H_

#include <string>

#include "absl/strings/string_view.h"
#include "server/core/upstream_task.h"
#include "server/wavespeed/answer.h"

namespace dreamgate::wavespeed {

// The target of the POST. It lists, creates nothing and costs nothing.
std::string HistoryTarget();

// The POST's JSON body: a page of 100 tasks of `model`. `include_inputs` asks for the inputs of the
// tasks, too, which only some versions of the API are known to understand.
std::string HistoryBody(const core::HistoryQuery& query, absl::string_view model,
                        bool include_inputs);

// `page` is the one asked for. HistoryFailed if the answer is not a whole page: any error, another
// page, or an item whose id cannot be used. An item whose input is incomplete is listed without it.
core::HistoryOutcome ReadHistoryAnswer(const HttpAnswer& answer, int page,
                                       const AnswerContext& context);

}  // namespace dreamgate::wavespeed

#endif  // DREAMGATE_SERVER_WAVESPEED_HISTORY_H_

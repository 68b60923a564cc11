#include "server/wavespeed/reading.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/wavespeed/json_reading.h"
#include "server/wavespeed/retry_after.h"
#include "server/wavespeed/text.h"

namespace dreamgate::wavespeed {

namespace json = boost::json;

namespace {

constexpr int kInsufficientCredits = 1407;

// Upstream's task codes turn up in envelopes, too.
int StatusOfEnvelopeCode(int code) {
  if (code >= 300 && code < 600) return code;
  if (code == kInsufficientCredits) return 402;
  if (code == 1200 || code == 1400 || code == 1401 || code == 1402) return 400;
  if (code >= 5000 && code < 6000) return 500;
  return 0;
}

bool SpeaksOfMissingCredits(absl::string_view message) {
  const std::string lower = absl::AsciiStrToLower(message);
  return absl::StrContains(lower, "insufficient") &&
         (absl::StrContains(lower, "credit") || absl::StrContains(lower, "balance") ||
          absl::StrContains(lower, "fund"));
}

// The first of the places where upstreams and their gateways put their words.
absl::string_view WordsOf(const json::object* document) {
  for (absl::string_view name : {"message", "error", "detail"}) {
    const absl::string_view words = ReasonMember(document, name);
    if (!words.empty()) return words;
  }
  return {};
}

// Codes beside a non-200 status: the envelope's "code" where it tells more than HTTP, "error_code"
// else.
int OwnCodeOf(const json::object* document, int http_status) {
  const int code = CodeMember(document, "code").value_or(0);
  const int error_code = CodeMember(document, "error_code").value_or(0);
  return (code == 0 || code == http_status) && error_code != 0 ? error_code : code;
}

}  // namespace

bool IsSuccess(int status) { return status >= 200 && status < 300; }

Reading ReadAnswer(const HttpAnswer& answer, const AnswerContext& context) {
  Reading reading;
  reading.status = answer.status;
  reading.retry_after = ParseRetryAfter(answer.retry_after, context.now);

  reading.document = ParseJson(answer.body);
  const json::object* object = reading.document.ok() ? ObjectOf(*reading.document) : nullptr;
  if (object == nullptr) {
    reading.message =
        absl::StrCat("upstream answered HTTP ", answer.status, " with a body that is not JSON (",
                     answer.content_type.empty()
                         ? "no content type"
                         : MessageWithoutSecrets(answer.content_type, context.secrets, 64),
                     ", ", answer.body.size(), " bytes)");
    if (reading.document.ok()) reading.document = absl::InvalidArgumentError("not a JSON object");
    return reading;
  }

  reading.message = MessageWithoutSecrets(WordsOf(object), context.secrets);
  if (!IsSuccess(answer.status)) {
    reading.code = OwnCodeOf(object, answer.status);
  } else if (IsEnvelope(*object)) {
    const std::optional<int> code = CodeMember(object, "code");
    if (code.has_value() && !IsSuccess(*code)) {
      reading.code = *code;
      reading.status = StatusOfEnvelopeCode(*code);
    }
  }
  reading.credits_are_missing =
      reading.code == kInsufficientCredits ||
      (!IsSuccess(reading.status) && SpeaksOfMissingCredits(reading.message));
  if (!IsSuccess(reading.status) && reading.message.empty()) {
    reading.message =
        absl::StrCat("upstream answered ", reading.status != 0 ? reading.status : reading.code,
                     " without a message");
  }
  return reading;
}

}  // namespace dreamgate::wavespeed

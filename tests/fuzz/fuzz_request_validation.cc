// Callers' requests against the contract's bounds: what is accepted lies within them and reaches core
// and the wire again unharmed; what is refused names a field. The first byte of the input selects the
// request: s, l, w (submit, list, watch) in protobuf's text form, S, L, W in wire form. A list request
// of kind k or K carries the id of a prediction in page_token; a real token is made from it.
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/api/converters.h"
#include "server/api/page_token.h"
#include "server/api/status_mapping.h"
#include "server/api/utf8.h"
#include "server/api/validation.h"
#include "tests/fuzz/check.h"

namespace dreamgate::fuzz {
namespace {

constexpr char kTenant[] = "tenant";
constexpr size_t kMaxDetailBytes = 8 * 1024;  // of trailing metadata, which many clients accept

class Quiet : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int, google::protobuf::io::ColumnNumber, const std::string&) override {}
};

// False: no such message. In text form strings may hold any bytes, in wire form only valid UTF-8.
bool ReadMessage(absl::string_view input, bool wire, google::protobuf::Message& message) {
  const std::string bytes(input);
  if (wire) return message.ParseFromString(bytes);
  Quiet quiet;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&quiet);
  parser.SetRecursionLimit(16);
  return parser.ParseFromString(bytes, &message);
}

// The text of a refusal as the caller sees it, in one place.
void CheckRefusal(const absl::Status& refusal) {
  const grpc::Status status = api::ToGrpcStatus(refusal);
  Check(status.error_code() == grpc::StatusCode::INVALID_ARGUMENT, "a refusal is INVALID_ARGUMENT",
        status.error_message());
  Check(status.error_details().size() <= kMaxDetailBytes, "the details fit into 8 KiB");
  google::rpc::Status details;
  // Parsing refuses texts that are not UTF-8, as a caller's library does.
  Check(details.ParseFromString(status.error_details()), "the details can be read");
  std::optional<google::rpc::BadRequest> bad_request;
  for (const google::protobuf::Any& any : details.details()) {
    if (any.Is<google::rpc::BadRequest>()) {
      Check(any.UnpackTo(&bad_request.emplace()), "BadRequest can be read");
    }
  }
  Check(bad_request && !bad_request->field_violations().empty(), "a refusal has a violation");
  for (const auto& violation : bad_request->field_violations()) {
    Check(!violation.field().empty(), "a violation names a field", violation.description());
    Check(!violation.description().empty(), "a violation is described", violation.field());
  }
}

bool IsPrintable(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7F'; });
}

bool HasControl(absl::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](unsigned char c) { return c < ' ' || c == '\x7F'; });
}

template <typename Labels>
void CheckLabels(const Labels& labels) {
  Check(labels.size() <= 16, "at most 16 labels");
  for (const auto& [key, value] : labels) {
    const std::optional<size_t> key_length = api::CountCodePoints(key);
    Check(key_length && *key_length >= 1 && *key_length <= 63 && !HasControl(key),
          "a label's key is a name", key);
    const std::optional<size_t> length = api::CountCodePoints(value);
    Check(length && *length <= 256, "a label's value is short text", value);
  }
}

// Through core, onto the wire, off the wire.
v1::Prediction ThereAndBack(const api::ValidSubmit& valid) {
  core::Prediction prediction;
  prediction.id = "p1";
  prediction.request_id = valid.request_id;
  prediction.input = valid.input;
  prediction.seed = valid.input.seed.value_or(0);
  v1::Prediction back;
  Check(back.ParseFromString(api::ToProto(prediction).SerializeAsString()),
        "an accepted request can be sent back");
  return back;
}

void TrySubmit(const v1::SubmitVideoRequest& request) {
  // The two settings differ in nothing else.
  const api::RequestLimits strict{.max_prompt_code_points = 40, .require_request_id = true};
  const api::RequestLimits lenient{.max_prompt_code_points = 2000, .require_request_id = false};
  for (const api::RequestLimits& limits : {strict, lenient}) {
    const absl::StatusOr<api::ValidSubmit> valid = api::ValidateSubmit(request, limits);
    if (!valid.ok()) {
      CheckRefusal(valid.status());
      continue;
    }
    const core::VideoInput& input = valid->input;
    const std::optional<size_t> length = api::CountCodePoints(input.prompt);
    Check(length && *length >= 1 && *length <= static_cast<size_t>(limits.max_prompt_code_points),
          "a prompt is text of the allowed length", input.prompt);
    Check(!api::IsBlank(input.prompt), "a prompt is not blank", input.prompt);
    Check(!valid->request_id.empty() || !limits.require_request_id, "a request_id is required");
    Check(valid->request_id.size() <= 128 && IsPrintable(valid->request_id),
          "a request_id is short and printable", valid->request_id);
    Check(!input.seed || *input.seed >= 0, "a seed is not negative");
    Check(input.seed.has_value() == (request.has_seed() && request.seed() != -1),
          "unset and -1, and only these, mean random");
    Check(!core::AspectRatioText(input.aspect_ratio).empty(), "upstream has a word for the ratio");
    CheckLabels(input.labels);
    Check(valid->validate_only == request.validate_only(), "validate_only is kept");

    const v1::Prediction back = ThereAndBack(*valid);
    Check(back.prompt() == request.prompt(), "the prompt is kept", back.prompt());
    Check(back.request_id() == request.request_id(), "the request_id is kept", back.request_id());
    Check(back.aspect_ratio() == (request.aspect_ratio() == v1::ASPECT_RATIO_UNSPECIFIED
                                      ? v1::ASPECT_RATIO_16_9
                                      : request.aspect_ratio()),
          "the ratio is kept, with the default applied");
    Check(!input.seed || back.seed() == request.seed(), "the seed is kept");
    Check(back.labels_size() == request.labels_size(), "no label is lost");
    for (const auto& [key, value] : back.labels()) {
      const auto sent = request.labels().find(key);
      Check(sent != request.labels().end() && sent->second == value, "a label is kept", key);
    }
  }
}

void TryList(const v1::ListPredictionsRequest& request) {
  const absl::StatusOr<core::ListQuery> query = api::ValidateList(request, kTenant);
  if (!query.ok()) return CheckRefusal(query.status());
  Check(query->tenant == kTenant, "the tenant is the caller's");
  Check(query->page_size >= 1 && query->page_size <= 1000, "a page has 1 to 1000 predictions");
  Check(request.page_size() < 1 || query->page_size <= request.page_size(),
        "a page is no larger than asked for");
  for (const int state : request.states()) {
    Check(std::count(query->states.begin(), query->states.end(), static_cast<core::State>(state)) ==
              1,
          "every state asked for is looked for once");
  }
  Check(query->states.empty() == request.states().empty(), "no state asked for means all");
  CheckLabels(query->labels);
  Check(query->labels.size() == request.labels().size(), "no label is lost");
  Check(request.page_token().empty() == query->before_id.empty(), "a token gives a position");
  if (!query->before_id.empty()) {
    const absl::StatusOr<std::string> again = api::ReadPageToken(*query, request.page_token());
    Check(again.ok() && *again == query->before_id, "a token has one meaning");
  }
}

// Lists the page after the prediction whose id the page token holds.
void TryNextPage(v1::ListPredictionsRequest request) {
  const std::string id = request.page_token();
  request.clear_page_token();
  const absl::StatusOr<core::ListQuery> first = api::ValidateList(request, kTenant);
  if (!first.ok() || id.empty() || id.size() > 64) return TryList(request);

  const std::string token = api::MakePageToken(*first, id);
  Check(std::all_of(token.begin(), token.end(),
                    [](char c) {
                      return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' ||
                             c == '_' || c == '=';
                    }),
        "a token is URL-safe", token);
  request.set_page_token(token);
  request.set_page_size(7);  // may change from page to page
  const absl::StatusOr<core::ListQuery> next = api::ValidateList(request, kTenant);
  Check(next.ok() && next->before_id == id, "a token leads to the page it was made for", token);

  Check(!api::ValidateList(request, "other").ok(), "a token is worth nothing to another tenant");
  // The id chooses which character of the token is mangled.
  std::string mangled = token;
  char& c = mangled[static_cast<unsigned char>(id.front()) % mangled.size()];
  c = c == 'A' ? 'B' : 'A';
  const absl::StatusOr<std::string> read = api::ReadPageToken(*first, mangled);
  Check(!read.ok() || *read == id, "a mangled token is refused", mangled);
}

void TryWatch(const v1::WatchPredictionRequest& request) {
  const absl::StatusOr<core::WatchRequest> watch = api::ValidateWatch(request, kTenant);
  if (!watch.ok()) return CheckRefusal(watch.status());
  Check(watch->tenant == kTenant, "the tenant is the caller's");
  Check(watch->prediction_id == request.prediction_id(), "the id is kept", watch->prediction_id);
  Check(!watch->prediction_id.empty() && watch->prediction_id.size() <= 64 &&
            std::all_of(watch->prediction_id.begin(), watch->prediction_id.end(),
                        [](char c) {
                          return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
                                 absl::StrContains("-._~", c);
                        }),
        "an id is short and URL-safe", watch->prediction_id);
  Check(watch->after_sequence.has_value() == request.has_after_sequence(), "a position is kept");
  Check(!watch->after_sequence ||
            (*watch->after_sequence >= 0 && *watch->after_sequence == request.after_sequence()),
        "a position is the one asked for and not negative");
  Check(watch->heartbeat_interval.has_value() == request.has_heartbeat_interval(),
        "an interval is kept");
  if (!watch->heartbeat_interval) return;
  Check(*watch->heartbeat_interval >= absl::ZeroDuration(), "an interval is not negative");
  const google::protobuf::Duration back = api::ToProto(*watch->heartbeat_interval);
  const google::protobuf::Duration& sent = request.heartbeat_interval();
  // The largest number of seconds with a fraction lies beyond a Duration's range, and is cut there.
  Check(back.seconds() == sent.seconds() &&
            (back.nanos() == sent.nanos() || sent.seconds() == 315'576'000'000),
        "an interval is the one asked for");
}

}  // namespace
}  // namespace dreamgate::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  // Protobuf would write a line for every string that is not UTF-8.
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dreamgate;
  if (size == 0) return -1;
  const auto kind = static_cast<char>(data[0]);
  const bool wire = absl::ascii_isupper(static_cast<unsigned char>(kind));
  const absl::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  v1::SubmitVideoRequest submit;
  v1::ListPredictionsRequest list;
  v1::WatchPredictionRequest watch;
  switch (absl::ascii_tolower(static_cast<unsigned char>(kind))) {
    case 's':
      if (fuzz::ReadMessage(input, wire, submit)) fuzz::TrySubmit(submit);
      return 0;
    case 'l':
      if (fuzz::ReadMessage(input, wire, list)) fuzz::TryList(list);
      return 0;
    case 'k':
      if (fuzz::ReadMessage(input, wire, list)) fuzz::TryNextPage(list);
      return 0;
    case 'w':
      if (fuzz::ReadMessage(input, wire, watch)) fuzz::TryWatch(watch);
      return 0;
    default: return -1;  // keeps the input out of the corpus
  }
}

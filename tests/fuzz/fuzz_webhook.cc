// Requests to the webhook receiver, as hostile as they come: judged by the receiver's own rules, held
// against what its headers promise. Sockets and HTTP's own syntax have no part in this.
// Input: eight lines (method, target, webhook-id, webhook-timestamp, webhook-signature, Content-Encoding,
// Transfer-Encoding, orders), then the body. Orders: 's' signs the request with the secret, '2' with the
// second one, 'd' repeats the id.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "server/api/utf8.h"
#include "server/crypto/crypto.h"
#include "server/wavespeed/request.h"
#include "server/wavespeed/webhook.h"
#include "server/web/webhook_request.h"
#include "tests/fuzz/check.h"

namespace dreamgate::fuzz {
namespace {

constexpr int64_t kNow = 1'700'000'000;
constexpr char kPath[] = "/hook";
const std::vector<std::string> kSecrets = {"whsec_first", "second"};

struct Input {
  std::string method, target, id, timestamp, signature, content_encoding, transfer_encoding, body;
  bool ordered_to_sign = false;
  bool repeats_id = false;
};

std::string SignatureOf(const Input& input, absl::string_view key) {
  return crypto::HmacSha256Hex(key, absl::StrCat(input.id, ".", input.timestamp, ".", input.body));
}

Input ReadInput(absl::string_view text) {
  Input input;
  for (std::string* field : {&input.method, &input.target, &input.id, &input.timestamp,
                             &input.signature, &input.content_encoding, &input.transfer_encoding}) {
    *field = std::string(TakeLine(text));
  }
  const absl::string_view orders = TakeLine(text);
  input.body = std::string(text);
  input.repeats_id = absl::StrContains(orders, "d");
  for (const auto& [order, key] : {std::pair{"s", "first"}, std::pair{"2", "second"}}) {
    if (!absl::StrContains(orders, order)) continue;
    input.ordered_to_sign = true;
    absl::StrAppend(&input.signature, " v3,", SignatureOf(input, key));
  }
  return input;
}

web::HttpRequest RequestOf(const Input& input) {
  web::HttpRequest request;
  request.method = input.method;
  request.target = input.target;
  request.body = input.body;
  request.headers = {{"host", "hooks.example"},
                     {"webhook-id", input.id},
                     {"webhook-timestamp", input.timestamp},
                     {"webhook-signature", input.signature}};
  if (input.repeats_id) request.headers.emplace_back("webhook-id", input.id);
  if (!input.content_encoding.empty()) {
    request.headers.emplace_back("content-encoding", input.content_encoding);
  }
  if (!input.transfer_encoding.empty()) {
    request.headers.emplace_back("transfer-encoding", input.transfer_encoding);
  }
  return request;
}

// By another reading of the rules: one of the entries is a right signature, in hex of any case.
bool IsSigned(const Input& input) {
  for (const absl::string_view key : {"first", "second"}) {
    const std::string right = "v3," + SignatureOf(input, key);
    for (const absl::string_view entry : absl::StrSplit(input.signature, ' ')) {
      if (entry.size() == right.size() && absl::StartsWith(entry, "v3,") &&
          absl::EqualsIgnoreCase(entry, right)) {
        return true;
      }
    }
  }
  return false;
}

bool IsInTime(const Input& input) {
  if (input.timestamp.empty() || input.timestamp.size() > 12) return false;
  for (const char c : input.timestamp) {
    if (c < '0' || c > '9') return false;
  }
  return std::llabs(std::strtoll(input.timestamp.c_str(), nullptr, 10) - kNow) <= 300;
}

void CheckEvidence(const Input& input, const web::WebhookEvidence& evidence) {
  Check(IsSigned(input), "evidence is signed", input.signature);
  Check(IsInTime(input), "evidence is of now", input.timestamp);
  Check(input.method == "POST", "evidence is posted", input.method);
  Check(!input.repeats_id, "evidence has every signed header once");
  Check(input.target == absl::StrCat(kPath, "/", evidence.attempt_token),
        "the token is what the path ends with", input.target);
  Check(evidence.attempt_token.size() == 32 &&
            evidence.attempt_token.find_first_not_of("0123456789abcdef") == std::string::npos,
        "a token is 32 hex digits", evidence.attempt_token);
  Check(wavespeed::IsSafeTaskId(evidence.upstream_id), "a task id is safe in a path",
        evidence.upstream_id);
  Check(absl::StrContains(input.body, evidence.upstream_id) || absl::StrContains(input.body, "\\"),
        "a task id is in the body", evidence.upstream_id);
  Check(api::CountCodePoints(evidence.raw_status).has_value() && evidence.raw_status.size() <= 64 &&
            std::none_of(evidence.raw_status.begin(), evidence.raw_status.end(),
                         [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); }),
        "a raw status is short text", evidence.raw_status);
}

void CheckRefusal(const Input& input, const web::WebhookRefusal& refusal) {
  Check(refusal.http_status >= 400 && refusal.http_status < 600, "a refusal is an error");
  Check(!refusal.text.empty() && refusal.text.size() < 100, "a refusal says why in a short text");
  if (refusal.outcome == web::webhook_outcome::kForged) {
    Check(!IsSigned(input), "what is signed is not called forged", input.signature);
  } else if (refusal.outcome == web::webhook_outcome::kStale) {
    Check(IsSigned(input), "what is called stale is signed", input.signature);
    Check(!IsInTime(input), "what is of now is not called stale", input.timestamp);
  } else {
    Check(refusal.outcome == web::webhook_outcome::kMalformed, "these are all the outcomes",
          refusal.outcome);
  }
}

// Signs and sends any body correctly: only the body itself can then be at fault. One more byte makes it
// forged.
void CheckBody(const Input& fuzzed) {
  Input input;
  input.method = "POST";
  input.target = absl::StrCat(kPath, "/", std::string(32, 'a'));
  input.id = "msg_1";
  input.timestamp = absl::StrCat(kNow);
  input.body = fuzzed.body;
  input.signature = "v3," + SignatureOf(input, "first");
  const web::WebhookContext context{kPath, kSecrets, absl::FromUnixSeconds(kNow)};
  const auto verdict = web::JudgeWebhook(RequestOf(input), context);
  const bool is_task = wavespeed::ParseWebhook(input.body).ok();
  Check(std::holds_alternative<web::WebhookEvidence>(verdict) == is_task,
        "a signed task is evidence, and nothing else", input.body);
  web::HttpRequest longer = RequestOf(input);
  longer.body += " ";
  const auto changed = web::JudgeWebhook(longer, context);
  const auto* refusal = std::get_if<web::WebhookRefusal>(&changed);
  Check(refusal != nullptr && refusal->outcome == web::webhook_outcome::kForged,
        "a byte more makes it forged", input.body);
}

}  // namespace
}  // namespace dreamgate::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dreamgate;
  const fuzz::Input input = fuzz::ReadInput({reinterpret_cast<const char*>(data), size});
  const web::HttpRequest request = fuzz::RequestOf(input);
  const auto verdict =
      web::JudgeWebhook(request, {fuzz::kPath, fuzz::kSecrets, absl::FromUnixSeconds(fuzz::kNow)});
  const auto early = web::JudgeWebhookHead(request, fuzz::kPath);
  if (const auto* evidence = std::get_if<web::WebhookEvidence>(&verdict)) {
    fuzz::CheckEvidence(input, *evidence);
    fuzz::Check(!early.has_value(), "what is refused by its header is refused");
  } else {
    fuzz::CheckRefusal(input, std::get<web::WebhookRefusal>(verdict));
  }
  fuzz::CheckBody(input);
  return 0;
}

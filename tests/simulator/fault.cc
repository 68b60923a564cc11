#include "tests/simulator/fault.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/simulator/rest_api.h"

namespace dreamgate::simulator {
namespace {

bool Matches(const Fault& fault, const Request& request) {
  return (fault.method.empty() || fault.method == request.method) &&
         request.target.compare(0, fault.path_prefix.size(), fault.path_prefix) == 0 &&
         (fault.task_id.empty() || request.target.find(fault.task_id) != std::string::npos) &&
         (fault.body_contains.empty() ||
          request.body.find(fault.body_contains) != std::string::npos);
}

FaultMoment MomentOf(FaultAction action) {
  if (action == FaultAction::kResetOnAccept) return FaultMoment::kAccept;
  if (action == FaultAction::kResetBeforeRequest) return FaultMoment::kHeaders;
  return FaultMoment::kRequest;
}

Answer HtmlPage(int status) {
  Answer answer;
  answer.status = status;
  answer.content_type = "text/html";
  answer.body = absl::StrCat("<html><head><title>", status, " ", ReasonPhrase(status),
                             "</title></head><body><h1>", ReasonPhrase(status),
                             "</h1><hr>gateway</body></html>\n");
  return answer;
}

// The answer's values as the fault changes them; bytes and timing come after.
Answer Changed(const Fault& fault, Answer answer) {
  switch (fault.action) {
    case FaultAction::kNotJson: return HtmlPage(fault.status == 0 ? 200 : fault.status);
    case FaultAction::kWrongContentType:
      answer.content_type = fault.content_type.empty() ? "text/html" : fault.content_type;
      return answer;
    case FaultAction::kHugeBody: answer.body.append(fault.bytes, ' '); return answer;
    case FaultAction::kRedirect:
      answer = Answer();
      answer.status = fault.status == 0 ? 302 : fault.status;
      answer.headers = {{"Location", fault.location}};
      return answer;
    case FaultAction::kStatus: {
      const int status = fault.status == 0 ? 500 : fault.status;
      answer = ErrorAnswer(status, fault.text.empty() ? ReasonPhrase(status) : fault.text);
      if (!fault.body.empty()) answer.body = fault.body;
      if (!fault.content_type.empty()) answer.content_type = fault.content_type;
      answer.headers = fault.headers;
      return answer;
    }
    case FaultAction::kRateLimited:
      answer = ErrorAnswer(
          429, fault.text.empty() ? "You have reached your concurrency limit" : fault.text);
      if (!fault.retry_after.empty()) answer.headers = {{"Retry-After", fault.retry_after}};
      return answer;
    case FaultAction::kUnknownStatus:
      answer.body = WithTaskField(answer.body, "status", fault.text);
      return answer;
    case FaultAction::kEnvelopeError:
      answer = ErrorAnswer(fault.code == 0 ? 500 : fault.code,
                           fault.text.empty() ? "internal error" : fault.text);
      answer.status = 200;
      return answer;
    case FaultAction::kNoId: answer.body = WithoutTaskField(answer.body, "id"); return answer;
    default: return answer;
  }
}

}  // namespace

bool Fault::Processes() const {
  switch (action) {
    case FaultAction::kResetOnAccept:
    case FaultAction::kResetBeforeRequest: return false;
    case FaultAction::kResetAfterRequest:
    case FaultAction::kNotJson:
    case FaultAction::kRedirect:
    case FaultAction::kStatus:
    case FaultAction::kRateLimited:
    case FaultAction::kEnvelopeError:
    case FaultAction::kNoId:
    case FaultAction::kHang:
    case FaultAction::kRawResponse: return create_task;
    default: return true;
  }
}

int FaultTable::Add(Fault fault) {
  const int number = static_cast<int>(hits_.size());
  hits_.push_back(0);
  std::mt19937_64 random(fault.seed);
  entries_.push_back({number, std::move(fault), random});
  return number;
}

void FaultTable::Clear() { entries_.clear(); }

std::optional<Fault> FaultTable::Strike(FaultMoment moment, const Request& request) {
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    Fault& fault = entry->fault;
    if (MomentOf(fault.action) != moment) continue;
    if (moment != FaultMoment::kAccept && !Matches(fault, request)) continue;
    if (fault.skip > 0) {
      --fault.skip;
      continue;
    }
    if (fault.probability < 1.0 &&
        std::uniform_real_distribution<double>()(entry->random) >= fault.probability) {
      continue;
    }
    ++hits_[static_cast<std::size_t>(entry->number)];
    if (fault.times > 0 && --fault.times == 0) {
      Fault last = std::move(fault);
      entries_.erase(entry);
      return last;
    }
    return fault;
  }
  return std::nullopt;
}

int FaultTable::Hits(int number) const { return hits_.at(static_cast<std::size_t>(number)); }

WirePlan FaultyPlan(const Fault& fault, Answer answer, const Request& request, absl::Time now) {
  const std::string date = HttpDate(now);
  if (answer.file) {  // faults want the bytes at hand
    answer.body = answer.file->substr(answer.file_offset, answer.file_length);
    answer.file = nullptr;
  }
  answer = Changed(fault, std::move(answer));
  WirePlan plan = PlainPlan(answer, request, date);
  switch (fault.action) {
    case FaultAction::kResetOnAccept:
    case FaultAction::kResetBeforeRequest:
    case FaultAction::kResetAfterRequest:
      plan = {};
      plan.end = WirePlan::End::kReset;
      break;
    case FaultAction::kHang:
      plan = {};
      plan.end = WirePlan::End::kHang;
      break;
    case FaultAction::kCloseMidBody:
      plan.bytes.resize(plan.bytes.size() - (answer.body.size() + 1) / 2);
      plan.end = WirePlan::End::kDrop;
      break;
    case FaultAction::kSlowBytes:
      plan.piece = std::max<std::size_t>(1, fault.bytes);
      plan.interval = fault.interval;
      break;
    case FaultAction::kInterimResponses: {
      std::string interim;
      for (int i = 0; i < fault.count; ++i) {
        interim +=
            "HTTP/1.1 100 Continue\r\n\r\n"
            "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
      }
      plan.bytes.insert(0, interim);
      break;
    }
    case FaultAction::kHugeChunkExtension:
      plan.bytes =
          absl::StrCat(Head(answer, "Transfer-Encoding: chunked\r\n", date, request.keep_alive),
                       absl::Hex(answer.body.size()), ";extension=", std::string(fault.bytes, 'x'),
                       "\r\n", answer.body, "\r\n0\r\n\r\n");
      break;
    case FaultAction::kCloseDelimited:
      plan.bytes = Head(answer, "", date, false) + answer.body;
      plan.end = WirePlan::End::kClose;
      break;
    case FaultAction::kRawResponse:
      plan.bytes = fault.body;
      plan.end = WirePlan::End::kClose;
      break;
    default: break;
  }
  plan.delay = fault.delay;
  return plan;
}

int SeenStatus(const Fault& fault, const Answer& answer) {
  switch (fault.action) {
    case FaultAction::kResetOnAccept:
    case FaultAction::kResetBeforeRequest:
    case FaultAction::kResetAfterRequest:
    case FaultAction::kHang:
    case FaultAction::kRawResponse: return 0;
    default: return Changed(fault, answer).status;
  }
}

}  // namespace dreamgate::simulator

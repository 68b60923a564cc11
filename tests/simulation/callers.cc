#include "tests/simulation/callers.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/core/errors.h"

namespace dreamgate::simulation {
namespace {

using core::Reason;

core::VideoInput DrawInput(const RequestKey& request, int variant, Chance& chance) {
  core::VideoInput input;
  input.prompt =
      absl::StrCat("what ", request.second, " of ", request.first, " wants, version ", variant);
  input.aspect_ratio = static_cast<core::AspectRatio>(chance.Between(1, 7));
  if (chance.Percent(30)) input.seed = static_cast<int32_t>(chance.Between(0, 2147483647));
  if (chance.Percent(30)) input.labels["team"] = "film";
  return input;
}

}  // namespace

void Callers::AddRequest(absl::Duration period) {
  Chance& chance = world_.chance;
  const RequestKey request(absl::StrCat("tenant-", chance.Between(1, 2)),
                           absl::StrCat("request-", ++requests_));
  core::VideoInput usual = DrawInput(request, 1, chance);
  if (chance.Percent(15)) usual = AnyWithSeed().value_or(usual);
  const core::VideoInput other = DrawInput(request, 2, chance);
  if (usual.seed) inputs_with_seed_.push_back(usual);

  const absl::Duration first = chance.Uniform(absl::ZeroDuration(), period);
  const int64_t count = chance.Weighted<int64_t>({{5, 1}, {3, 2}, {2, 3}});
  for (int64_t i = 0; i < count; ++i) {
    auto caller = std::make_unique<Caller>();
    caller->name = absl::StrCat("caller ", i + 1, " of ", request.second);
    caller->request = request;
    caller->input = i > 0 && chance.Percent(25) ? other : usual;
    caller->errands = static_cast<int>(chance.Between(0, 3));
    ++busy_;
    SubmitLater(*caller,
                i == 0 ? first : first + chance.Spread(absl::Microseconds(1), absl::Minutes(3)));
    callers_.push_back(std::move(caller));
  }
}

std::optional<core::VideoInput> Callers::AnyWithSeed() {
  if (inputs_with_seed_.empty()) return std::nullopt;
  return inputs_with_seed_[world_.chance.Index(inputs_with_seed_.size())];
}

bool Callers::WasAskedWithSeed(const std::string& prompt, int32_t seed) const {
  return std::any_of(
      inputs_with_seed_.begin(), inputs_with_seed_.end(),
      [&](const core::VideoInput& input) { return input.prompt == prompt && input.seed == seed; });
}

void Callers::ComeBack() {
  for (const auto& caller : callers_) {
    if (!world_.chance.Percent(30)) continue;
    world_.trace.Add(caller->name, " will come back");
    ++busy_;
    caller->errands = static_cast<int>(world_.chance.Between(0, 2));
    SubmitLater(*caller, world_.chance.Spread(absl::Seconds(1), absl::Hours(1)));
  }
}

void Callers::SubmitLater(Caller& caller, absl::Duration delay) {
  world_.agenda.Later(delay, [this, &caller] { Submit(caller); });
}

void Callers::Submit(Caller& caller) {
  if (world_.gateway == nullptr) {
    world_.KnockLater([this, &caller] { Submit(caller); });
    return;
  }
  ++calls_made_;
  const auto call = std::make_shared<SubmitCall>();
  call->request = caller.request;
  call->input = caller.input;
  caller.waiting = call;
  open_calls_.push_back(call);
  world_.trace.Add(caller.name, " submits \"", caller.input.prompt, "\"");
  world_.invariants.OnCall(*call);

  core::SubmitRequest request;
  request.tenant = caller.request.first;
  request.request_id = caller.request.second;
  request.input = caller.input;
  request.cancelled = [call] { return call->cancelled; };
  world_.gateway->Submit(std::move(request),
                         [this, &caller, call](absl::StatusOr<core::SubmitAnswer> answer) {
                           OnAnswer(caller, call, answer);
                         });
  // Some wait for ever, some have a deadline.
  if (world_.chance.Percent(30)) {
    world_.agenda.Later(world_.chance.Spread(absl::Milliseconds(1), absl::Seconds(90)),
                        [this, &caller, call] { GoAway(caller, call); });
  }
}

void Callers::GoAway(Caller& caller, const std::shared_ptr<SubmitCall>& call) {
  if (caller.waiting != call) return;
  world_.trace.Add(caller.name, " goes away");
  call->cancelled = true;
  caller.waiting.reset();
  if (world_.chance.Percent(20)) {
    Finish(caller);
  } else {
    SubmitLater(caller, world_.chance.Spread(absl::Milliseconds(1), absl::Seconds(30)));
  }
}

void Callers::OnAnswer(Caller& caller, const std::shared_ptr<SubmitCall>& call,
                       const absl::StatusOr<core::SubmitAnswer>& answer) {
  world_.trace.Add(caller.name, call->cancelled ? " (gone)" : "", " is told ", [&answer] {
    if (!answer.ok()) return answer.status().ToString(absl::StatusToStringMode::kWithNoExtraData);
    return absl::StrCat("OK ", Describe(*answer->prediction), answer->replayed ? ", replayed" : "");
  });
  world_.invariants.OnAnswer(*call, answer, world_.time.Now());
  on_answer_();
  open_calls_.erase(std::remove(open_calls_.begin(), open_calls_.end(), call), open_calls_.end());
  if (caller.waiting != call) return;  // it has gone away
  caller.waiting.reset();
  if (!answer.ok()) {
    OnError(caller, answer.status());
    return;
  }
  const PredictionKey prediction(caller.request.first, answer->prediction->id);
  const int64_t watchers = world_.chance.Weighted<int64_t>({{3, 0}, {4, 1}, {2, 2}, {1, 3}});
  for (int64_t i = 0; i < watchers; ++i) watch_clients_.Add(prediction, caller.request.second);
  DoErrands(caller, prediction);
}

void Callers::OnError(Caller& caller, const absl::Status& error) {
  Chance& chance = world_.chance;
  const std::optional<Reason> reason = core::ReasonOf(error);
  const absl::Duration hint =
      core::DetailsOf(error).retry_after.value_or(absl::ZeroDuration()) * chance.Fraction();
  const absl::Duration delay = hint + chance.Spread(absl::Milliseconds(1), absl::Seconds(10));
  switch (reason.value_or(Reason::kInternal)) {
    case Reason::kLedgerUnavailable:
    case Reason::kDraining:
    case Reason::kUpstreamUnreachable:
    case Reason::kUpstreamRateLimited:
    case Reason::kTooManyRequests:
    case Reason::kTenantLimitReached: SubmitLater(caller, delay); return;
    case Reason::kUpstreamCredentialsRejected:
    case Reason::kUpstreamBalanceExhausted:
    case Reason::kUpstreamModelUnavailable:
    case Reason::kUpstreamMisconfigured:
      if (chance.Percent(70)) {
        SubmitLater(caller, delay);
      } else {
        Finish(caller);
      }
      return;
    default:  // settled; a few ask again all the same
      if (caller.errands-- > 0) {
        SubmitLater(caller, chance.Spread(absl::Milliseconds(1), absl::Minutes(10)));
      } else {
        Finish(caller);
      }
  }
}

void Callers::DoErrands(Caller& caller, const PredictionKey& prediction) {
  if (caller.errands-- <= 0) {
    Finish(caller);
    return;
  }
  world_.agenda.Later(world_.chance.Spread(absl::Milliseconds(1), absl::Minutes(5)),
                      [this, &caller, prediction] {
                        switch (world_.chance.Weighted<int>({{5, 0}, {2, 1}, {3, 2}})) {
                          case 0: Get(caller, prediction); break;
                          case 1: List(caller); break;
                          default: Submit(caller); return;  // and what follows its answer
                        }
                        DoErrands(caller, prediction);
                      });
}

void Callers::Get(Caller& caller, const PredictionKey& prediction) {
  if (world_.gateway == nullptr) {
    world_.KnockLater([this, &caller, prediction] { Get(caller, prediction); });
    return;
  }
  const ShownSoFar least = world_.invariants.ShownOf(prediction);
  ++reads_open_;
  world_.gateway->Get(prediction.first, prediction.second,
                      [this, &caller, prediction,
                       least](absl::StatusOr<std::shared_ptr<const core::Prediction>> got) {
                        --reads_open_;
                        world_.trace.Add(caller.name, " gets ", [&got] {
                          return got.ok() ? Describe(**got) : std::string(got.status().message());
                        });
                        world_.invariants.OnGot(prediction, least, got);
                      });
}

void Callers::List(Caller& caller) {
  if (world_.gateway == nullptr) return;
  core::ListQuery query;
  query.tenant = caller.request.first;
  query.page_size = 1000;
  ++reads_open_;
  world_.gateway->List(query, [this, &caller, visible = world_.invariants.VisibleOf(query.tenant)](
                                  absl::StatusOr<core::ListPage> page) {
    --reads_open_;
    world_.trace.Add(caller.name, " lists ", page.ok() ? page->predictions.size() : 0);
    world_.invariants.OnListed(caller.request.first, visible, page);
  });
}

void Callers::Finish(Caller& caller) {
  world_.trace.Add(caller.name, " is done");
  --busy_;
}

void Callers::OnProcessEnd() {
  for (const std::shared_ptr<SubmitCall>& call : open_calls_) call->process_ended = true;
  open_calls_.clear();
  reads_open_ = 0;
  for (const auto& caller : callers_) {
    if (caller->waiting == nullptr) continue;
    caller->waiting.reset();  // the connection is lost
    SubmitLater(*caller, world_.chance.Spread(absl::Milliseconds(10), absl::Seconds(20)));
  }
}

void Callers::OnEnd() {
  for (const std::shared_ptr<SubmitCall>& call : open_calls_) {
    world_.invariants.Complain(
        "Completions are called once",
        absl::StrCat(call->request.second, ": a submission was never answered"));
  }
  if (reads_open_ > 0) {
    world_.invariants.Complain("Completions are called once",
                               absl::StrCat(reads_open_, " reads were never answered"));
  }
}

}  // namespace dreamgate::simulation

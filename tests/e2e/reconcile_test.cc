// Submissions whose outcome is unknown, against the real server program and upstream's history as the
// simulator shows it. Every test ends by counting the tasks that upstream has billed.
#include <signal.h>

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/e2e/deployment_fixture.h"
#include "tests/web/raw_client.h"

namespace dreamgate::e2e {
namespace {

using simulator::Fault;
using simulator::FaultAction;
using simulator::HistoryInput;
using simulator::Schedule;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kPrompt[] = "a red kite";
constexpr char kHistoryPath[] = "/api/v3/predictions";

// History is asked every 100 ms. Nothing is given up while a test works.
const std::vector<std::string> kPatient = {"--absence-settle-time=300ms",
                                           "--unresolved-timeout=1h"};
// Long enough for absence to be shown if it were going to be, and for the answer to a loaded machine.
const std::vector<std::string> kImpatient = {"--absence-settle-time=300ms",
                                             "--unresolved-timeout=2s"};

std::vector<std::string> With(std::vector<std::string> arguments, const std::string& more) {
  arguments.push_back(more);
  return arguments;
}

class ReconcileTest : public DeploymentTest {
 protected:
  // The next `times` POSTs are reset when they have been read; each has created a task, or none has.
  void LoseAnswers(bool created, int times = 1) {
    deployment().OnSubmit(
        {.times = times, .action = FaultAction::kResetAfterRequest, .create_task = created});
  }

  // Submits with the answer lost.
  v1::Prediction SubmitUnresolved(const std::string& request_id = "id-1",
                                  const std::string& prompt = kPrompt) {
    const v1::Prediction prediction = MustSubmit(stub(), request_id, prompt);
    EXPECT_EQ(prediction.state(), kUnresolved);
    return prediction;
  }

  size_t Posts() { return deployment().Posts(); }
  size_t Asks() { return upstream().Count("POST", kHistoryPath); }

  // Waits until history has been asked so many times more.
  bool WaitForAsks(size_t more) {
    return upstream().WaitForRequests("POST", kHistoryPath, Asks() + more, kPatience);
  }

  // Polls the prediction until it satisfies `condition`: nothing announces what is no transition.
  v1::Prediction GetUntil(const std::string& id,
                          const std::function<bool(const v1::Prediction&)>& condition) {
    v1::Prediction prediction;
    EXPECT_TRUE(Eventually([&] { return condition(prediction = Get(id)); }))
        << prediction.DebugString();
    return prediction;
  }

  std::string ReconciledBy(const std::string& evidence) {
    return Metric("dreamgate_reconciled_total{evidence=\"" + evidence + "\"}");
  }

  void ExpectEndsUnknown(const v1::Prediction& prediction) {
    const auto watch = WatchAll(prediction);
    ASSERT_TRUE(watch->WaitForEnd());
    EXPECT_THAT(watch->states(), ElementsAre(kSubmitting, kUnresolved, kFailed));
    EXPECT_THAT(watch->violations(), IsEmpty());
    const v1::Prediction last = watch->updates().back();
    EXPECT_EQ(last.error().failure_code(), v1::FAILURE_CODE_SUBMIT_OUTCOME_UNKNOWN);
    EXPECT_THAT(last.error().message(), HasSubstr("history"));
    EXPECT_EQ(ReconciledBy("none"), "1");
  }

  void ExpectEndsNotCreated(const v1::Prediction& prediction) {
    const auto watch = WatchAll(prediction);
    ASSERT_TRUE(watch->WaitForEnd());
    EXPECT_TRUE(watch->status().ok());
    EXPECT_THAT(watch->states(), ElementsAre(kSubmitting, kUnresolved, kFailed));
    EXPECT_THAT(watch->violations(), IsEmpty());
    const v1::Prediction last = watch->updates().back();
    EXPECT_EQ(last.error().failure_code(), v1::FAILURE_CODE_SUBMIT_NOT_CREATED);
    EXPECT_EQ(ReconciledBy("absence"), "1");
  }

  // Found in history and followed to its video, with one POST and one task.
  void ExpectFoundAndCompleted(const v1::Prediction& prediction, const std::string& upstream_id) {
    const auto watch = WatchAll(prediction);
    ASSERT_TRUE(watch->WaitForUpdates(3));
    EXPECT_EQ(watch->updates()[2].upstream_id(), upstream_id);
    ASSERT_TRUE(upstream().SetTaskState(upstream_id, {.status = "processing"}));
    ASSERT_TRUE(watch->WaitForUpdates(4));
    ASSERT_TRUE(upstream().SetTaskState(upstream_id, {.status = "completed"}));
    ASSERT_TRUE(watch->WaitForEnd());
    EXPECT_TRUE(watch->status().ok());
    EXPECT_THAT(watch->states(),
                ElementsAre(kSubmitting, kUnresolved, kCreated, kProcessing, kCompleted));
    EXPECT_THAT(watch->violations(), IsEmpty());
    const v1::Prediction last = watch->updates().back();
    ASSERT_EQ(last.history_size(), 5);
    EXPECT_EQ(last.history(2).source(), v1::TRANSITION_SOURCE_RECONCILIATION);
    EXPECT_EQ(last.history(4).source(), v1::TRANSITION_SOURCE_POLL);
    ASSERT_EQ(last.outputs_size(), 1);
    EXPECT_THAT(last.outputs(0).url(), HasSubstr(upstream_id));
    EXPECT_EQ(last.recovered_outputs_size(), 0);
    EXPECT_EQ(Posts(), 1u);
    EXPECT_EQ(upstream().TasksCreatedForPrompt(kPrompt), 1u);
  }
};

// ----------------------------------------------------------------------------------- found, or absent

TEST_F(ReconcileTest, ALostAnswerIsFoundInHistoryAndItsVideoArrives) {
  Deploy(kPatient);
  LoseAnswers(/*created=*/true);
  const v1::Prediction prediction = SubmitUnresolved();
  ASSERT_THAT(upstream().TaskIds(), SizeIs(1));
  ExpectFoundAndCompleted(prediction, upstream().TaskIds()[0]);
  EXPECT_EQ(ReconciledBy("history"), "1");
  EXPECT_EQ(Metric("dreamgate_predictions_unresolved"), "0");
}

TEST_F(ReconcileTest, ATaskThatEndedMeanwhileIsFoundAndItsVideoArrives) {
  Deploy(kPatient);
  upstream().SetSchedule(Schedule::Completing(absl::ZeroDuration(), absl::ZeroDuration()));
  LoseAnswers(/*created=*/true);
  const v1::Prediction prediction = SubmitUnresolved();
  const auto watch = WatchAll(prediction);
  ASSERT_TRUE(watch->WaitForEnd());
  EXPECT_EQ(watch->states().back(), kCompleted);
  EXPECT_THAT(watch->violations(), IsEmpty());
  EXPECT_EQ(watch->updates().back().outputs_size(), 1);
  EXPECT_EQ(Posts(), 1u);
  EXPECT_EQ(upstream().TasksCreated(), 1u);
}

TEST_F(ReconcileTest, APostThatCreatedNothingEndsNotCreatedAfterSeveralPollsOfHistory) {
  Deploy(kPatient);
  LoseAnswers(/*created=*/false);
  const v1::Prediction prediction = SubmitUnresolved();
  ExpectEndsNotCreated(prediction);
  EXPECT_GE(Asks(), 3u);
  EXPECT_EQ(Posts(), 1u);
  EXPECT_EQ(upstream().TasksCreated(), 0u);

  // The request_id keeps its answer; whoever wants to pay anew says so with another one.
  const SubmitResult again = Submit(stub(), Request("id-1"));
  ASSERT_TRUE(again.status.ok()) << again.status.error_message();
  EXPECT_TRUE(again.response.replayed());
  EXPECT_EQ(again.response.prediction().state(), kFailed);
  EXPECT_EQ(MustSubmit(stub(), "id-2").state(), kCreated);
  EXPECT_EQ(upstream().TasksCreated(), 1u);
}

TEST_F(ReconcileTest, SeveralLostAnswersOfEqualInputAreBoundOneTaskEach) {
  Deploy(kPatient);
  LoseAnswers(/*created=*/true, /*times=*/2);
  // With a fixed seed the two differ in nothing that history shows.
  v1::SubmitVideoRequest request = Request("id-1");
  request.set_seed(7);
  const SubmitResult first = Submit(stub(), request);
  request.set_request_id("id-2");
  const SubmitResult second = Submit(stub(), request);
  ASSERT_TRUE(first.status.ok() && second.status.ok());
  const auto first_watch = WatchAll(first.response.prediction());
  const auto second_watch = WatchAll(second.response.prediction());
  ASSERT_TRUE(first_watch->WaitForUpdates(3) && second_watch->WaitForUpdates(3));
  ASSERT_THAT(upstream().TaskIds(), SizeIs(2));
  EXPECT_NE(first_watch->updates()[2].upstream_id(), second_watch->updates()[2].upstream_id());
  for (size_t task : {0u, 1u}) SetStatus(task, "completed");
  ASSERT_TRUE(first_watch->WaitForEnd() && second_watch->WaitForEnd());
  EXPECT_EQ(first_watch->states().back(), kCompleted);
  EXPECT_EQ(second_watch->states().back(), kCompleted);
  EXPECT_EQ(Posts(), 2u);
  EXPECT_EQ(upstream().TasksCreated(), 2u);
}

// ----------------------------------------------------------------------------- evidence that is thin

TEST_F(ReconcileTest, HistoryWithoutInputsProvesNothingAndLateEvidenceRecoversTheVideo) {
  Deploy(kImpatient);
  upstream().SetHistory(HistoryInput::kNever, absl::ZeroDuration());
  LoseAnswers(/*created=*/true);
  const v1::Prediction prediction = SubmitUnresolved();
  ExpectEndsUnknown(prediction);

  SetStatus(0, "completed");
  upstream().SetHistory(HistoryInput::kAlways, absl::ZeroDuration());
  deployment().CrashAndRestart();  // a start asks as far back as upstream's history goes
  const v1::Prediction recovered =
      GetUntil(prediction.id(), [](const auto& now) { return now.recovered_outputs_size() > 0; });
  ASSERT_EQ(recovered.recovered_outputs_size(), 1);
  EXPECT_THAT(recovered.recovered_outputs(0).url(), HasSubstr(upstream().TaskIds()[0]));
  EXPECT_EQ(recovered.state(), kFailed) << "what has ended stays ended";
  EXPECT_EQ(recovered.sequence(), 3);
  EXPECT_EQ(recovered.outputs_size(), 0);
  EXPECT_EQ(Metric("dreamgate_orphans_total"), "1");
  EXPECT_EQ(Posts(), 1u);
  EXPECT_EQ(upstream().TasksCreated(), 1u);

  deployment().CrashAndRestart();
  EXPECT_EQ(Get(prediction.id()).recovered_outputs_size(), 1) << "kept";
}

TEST_F(ReconcileTest, AHistoryThatLagsIsWaitedForWithinTheSettleTime) {
  Deploy({"--absence-settle-time=3s", "--unresolved-timeout=1h"});
  upstream().SetHistory(HistoryInput::kAlways, absl::Seconds(1));
  LoseAnswers(/*created=*/true);
  const v1::Prediction prediction = SubmitUnresolved();
  ExpectFoundAndCompleted(prediction, upstream().TaskIds().at(0));
}

TEST_F(ReconcileTest, AHistoryThatLacksAnAcceptedTaskShowsNoAbsence) {
  Deploy(kImpatient);
  upstream().SetHistory(HistoryInput::kAlways, absl::Hours(1));
  LoseAnswers(/*created=*/true);
  const v1::Prediction prediction = SubmitUnresolved();
  EXPECT_EQ(MustSubmit(stub(), "accepted", "another kite").state(), kCreated);
  ExpectEndsUnknown(prediction);
  EXPECT_EQ(upstream().TasksCreated(), 2u);
}

TEST_F(ReconcileTest, ATaskThatHistoryShowsOnlyAfterItsAbsenceWasBelievedIsRecovered) {
  Deploy(kPatient);
  upstream().SetHistory(HistoryInput::kAlways, absl::Hours(1));
  LoseAnswers(/*created=*/true);
  const v1::Prediction prediction = SubmitUnresolved();
  ExpectEndsNotCreated(prediction);
  SetStatus(0, "completed");
  upstream().SetHistory(HistoryInput::kAlways, absl::ZeroDuration());
  deployment().CrashAndRestart();
  const v1::Prediction recovered =
      GetUntil(prediction.id(), [](const auto& now) { return now.recovered_outputs_size() > 0; });
  EXPECT_EQ(recovered.state(), kFailed);
  EXPECT_EQ(Posts(), 1u);
  EXPECT_EQ(upstream().TasksCreated(), 1u);
}

TEST_F(ReconcileTest, AHistoryThatFailsShowsNoAbsence) {
  Deploy(kImpatient);
  upstream().AddFault({.method = "POST",
                       .path_prefix = kHistoryPath,
                       .times = -1,
                       .action = FaultAction::kStatus,
                       .status = 503});
  LoseAnswers(/*created=*/false);
  ExpectEndsUnknown(SubmitUnresolved());
  EXPECT_GE(Asks(), 1u);
  EXPECT_EQ(upstream().TasksCreated(), 0u);
}

// ------------------------------------------------------------------------- others in the same account

TEST_F(ReconcileTest, OtherClientsTasksAreNeitherTakenNorInTheWay) {
  Deploy(kPatient);
  const auto post_as_another_client = [this](const std::string& input) {
    EXPECT_THAT(
        web::Exchange(upstream().port(),
                      absl::StrCat("POST ", upstream().SubmitPath(), " HTTP/1.1\r\n",
                                   "Host: upstream\r\nAuthorization: Bearer simulator-key\r\n",
                                   "Content-Type: application/json\r\nConnection: close\r\n",
                                   "Content-Length: ", input.size(), "\r\n\r\n", input)),
        HasSubstr(" 200 OK\r\n"));
  };
  post_as_another_client(R"({"prompt":"a blue kite","aspect_ratio":"16:9","seed":1})");
  LoseAnswers(/*created=*/true);
  const v1::Prediction prediction = SubmitUnresolved();
  // Our prompt with another seed.
  post_as_another_client(absl::StrCat(R"({"prompt":"a red kite","aspect_ratio":"16:9","seed":)",
                                      prediction.seed() == 5 ? 6 : 5, "}"));
  ASSERT_THAT(upstream().TaskIds(), SizeIs(3));
  const auto watch = WatchAll(prediction);
  ASSERT_TRUE(watch->WaitForUpdates(3));
  EXPECT_EQ(watch->updates()[2].upstream_id(), upstream().TaskIds()[1]);

  // Nor do they hide that ours does not exist.
  LoseAnswers(/*created=*/false);
  const v1::Prediction absent = SubmitUnresolved("id-2", "a green kite");
  ExpectEndsNotCreated(absent);
  EXPECT_EQ(Posts(), 4u);
  EXPECT_EQ(upstream().TasksCreatedForPrompt("a green kite"), 0u);
}

TEST_F(ReconcileTest, ATaskOfUnknownInputInTheWindowForbidsToBelieveInAbsence) {
  Deploy(kImpatient);
  upstream().SetHistory(HistoryInput::kNever, absl::ZeroDuration());
  LoseAnswers(/*created=*/false);
  const v1::Prediction prediction = SubmitUnresolved();
  upstream().AddForeignTask("somebody's", absl::ZeroDuration());
  ExpectEndsUnknown(prediction);
  EXPECT_EQ(upstream().TasksCreated(), 0u);
}

TEST_F(ReconcileTest, ATaskOfUnknownInputFromLongBeforeDoesNotHideAbsence) {
  Deploy(kPatient);
  upstream().SetHistory(HistoryInput::kNever, absl::ZeroDuration());
  upstream().AddForeignTask("somebody's", absl::Hours(1));
  LoseAnswers(/*created=*/false);
  ExpectEndsNotCreated(SubmitUnresolved());
  EXPECT_EQ(upstream().TasksCreated(), 0u);
}

// -------------------------------------------------------------------------------------- clocks and keys

class ClockSkewTest : public ReconcileTest, public ::testing::WithParamInterface<int> {
 protected:
  ClockSkewTest() {
    Deploy(kPatient);
    upstream().SetClockOffset(absl::Minutes(GetParam()));
  }
};

TEST_P(ClockSkewTest, ATaskIsFoundWhateverUpstreamsClockSays) {
  LoseAnswers(/*created=*/true);
  const v1::Prediction prediction = SubmitUnresolved();
  ExpectFoundAndCompleted(prediction, upstream().TaskIds().at(0));
}

TEST_P(ClockSkewTest, AbsenceIsSeenWhateverUpstreamsClockSays) {
  LoseAnswers(/*created=*/false);
  ExpectEndsNotCreated(SubmitUnresolved());
  EXPECT_EQ(upstream().TasksCreated(), 0u);
}

TEST_P(ClockSkewTest, ACandidateInTheWindowIsSeenWhateverUpstreamsClockSays) {
  deployment().Restart(kImpatient);
  upstream().SetHistory(HistoryInput::kNever, absl::ZeroDuration());
  LoseAnswers(/*created=*/true);
  ExpectEndsUnknown(SubmitUnresolved());
  EXPECT_EQ(upstream().TasksCreated(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Minutes, ClockSkewTest, ::testing::Values(-10, 10),
                         [](const auto& instance) { return instance.param < 0 ? "Slow" : "Fast"; });

class SwitchedKeyTest : public ReconcileTest {
 protected:
  std::vector<std::string> WithKeyFile(std::vector<std::string> arguments) {
    UseKey("simulator-key");
    return With(With(std::move(arguments), "--api-key-file=" + folder_.File("key")),
                "--probe-interval=100ms");
  }
  void UseKey(const std::string& key) { folder_.Write("key", key + "\n"); }
};

TEST_F(SwitchedKeyTest, APredictionOfTheFormerKeyIsNotFailedByTheOtherAccountsAnswers) {
  Deploy(WithKeyFile(kPatient));
  const v1::Prediction prediction = MustSubmit(stub(), "id-1");
  const auto watch = WatchAll(prediction);
  ASSERT_TRUE(watch->WaitForUpdates(2));
  // The simulator refuses a key that is not its own.
  UseKey("another-key");
  const auto refused = [this] {
    for (const auto& request : upstream().Log()) {
      if (request.authorization == "Bearer another-key" && request.status == 401) return true;
    }
    return false;
  };
  ASSERT_TRUE(upstream().WaitUntil(refused, kPatience));
  // Another account does not know the task.
  UseKey("simulator-key");
  const int not_found = upstream().AddFault(
      {.method = "GET", .times = 4, .action = FaultAction::kStatus, .status = 404});
  ASSERT_TRUE(
      upstream().WaitUntil([&] { return upstream().FaultHits(not_found) == 4; }, kPatience));
  SetStatus(0, "completed");
  ASSERT_TRUE(watch->WaitForEnd());
  EXPECT_TRUE(watch->status().ok());
  EXPECT_THAT(watch->states(), ElementsAre(kSubmitting, kCreated, kCompleted));
  EXPECT_EQ(Posts(), 1u);
  EXPECT_EQ(upstream().TasksCreated(), 1u);
}

TEST_F(SwitchedKeyTest, TheEmptyHistoryOfAnotherAccountShowsNoAbsence) {
  Deploy(WithKeyFile({"--absence-settle-time=300ms", "--unresolved-timeout=3s",
                      "--submit-soft-timeout=100ms", "--resend-after-absence=1"}));
  upstream().AddFault(
      {.method = "POST",
       .path_prefix = kHistoryPath,
       .times = -1,
       .action = FaultAction::kStatus,
       .status = 200,
       .body = R"({"code":200,"message":"success","data":{"page":1,"total":0,"items":[]}})"});
  // While the POST hangs, nothing is concluded.
  deployment().OnSubmit({.action = FaultAction::kHang, .create_task = true});
  const v1::Prediction prediction = SubmitUnresolved();
  UseKey("another-key");
  const auto asked_with_other_key = [this] {
    for (const auto& request : upstream().Log()) {
      if (request.authorization == "Bearer another-key" && request.target == kHistoryPath) {
        return true;
      }
    }
    return false;
  };
  ASSERT_TRUE(upstream().WaitUntil(asked_with_other_key, kPatience));
  upstream().ResetConnections();
  ExpectEndsUnknown(prediction);
  EXPECT_EQ(Posts(), 1u);
  EXPECT_EQ(upstream().TasksCreated(), 1u);
}

// -------------------------------------------------------------------------------- sent again, by order

TEST_F(ReconcileTest, WithTheOptInAnAbsentTaskIsSentAgainOnceAndPaidOnce) {
  Deploy(With(kPatient, "--resend-after-absence=1"));
  LoseAnswers(/*created=*/false);
  const v1::Prediction prediction = SubmitUnresolved();
  const auto watch = WatchAll(prediction);
  ASSERT_TRUE(watch->WaitForUpdates(4));
  SetStatus(0, "completed");
  ASSERT_TRUE(watch->WaitForEnd());
  EXPECT_THAT(watch->states(),
              ElementsAre(kSubmitting, kUnresolved, kSubmitting, kCreated, kCompleted));
  EXPECT_THAT(watch->violations(), IsEmpty());
  EXPECT_EQ(watch->updates().back().seed(), prediction.seed());
  EXPECT_EQ(Posts(), 2u);
  EXPECT_EQ(upstream().TasksCreated(), 1u);
}

TEST_F(ReconcileTest, TheOptInHasAnEnd) {
  Deploy(With(kPatient, "--resend-after-absence=1"));
  LoseAnswers(/*created=*/false, /*times=*/-1);
  const v1::Prediction prediction = SubmitUnresolved();
  const auto watch = WatchAll(prediction);
  ASSERT_TRUE(watch->WaitForEnd());
  EXPECT_THAT(watch->states(),
              ElementsAre(kSubmitting, kUnresolved, kSubmitting, kUnresolved, kFailed));
  EXPECT_EQ(watch->updates().back().error().failure_code(), v1::FAILURE_CODE_SUBMIT_NOT_CREATED);
  EXPECT_EQ(Posts(), 2u);
  EXPECT_EQ(upstream().TasksCreated(), 0u);
}

TEST_F(ReconcileTest, WithTheOptInASecondLostAnswerIsFoundWithoutAThirdPost) {
  Deploy(With(kPatient, "--resend-after-absence=3"));
  LoseAnswers(/*created=*/false);
  LoseAnswers(/*created=*/true);
  const v1::Prediction prediction = SubmitUnresolved();
  const auto watch = WatchAll(prediction);
  ASSERT_TRUE(watch->WaitForUpdates(5));
  SetStatus(0, "completed");
  ASSERT_TRUE(watch->WaitForEnd());
  EXPECT_THAT(watch->states(), ElementsAre(kSubmitting, kUnresolved, kSubmitting, kUnresolved,
                                           kCreated, kCompleted));
  EXPECT_EQ(Posts(), 2u);
  EXPECT_EQ(upstream().TasksCreated(), 1u);
}

TEST_F(ReconcileTest, AFirstTaskThatTurnsUpBesideTheSecondIsAnOrphanAndItsVideoIsKept) {
  Deploy(With(kPatient, "--resend-after-absence=1"));
  upstream().SetHistory(HistoryInput::kAlways, absl::Hours(1));  // the danger of that setting
  LoseAnswers(/*created=*/true);
  const v1::Prediction prediction = SubmitUnresolved();
  const auto watch = WatchAll(prediction);
  ASSERT_TRUE(watch->WaitForUpdates(4));
  ASSERT_THAT(upstream().TaskIds(), SizeIs(2));
  for (size_t task : {0u, 1u}) SetStatus(task, "completed");
  ASSERT_TRUE(watch->WaitForEnd());
  EXPECT_EQ(watch->states().back(), kCompleted);
  EXPECT_EQ(watch->updates().back().upstream_id(), upstream().TaskIds()[1]);

  upstream().SetHistory(HistoryInput::kAlways, absl::ZeroDuration());
  deployment().CrashAndRestart();
  const v1::Prediction both =
      GetUntil(prediction.id(), [](const auto& now) { return now.recovered_outputs_size() > 0; });
  ASSERT_EQ(both.outputs_size(), 1);
  EXPECT_THAT(both.outputs(0).url(), HasSubstr(upstream().TaskIds()[1]));
  ASSERT_EQ(both.recovered_outputs_size(), 1);
  EXPECT_THAT(both.recovered_outputs(0).url(), HasSubstr(upstream().TaskIds()[0]));
  EXPECT_EQ(Metric("dreamgate_orphans_total"), "1");
  EXPECT_EQ(Posts(), 2u);
  EXPECT_EQ(upstream().TasksCreated(), 2u);
}

// --------------------------------------------------------------------------------------------- kills

TEST_F(ReconcileTest, AServerKilledBetweenPostAndAnswerFindsItsTaskWhenItIsBack) {
  Deploy(kPatient);
  deployment().OnSubmit({.action = FaultAction::kHang, .create_task = true});
  auto lost = std::async(std::launch::async, [this] { return Submit(stub(), Request("id-1")); });
  ASSERT_TRUE(upstream().WaitForTasks(1, kPatience));
  deployment().server().process().Signal(SIGKILL);
  EXPECT_FALSE(lost.get().status.ok());
  deployment().CrashAndRestart();

  const SubmitResult again = Submit(stub(), Request("id-1"));
  ASSERT_TRUE(again.status.ok()) << again.status.error_message();
  EXPECT_TRUE(again.response.replayed());
  ExpectFoundAndCompleted(again.response.prediction(), upstream().TaskIds().at(0));
}

TEST_F(ReconcileTest, AServerKilledBeforeItsPostCreatedATaskFindsThatThereIsNone) {
  Deploy(kPatient);
  const int hang = deployment().OnSubmit({.action = FaultAction::kHang});
  auto lost = std::async(std::launch::async, [this] { return Submit(stub(), Request("id-1")); });
  ASSERT_TRUE(upstream().WaitUntil([&] { return upstream().FaultHits(hang) == 1; }, kPatience));
  deployment().server().process().Signal(SIGKILL);
  EXPECT_FALSE(lost.get().status.ok());
  deployment().CrashAndRestart();

  const SubmitResult again = Submit(stub(), Request("id-1"));
  ASSERT_TRUE(again.status.ok()) << again.status.error_message();
  ExpectEndsNotCreated(again.response.prediction());
  EXPECT_EQ(Posts(), 1u);
  EXPECT_EQ(upstream().TasksCreated(), 0u);
}

TEST_F(ReconcileTest, AKillWhileReconcilingLosesNothing) {
  Deploy(kPatient);
  upstream().SetHistory(HistoryInput::kNever, absl::ZeroDuration());
  LoseAnswers(/*created=*/true);
  const v1::Prediction prediction = SubmitUnresolved();
  ASSERT_TRUE(WaitForAsks(1));
  deployment().CrashAndRestart();
  EXPECT_EQ(Get(prediction.id()).state(), kUnresolved);
  ASSERT_TRUE(WaitForAsks(2));
  deployment().CrashAndRestart();
  EXPECT_EQ(Get(prediction.id()).state(), kUnresolved);
  upstream().SetHistory(HistoryInput::kAlways, absl::ZeroDuration());
  ExpectFoundAndCompleted(prediction, upstream().TaskIds().at(0));
}

TEST_F(ReconcileTest, TheLateAnswerWinsWhereHistoryShowsNothing) {
  Deploy({"--absence-settle-time=1h", "--unresolved-timeout=2h", "--submit-soft-timeout=200ms"});
  upstream().SetHistory(HistoryInput::kNever, absl::ZeroDuration());
  deployment().OnSubmit(
      {.action = FaultAction::kLatency, .create_task = true, .delay = absl::Seconds(1)});
  const v1::Prediction prediction = SubmitUnresolved();
  const auto watch = WatchAll(prediction);
  ASSERT_TRUE(watch->WaitForUpdates(3));
  EXPECT_EQ(watch->updates()[2].history(2).source(), v1::TRANSITION_SOURCE_SUBMIT_ANSWER);
  EXPECT_EQ(ReconciledBy("answer"), "1");
  EXPECT_EQ(Posts(), 1u);
  EXPECT_EQ(upstream().TasksCreated(), 1u);
}

}  // namespace
}  // namespace dreamgate::e2e

// The real dreamgate command as a child process, against a scripted service and a scripted CDN.
#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>
#include <future>
#include <sstream>
#include <thread>

#include "tests/client/fake_video_service.h"
#include "tests/client/raw_http_server.h"
#include "tests/fakes/child_process.h"
#include "tests/fakes/temporary_folder.h"

namespace dreamgate::client {
namespace {

using namespace std::chrono_literals;
using fakes::ChildOptions;
using fakes::ChildProcess;
using testing::AllOf;
using testing::ContainsRegex;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;
using testing::Not;

constexpr auto kCreated = v1::PREDICTION_STATE_CREATED;
constexpr auto kProcessing = v1::PREDICTION_STATE_PROCESSING;
constexpr auto kCompleted = v1::PREDICTION_STATE_COMPLETED;
constexpr auto kFailed = v1::PREDICTION_STATE_FAILED;
constexpr auto kCancelled = v1::PREDICTION_STATE_CANCELLED;

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

template <typename Message>
Message FromJson(const std::string& text) {
  Message message;
  const auto status = google::protobuf::util::JsonStringToMessage(text, &message);
  EXPECT_TRUE(status.ok()) << text;
  return message;
}

struct ChildResult {
  int exit_code = -1;  // it hangs
  std::string out;
  std::string err;
};

ChildResult Finish(ChildProcess& child) {
  const int exit_code = child.Wait().value_or(-1);
  return {exit_code, child.StandardOutput(), child.StandardError()};
}

class CliTest : public testing::Test {
 protected:
  std::vector<std::string> CommandLine(std::vector<std::string> arguments) const {
    std::vector<std::string> all = {DREAMGATE_CLI, "--server", service_.target()};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return all;
  }

  ChildOptions Options() const {
    // The time zone so that lines can be compared; no proxy, so that gRPC does not look for one.
    return {.environment = {{"TZ", "UTC"}, {"DREAMGATE_TOKEN", ""}}, .folder = folder_.path()};
  }

  ChildOptions Command(std::vector<std::string> arguments, ChildOptions options) const {
    options.arguments = CommandLine(std::move(arguments));
    return options;
  }

  ChildResult Run(std::vector<std::string> arguments) {
    return Run(std::move(arguments), Options());
  }
  ChildResult Run(std::vector<std::string> arguments, const ChildOptions& options) {
    return RunCommand(CommandLine(std::move(arguments)), options);
  }
  static ChildResult RunCommand(std::vector<std::string> command, ChildOptions options) {
    options.arguments = std::move(command);
    ChildProcess child(options);
    return Finish(child);
  }

  static v1::Prediction Completed(const std::vector<std::string>& urls) {
    v1::Prediction prediction = PredictionAt(4, kCompleted);
    for (const std::string& url : urls) prediction.add_outputs()->set_url(url);
    return prediction;
  }

  // A video that is submitted, processed and then completed with `urls`.
  void ThenAWholeLife(const std::vector<std::string>& urls) {
    service_.ThenSubmit(PredictionAt(2, kCreated));
    service_.ThenWatch([prediction = Completed(urls)](const v1::WatchPredictionRequest& request,
                                                      FakeWatchStream& stream) {
      EXPECT_EQ(request.after_sequence(), 2);
      stream.Heartbeat(0.25);
      stream.Update(3, kProcessing);
      stream.Update(prediction);
      return grpc::Status::OK;
    });
  }

  void ThenWatchUntilCancelledAfter(int64_t sequence) {
    service_.ThenWatch([sequence](const v1::WatchPredictionRequest&, FakeWatchStream& stream) {
      stream.Update(sequence, kProcessing);
      stream.WaitUntilCancelled();
      return grpc::Status::CANCELLED;
    });
  }

  const std::string video_ = std::string(100'000, 'v') + "the end";
  FakeVideoService service_;
  fakes::TemporaryFolder folder_;
};

// ------------------------------------------------------------------------------------------- submit

TEST_F(CliTest, SubmitSendsWhatTheFlagsSayAndPrintsOnlyTheIdOnStdout) {
  service_.ThenSubmit(PredictionAt(2, kCreated));
  const ChildResult result =
      Run({"submit", "--aspect-ratio", "9:16", "--seed", "-1", "--request-id", "mine", "--label",
           "team=blue", "--label", "a=b=c", "a cat"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "p1\n");
  ASSERT_EQ(service_.submits().size(), 1u);
  const v1::SubmitVideoRequest request = service_.submits()[0];
  EXPECT_EQ(request.prompt(), "a cat");
  EXPECT_EQ(request.aspect_ratio(), v1::ASPECT_RATIO_9_16);
  EXPECT_TRUE(request.has_seed());
  EXPECT_EQ(request.seed(), -1);
  EXPECT_EQ(request.request_id(), "mine");
  EXPECT_EQ(request.labels().at("team"), "blue");
  EXPECT_EQ(request.labels().at("a"), "b=c");
}

TEST_F(CliTest, SubmitReadsThePromptFromStdin) {
  service_.ThenSubmit(PredictionAt(2, kCreated));
  ChildOptions options = Options();
  options.input = "two\nlines\n";
  EXPECT_EQ(Run({"submit", "-"}, options).exit_code, 0);
  ASSERT_EQ(service_.submits().size(), 1u);
  EXPECT_EQ(service_.submits()[0].prompt(), "two\nlines");
  EXPECT_FALSE(service_.submits()[0].has_seed());
}

TEST_F(CliTest, SubmitAsJsonPrintsTheAnswer) {
  service_.ThenSubmit(PredictionAt(2, kCreated));
  const ChildResult result = Run({"--json", "submit", "a cat"});
  ASSERT_EQ(Lines(result.out).size(), 1u);
  EXPECT_EQ(FromJson<v1::SubmitVideoResponse>(result.out).prediction().id(), "p1");
}

TEST_F(CliTest, ValidateOnlyPrintsNoId) {
  service_.ThenSubmit(PredictionAt(0, kCreated));
  const ChildResult result = Run({"submit", "--validate-only", "a cat"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "");
  EXPECT_TRUE(service_.submits().at(0).validate_only());
}

TEST_F(CliTest, QuietPrintsOnlyTheResult) {
  service_.ThenSubmit(PredictionAt(2, kCreated));
  const ChildResult result = Run({"submit", "--quiet", "a cat"});
  EXPECT_EQ(result.out, "p1\n");
  EXPECT_EQ(result.err, "");
}

TEST_F(CliTest, TheTokenComesFromTheEnvironmentOrAFile) {
  service_.ThenSubmit(PredictionAt(2, kCreated));
  service_.ThenSubmit(PredictionAt(2, kCreated));
  ChildOptions options = Options();
  options.environment["DREAMGATE_TOKEN"] = "secret";
  Run({"submit", "a cat"}, options);
  folder_.Write("token", "from-file\n");
  Run({"submit", "a cat", "--token-file", "token"}, options);
  EXPECT_THAT(service_.authorizations(), ElementsAre("Bearer secret", "Bearer from-file"));
}

TEST_F(CliTest, TheServerComesFromTheEnvironment) {
  service_.ThenSubmit(PredictionAt(2, kCreated));
  ChildOptions options = Options();
  options.environment["DREAMGATE_SERVER"] = service_.target();
  EXPECT_EQ(RunCommand({DREAMGATE_CLI, "submit", "a cat"}, options).out, "p1\n");
}

// ------------------------------------------------------------------------------------------- errors

TEST_F(CliTest, BadArgumentsExit2AndCallNobody) {
  const std::vector<std::vector<std::string>> bad = {
      {},
      {"frobnicate"},
      {"submit"},
      {"submit", "a", "b"},
      {"submit", "a", "--seed", "x"},
      {"submit", "a", "--seed", "2147483648"},
      {"submit", "a", "--aspect-ratio", "2:1"},
      {"submit", "a", "--label", "novalue"},
      {"submit", "a", "--unknown"},
      {"watch", "p1", "--after-sequence", "-1"},
      {"list", "--page-size", "0"},
      {"list", "--state", "MAYBE"},
      {"get", "p1", "--timeout", "0"},
      {"get", "p1", "--token-file", "missing"},
      {"get", "p1", "--ca-file", "missing"},
      {"generate", "a", "--output", "missing/v.mp4"},
  };
  for (const auto& arguments : bad) {
    const ChildResult result = Run(arguments);
    EXPECT_EQ(result.exit_code, 2) << testing::PrintToString(arguments);
    EXPECT_NE(result.err, "") << testing::PrintToString(arguments);
    EXPECT_EQ(result.out, "");
  }
  EXPECT_THAT(service_.authorizations(), IsEmpty());
}

TEST_F(CliTest, ABadArgumentIsNamedInOneShortLine) {
  struct Case {
    std::vector<std::string> arguments;
    std::string named;
  };
  const std::string sequence = "give a whole number from 0 to 9223372036854775807";
  const std::vector<Case> cases = {
      {{}, "A command is required"},
      {{"nope"}, "nope"},
      {{"--nope"}, "--nope"},
      {{"submit", "a", "--request-id", ""}, "--request-id"},
      {{"submit", "a", "--request-id="}, "--request-id"},
      {{"generate", "a", "--request-id=", "--force"}, "--request-id"},
      {{"submit", "a", "--request-id", "two words"}, "--request-id"},
      {{"submit", "a", "--request-id", std::string(129, 'x')}, "--request-id"},
      {{"watch", "p1", "--after-sequence=-1"}, sequence},
      {{"watch", "p1", "--after-sequence=abc"}, sequence},
      {{"watch", "p1", "--after-sequence", ""}, sequence},
      {{"watch", "p1", "--after-sequence=1.5"}, sequence},
      {{"watch", "p1", "--after-sequence=9223372036854775808"}, sequence},
      {{"watch", "p1", "--after-sequence=99999999999999999999"}, sequence},
      {{"get", "p1", "--server", ""}, "--server"},
      {{"get", "p1", "--server="}, "--server"},
      {{"get", "p1", "--server", "http://localhost:50051"}, "is a URL"},
      {{"get", "p1", "--server", "localhost:65536"}, "port"},
      {{"get", "p1", "--timeout", "nan"}, "--timeout"},
      {{"get", "p1", "--timeout", "inf"}, "--timeout"},
      {{"get", "p1", "--timeout", "1x"}, "--timeout"},
      {{"submit", "caf\xe9"}, "PROMPT: is not valid UTF-8 (byte 4)"},
      {{"submit", "a", "--label", "k=\xff"}, "is not valid UTF-8"},
      {{"get", "\xff"}, "is not valid UTF-8"},
  };
  for (const Case& bad : cases) {
    // Without --server of its own: some cases give one, and it may be given only once.
    ChildOptions options = Options();
    options.environment["DREAMGATE_SERVER"] = service_.target();
    std::vector<std::string> command = {DREAMGATE_CLI};
    command.insert(command.end(), bad.arguments.begin(), bad.arguments.end());
    const ChildResult result = RunCommand(command, options);
    EXPECT_EQ(result.exit_code, 2) << testing::PrintToString(bad.arguments);
    EXPECT_EQ(result.out, "");
    ASSERT_EQ(Lines(result.err).size(), 1u) << result.err;
    EXPECT_THAT(result.err, AllOf(HasSubstr(bad.named), MatchesRegex("error: .*\n")));
    EXPECT_LT(result.err.size(), 150u) << result.err;
  }
  EXPECT_THAT(service_.authorizations(), IsEmpty());
}

TEST_F(CliTest, APromptFromStdinThatIsNotUtf8IsRefused) {
  ChildOptions options = Options();
  options.input = "caf\xe9\n";
  const ChildResult result = Run({"submit", "-"}, options);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.err, "error: PROMPT: is not valid UTF-8 (byte 4); see dreamgate --help\n");
  EXPECT_THAT(service_.submits(), IsEmpty());
}

TEST_F(CliTest, AServerFromTheEnvironmentIsCheckedToo) {
  ChildOptions options = Options();
  options.environment["DREAMGATE_SERVER"] = "https://gate.example";
  const ChildResult result = RunCommand({DREAMGATE_CLI, "get", "p1"}, options);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("https://gate.example is a URL"));
}

TEST_F(CliTest, ThePositionMayBeTheLargestNumber) {
  service_.ThenWatch([](const v1::WatchPredictionRequest& request, FakeWatchStream&) {
    EXPECT_EQ(request.after_sequence(), INT64_MAX);
    return grpc::Status(grpc::NOT_FOUND, "no prediction p1");
  });
  EXPECT_EQ(Run({"watch", "p1", "--after-sequence", "9223372036854775807"}).exit_code, 4);
}

TEST_F(CliTest, GrpcSpeaksOnlyWhenAskedTo) {
  // An authority file that holds no certificate makes gRPC log.
  folder_.Write("ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  const std::vector<std::string> arguments = {"get",    "p1",        "--ca-file",
                                              "ca.pem", "--timeout", "0.2"};
  ChildOptions options = Options();
  EXPECT_THAT(Run(arguments, options).err, Not(ContainsRegex("(^|\n)[EID][0-9]{4} ")));
  options.environment["GRPC_VERBOSITY"] = "ERROR";
  EXPECT_THAT(Run(arguments, options).err, ContainsRegex("(^|\n)E[0-9]{4} "));
}

TEST_F(CliTest, HelpExits0AndListsTheExitCodes) {
  const ChildResult result = Run({"--help"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, AllOf(HasSubstr("Exit codes:"), HasSubstr("130  interrupted")));
}

TEST_F(CliTest, AServerThatCannotBeReachedExits3AndTellsTheRequestId) {
  service_.Stop();
  const ChildResult result = Run({"submit", "a cat", "--request-id", "mine", "--timeout", "0.2"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err, AllOf(HasSubstr("no answer from " + service_.target()),
                                HasSubstr("--request-id mine")));
}

TEST_F(CliTest, AWatchWithoutAServerExits3AndTellsHowToResume) {
  service_.Stop();
  const ChildResult result = Run({"watch", "p1", "--after-sequence", "3", "--timeout", "0.2"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err, HasSubstr("dreamgate watch p1 --after-sequence 3"));
}

TEST_F(CliTest, ARefusalExits4WithItsReasonAndEveryViolationAligned) {
  service_.ThenSubmit(
      ErrorWith(grpc::INVALID_ARGUMENT, "2 things are wrong",
                {.reason = "INVALID_REQUEST",
                 .field_violations = {{"prompt", "is blank"}, {"request_id", "is too long"}}}));
  const ChildResult result = Run({"submit", " "});
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_EQ(result.err,
            "error: 2 things are wrong (INVALID_REQUEST)\n"
            "  prompt      is blank\n"
            "  request_id  is too long\n");
}

TEST_F(CliTest, AnErrorSaysWhatToDoNext) {
  service_.ThenWatch(
      ErrorWith(grpc::NOT_FOUND, "no prediction p9", {.reason = "PREDICTION_NOT_FOUND"}));
  const ChildResult result = Run({"watch", "p9"});
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_THAT(result.err, HasSubstr("next: check the id with 'dreamgate list'"));
}

TEST_F(CliTest, AnUnexpectedErrorExits1) {
  service_.ThenWatch(grpc::Status(grpc::UNIMPLEMENTED, "no such method"));
  const ChildResult result = Run({"watch", "p1"});
  EXPECT_EQ(result.exit_code, 1) << result.err;
}

TEST_F(CliTest, TextFromTheServerCannotSteerTheTerminal) {
  service_.ThenSubmit(grpc::Status(grpc::INVALID_ARGUMENT, "bad \x1b]0;title\x07"));
  EXPECT_THAT(Run({"submit", "a"}).err, AllOf(HasSubstr("bad ?]0;title?"), Not(HasSubstr("\x1b"))));
}

// -------------------------------------------------------------------------------------------- watch

TEST_F(CliTest, WatchPrintsOneLineATransitionAndTheAddressOfTheVideo) {
  service_.ThenWatch([](const v1::WatchPredictionRequest& request, FakeWatchStream& stream) {
    EXPECT_EQ(request.prediction_id(), "p1");
    EXPECT_EQ(request.after_sequence(), 1);
    stream.Update(2, kCreated);
    stream.Heartbeat();
    stream.Update(3, kProcessing);
    stream.Update(Completed({"http://cdn/v.mp4"}));
    return grpc::Status::OK;
  });
  const ChildResult result = Run({"watch", "p1", "--after-sequence", "1"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out,
            "22:13:22.000  CREATED       +2.0s  seq 2  (submit answer)\n"
            "22:13:23.000  PROCESSING    +3.0s  seq 3  (poll)\n"
            "22:13:24.000  COMPLETED     +4.0s  seq 4  (poll)\n"
            "http://cdn/v.mp4\n");
  EXPECT_EQ(result.err, "");
}

TEST_F(CliTest, WatchAsJsonPrintsOneObjectAnEvent) {
  service_.ThenWatch([](const v1::WatchPredictionRequest&, FakeWatchStream& stream) {
    stream.Heartbeat(0.5);
    stream.Update(3, kProcessing);
    stream.Update(Completed({"http://cdn/v.mp4"}));
    return grpc::Status::OK;
  });
  const std::vector<std::string> lines = Lines(Run({"watch", "p1", "--json"}).out);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(FromJson<v1::WatchPredictionResponse>(lines[0]).heartbeat().estimated_progress(), 0.5);
  EXPECT_EQ(FromJson<v1::WatchPredictionResponse>(lines[1]).update().sequence(), 3);
  EXPECT_EQ(FromJson<v1::WatchPredictionResponse>(lines[2]).update().outputs(0).url(),
            "http://cdn/v.mp4");
}

TEST_F(CliTest, WatchGoesOnAfterALostConnectionWithoutRepeatingALine) {
  service_.ThenWatch([](const v1::WatchPredictionRequest&, FakeWatchStream& stream) {
    stream.Update(3, kProcessing);
    return grpc::Status(grpc::UNAVAILABLE, "going away");
  });
  service_.ThenWatch([](const v1::WatchPredictionRequest& request, FakeWatchStream& stream) {
    EXPECT_EQ(request.after_sequence(), 3);
    stream.Update(3, kProcessing);
    stream.Update(Completed({}));
    return grpc::Status::OK;
  });
  const ChildResult result = Run({"watch", "p1"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(Lines(result.out).size(), 2u);
  EXPECT_THAT(result.err, HasSubstr("the watch was interrupted (going away)"));
}

TEST_F(CliTest, AFailedVideoExits5AndSaysWhy) {
  service_.ThenWatch([](const v1::WatchPredictionRequest&, FakeWatchStream& stream) {
    v1::Prediction prediction = PredictionAt(3, kFailed);
    prediction.mutable_error()->set_failure_code(v1::FAILURE_CODE_MODERATED);
    prediction.mutable_error()->set_message("not allowed");
    prediction.mutable_error()->set_upstream_code(1200);
    stream.Update(prediction);
    return grpc::Status::OK;
  });
  const ChildResult result = Run({"watch", "p1"});
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_THAT(
      result.err,
      HasSubstr("error: the prediction is FAILED: MODERATED (upstream code 1200): not allowed\n"));
}

TEST_F(CliTest, AWatchFromTheTerminalPositionExitsByTheOutcome) {
  service_.ThenWatch(grpc::Status::OK);
  service_.ThenGet([](const v1::GetPredictionRequest&, v1::GetPredictionResponse& response) {
    *response.mutable_prediction() = PredictionAt(4, kCancelled);
    return grpc::Status::OK;
  });
  EXPECT_EQ(Run({"watch", "p1", "--after-sequence", "4"}).exit_code, 5);
}

TEST_F(CliTest, CtrlCDuringAWatchTellsHowToResumeAndExits130) {
  ThenWatchUntilCancelledAfter(3);
  ChildProcess child(Command({"watch", "p1"}, Options()));
  ASSERT_TRUE(child.WaitForOutput("seq 3"));
  child.Signal(SIGINT);
  const ChildResult result = Finish(child);
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_THAT(result.err, HasSubstr("dreamgate watch p1 --after-sequence 3 --server " +
                                    service_.target() + "\n"));
}

TEST_F(CliTest, CtrlCBeforeTheAnswerToASubmitTellsTheRequestId) {
  std::promise<void> asked, done;
  service_.ThenSubmit([&](const v1::SubmitVideoRequest&, v1::SubmitVideoResponse&) {
    asked.set_value();
    done.get_future().wait();
    return grpc::Status::OK;
  });
  ChildProcess child(Command({"submit", "a cat"}, Options()));
  ASSERT_EQ(asked.get_future().wait_for(60s), std::future_status::ready);
  child.Signal(SIGINT);
  const ChildResult result = Finish(child);
  done.set_value();
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_THAT(result.err, HasSubstr("--request-id " + service_.submits().at(0).request_id()));
}

TEST_F(CliTest, ATerminalShowsLiveProgressWithTheEstimate) {
  std::promise<void> seen;
  service_.ThenWatch([&](const v1::WatchPredictionRequest&, FakeWatchStream& stream) {
    stream.Update(3, kProcessing);
    stream.Heartbeat(0.42);
    seen.get_future().wait();
    stream.Update(Completed({}));
    return grpc::Status::OK;
  });
  ChildOptions options = Options();
  options.terminal = true;
  ChildProcess child(Command({"watch", "p1"}, options));
  const bool shown = child.WaitForOutput("about 42 %");
  seen.set_value();
  const ChildResult result = Finish(child);
  EXPECT_TRUE(shown) << result.err;
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("\r\x1b[K"));  // and is gone afterwards
}

// ---------------------------------------------------------------------------------------- get, list

TEST_F(CliTest, GetPrintsThePredictionForPeopleOrAsJson) {
  for (int call = 0; call < 2; ++call) {
    service_.ThenGet([](const v1::GetPredictionRequest&, v1::GetPredictionResponse& response) {
      *response.mutable_prediction() = Completed({"http://cdn/v.mp4"});
      return grpc::Status::OK;
    });
  }
  const ChildResult text = Run({"get", "p1"});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.out, AllOf(HasSubstr("id            p1\n"), HasSubstr("aspect ratio  16:9\n"),
                              HasSubstr("output        http://cdn/v.mp4\n")));
  EXPECT_EQ(FromJson<v1::Prediction>(Run({"get", "p1", "--json"}).out).state(), kCompleted);
}

TEST_F(CliTest, ListPrintsOnePageAndSaysThatThereIsMore) {
  service_.ThenList([](const v1::ListPredictionsRequest&, v1::ListPredictionsResponse& response) {
    *response.add_predictions() = PredictionAt(2, kCreated);
    response.set_next_page_token("more");
    return grpc::Status::OK;
  });
  const ChildResult result = Run({"list", "--page-size", "7", "--state", "created", "--state",
                                  "FAILED", "--label", "team=blue"});
  EXPECT_EQ(result.exit_code, 0);
  ASSERT_EQ(Lines(result.out).size(), 2u);
  EXPECT_THAT(Lines(result.out)[0], MatchesRegex("ID +STATE +CREATED +RATIO +SEED +PROMPT"));
  EXPECT_THAT(Lines(result.out)[1],
              MatchesRegex("p1 +CREATED +2023-11-14 22:13:20 +16:9 +7 +a cat"));
  EXPECT_THAT(result.err, HasSubstr("--all"));
  const v1::ListPredictionsRequest request = service_.lists().at(0);
  EXPECT_EQ(request.page_size(), 7);
  EXPECT_THAT(request.states(), ElementsAre(kCreated, kFailed));
  EXPECT_EQ(request.labels().at("team"), "blue");
}

TEST_F(CliTest, ListAllWalksOverEveryPage) {
  service_.ThenList([](const v1::ListPredictionsRequest&, v1::ListPredictionsResponse& response) {
    *response.add_predictions() = PredictionAt(2, kCreated);
    response.set_next_page_token("more");
    return grpc::Status::OK;
  });
  service_.ThenList(
      [](const v1::ListPredictionsRequest& request, v1::ListPredictionsResponse& response) {
        EXPECT_EQ(request.page_token(), "more");
        *response.add_predictions() = PredictionAt(3, kProcessing);
        return grpc::Status::OK;
      });
  const std::vector<std::string> lines = Lines(Run({"list", "--all", "--json"}).out);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(FromJson<v1::Prediction>(lines[1]).sequence(), 3);
}

// ----------------------------------------------------------------------------------------- generate

class GenerateTest : public CliTest {
 protected:
  RawHttpServer cdn_;
};

TEST_F(GenerateTest, MakesAndStoresTheVideoUnderItsId) {
  ThenAWholeLife({cdn_.Url("/v.mp4")});
  cdn_.Then(OkAnswer(video_));
  const ChildResult result = Run({"generate", "a cat"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "./p1.mp4\n");
  EXPECT_EQ(folder_.Read("p1.mp4"), video_);
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("CREATED       +2.0s  seq 2  (submit answer)\n"), HasSubstr("seq 3"),
                    HasSubstr("COMPLETED"), HasSubstr("downloaded 100.0 kB")));
}

TEST_F(GenerateTest, SendsTheTokenToTheServerAndNeverToTheCdn) {
  ThenAWholeLife({cdn_.Url("/v.mp4")});
  cdn_.Then(OkAnswer(video_));
  ChildOptions options = Options();
  options.environment["DREAMGATE_TOKEN"] = "secret";
  EXPECT_EQ(Run({"generate", "a cat"}, options).exit_code, 0);
  EXPECT_THAT(service_.authorizations(), ElementsAre("Bearer secret", "Bearer secret"));
  EXPECT_THAT(cdn_.requests().at(0),
              AllOf(Not(HasSubstr("secret")), Not(HasSubstr("uthorization"))));
}

TEST_F(GenerateTest, AsJsonEndsWithTheFiles) {
  ThenAWholeLife({cdn_.Url("/v.mp4")});
  cdn_.Then(OkAnswer(video_));
  const std::vector<std::string> lines =
      Lines(Run({"generate", "--json", "a cat", "-o", "cat.mp4"}).out);
  ASSERT_EQ(lines.size(), 5u);  // answer, heartbeat, two transitions, files
  EXPECT_EQ(FromJson<v1::SubmitVideoResponse>(lines[0]).prediction().sequence(), 2);
  EXPECT_EQ(FromJson<v1::WatchPredictionResponse>(lines[3]).update().sequence(), 4);
  const auto summary = FromJson<google::protobuf::Struct>(lines[4]);
  EXPECT_EQ(summary.fields().at("predictionId").string_value(), "p1");
  EXPECT_EQ(summary.fields().at("files").list_value().values(0).string_value(), "cat.mp4");
}

TEST_F(GenerateTest, SeveralVideosGetNumbersInTheGivenFolder) {
  std::filesystem::create_directory(folder_.File("out"));
  ThenAWholeLife({cdn_.Url("/1"), cdn_.Url("/2")});
  cdn_.Then(OkAnswer("first"));
  cdn_.Then(OkAnswer("second"));
  EXPECT_EQ(Run({"generate", "a cat", "--output", "out"}).out, "out/p1-1.mp4\nout/p1-2.mp4\n");
  EXPECT_EQ(folder_.Read("out/p1-1.mp4"), "first");
  EXPECT_EQ(folder_.Read("out/p1-2.mp4"), "second");
}

TEST_F(GenerateTest, AnExistingFileStopsBeforeAnythingIsPaidFor) {
  folder_.Write("cat.mp4", "old");
  const ChildResult result = Run({"generate", "a cat", "-o", "cat.mp4"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("--force"));
  EXPECT_THAT(service_.submits(), IsEmpty());
  EXPECT_EQ(folder_.Read("cat.mp4"), "old");
}

TEST_F(GenerateTest, ForceOverwrites) {
  folder_.Write("cat.mp4", "old");
  ThenAWholeLife({cdn_.Url("/v.mp4")});
  cdn_.Then(OkAnswer(video_));
  EXPECT_EQ(Run({"generate", "a cat", "-o", "cat.mp4", "--force"}).exit_code, 0);
  EXPECT_EQ(folder_.Read("cat.mp4"), video_);
}

TEST_F(GenerateTest, ForceReplacesNoPipeAndPaysForNothing) {
  ASSERT_EQ(mkfifo(folder_.File("pipe").c_str(), 0600), 0);
  std::filesystem::create_symlink("pipe", folder_.File("link"));
  for (const std::string name : {"pipe", "link"}) {
    const ChildResult result = Run({"generate", "a cat", "-o", name, "--force"});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(result.err, "error: --output: " + name + " is not a regular file\n");
  }
  EXPECT_THAT(service_.submits(), IsEmpty());
  EXPECT_TRUE(std::filesystem::is_fifo(folder_.File("pipe")));
  EXPECT_TRUE(std::filesystem::is_symlink(folder_.File("link")));
}

TEST_F(GenerateTest, ForceWritesThroughASymbolicLink) {
  std::filesystem::create_directory(folder_.File("videos"));
  folder_.Write("videos/cat.mp4", "old");
  std::filesystem::create_symlink("videos/cat.mp4", folder_.File("link.mp4"));
  ThenAWholeLife({cdn_.Url("/v.mp4")});
  cdn_.Then(OkAnswer(video_));
  const ChildResult result = Run({"generate", "a cat", "-o", "link.mp4", "--force"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "link.mp4\n");
  EXPECT_TRUE(std::filesystem::is_symlink(folder_.File("link.mp4")));
  EXPECT_EQ(folder_.Read("videos/cat.mp4"), video_);
  EXPECT_THAT(folder_.Names(), ElementsAre("link.mp4", "videos"));
}

TEST_F(GenerateTest, ForceReplacesNoPipeThatItFindsOnlyAfterwards) {
  ASSERT_EQ(mkfifo(folder_.File("p1.mp4").c_str(), 0600),
            0);  // the name is known once there is an id
  ThenAWholeLife({cdn_.Url("/v.mp4")});
  cdn_.Then(OkAnswer(video_));
  const ChildResult result = Run({"generate", "a cat", "--force"});
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_THAT(result.err, HasSubstr("./p1.mp4 is not a regular file"));
  EXPECT_TRUE(std::filesystem::is_fifo(folder_.File("p1.mp4")));
  EXPECT_THAT(folder_.Names(), ElementsAre("p1.mp4"));
}

TEST_F(GenerateTest, AFileThatAppearedMeanwhileIsNotOverwritten) {
  ThenAWholeLife({cdn_.Url("/v.mp4")});
  cdn_.Then([this](const std::string&) {
    folder_.Write("cat.mp4", "somebody else's");
    return OkAnswer(video_);
  });
  const ChildResult result = Run({"generate", "a cat", "-o", "cat.mp4"});
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_THAT(folder_.Names(), ElementsAre("cat.mp4"));
  EXPECT_EQ(folder_.Read("cat.mp4"), "somebody else's");
}

TEST_F(GenerateTest, AKnownRequestThatIsDoneIsDownloadedAtOnce) {
  service_.ThenSubmit(Completed({cdn_.Url("/v.mp4")}));
  cdn_.Then(OkAnswer(video_));
  EXPECT_EQ(Run({"generate", "a cat", "--request-id", "mine"}).exit_code, 0);
  EXPECT_EQ(folder_.Read("p1.mp4"), video_);
  EXPECT_THAT(service_.watches(), IsEmpty());
}

TEST_F(GenerateTest, FollowsRedirectsAndResumesABrokenTransfer) {
  ThenAWholeLife({cdn_.Url("/old")});
  cdn_.Then(RedirectTo("/new"));
  cdn_.Then([this](const std::string&) { return OkAnswer(video_).substr(0, 50'000); });
  cdn_.Then(RedirectTo("/new"));
  cdn_.Then([this](const std::string& request) {
    const size_t start = std::stoul(request.substr(request.find("Range: bytes=") + 13));
    const std::string rest = video_.substr(start);
    return "HTTP/1.1 206 Partial Content\r\nContent-Length: " + std::to_string(rest.size()) +
           "\r\nContent-Range: bytes " + std::to_string(start) + "-" +
           std::to_string(video_.size() - 1) + "/" + std::to_string(video_.size()) + "\r\n\r\n" +
           rest;
  });
  const ChildResult result = Run({"generate", "a cat"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(folder_.Read("p1.mp4"), video_);
}

TEST_F(GenerateTest, AFailedDownloadExits6WithTheAddressAndLeavesNoFile) {
  ThenAWholeLife({cdn_.Url("/v.mp4")});
  cdn_.Then("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
  const ChildResult result = Run({"generate", "a cat", "--request-id", "mine"});
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_THAT(result.err, AllOf(HasSubstr("404"), HasSubstr(cdn_.Url("/v.mp4")),
                                HasSubstr("--request-id mine")));
  EXPECT_THAT(folder_.Names(), IsEmpty());
}

TEST_F(GenerateTest, AFileThatCannotBeWrittenExits6AndLeavesNothing) {
  ThenAWholeLife({cdn_.Url("/v.mp4")});
  cdn_.Then(OkAnswer(video_));
  // A limit on the size of files stands in for a full disk.
  std::string command = "trap '' XFSZ; ulimit -f 8; exec";
  for (const std::string& argument : CommandLine({"generate", "a-cat"})) command += " " + argument;
  const ChildResult result = RunCommand({"/bin/sh", "-c", command}, Options());
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_THAT(result.err, HasSubstr("cannot write ./p1.mp4.part: File too large"));
  EXPECT_THAT(folder_.Names(), IsEmpty());
}

TEST_F(GenerateTest, AFailedVideoExits5AndDownloadsNothing) {
  service_.ThenSubmit(PredictionAt(2, kCreated));
  service_.ThenWatch([](const v1::WatchPredictionRequest&, FakeWatchStream& stream) {
    stream.Update(3, v1::PREDICTION_STATE_TIMED_OUT);
    return grpc::Status::OK;
  });
  EXPECT_EQ(Run({"generate", "a cat"}).exit_code, 5);
  EXPECT_THAT(folder_.Names(), IsEmpty());
}

TEST_F(GenerateTest, CtrlCWhileWatchingTellsHowToResume) {
  service_.ThenSubmit(PredictionAt(2, kCreated));
  ThenWatchUntilCancelledAfter(3);
  ChildProcess child(Command({"generate", "a cat", "--request-id", "mine"}, Options()));
  ASSERT_TRUE(child.WaitForOutput("seq 3"));
  child.Signal(SIGINT);
  const ChildResult result = Finish(child);
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_THAT(result.err, AllOf(HasSubstr("dreamgate watch p1 --after-sequence 3"),
                                HasSubstr("--request-id mine")));
}

TEST_F(GenerateTest, CtrlCWhileDownloadingLeavesNoFile) {
  ThenAWholeLife({cdn_.Url("/v.mp4")});
  cdn_.ThenHold(OkAnswer(video_).substr(0, 50'000));
  ChildProcess child(Command({"generate", "a cat"}, Options()));
  ASSERT_TRUE(child.WaitForOutput("COMPLETED"));
  while (cdn_.requests().empty()) std::this_thread::yield();
  child.Signal(SIGINT);
  const ChildResult result = Finish(child);
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_THAT(result.err, HasSubstr(cdn_.Url("/v.mp4")));
  EXPECT_THAT(folder_.Names(), IsEmpty());
}

}  // namespace
}  // namespace dreamgate::client

// The API as upstream describes it: submit, result, history, the small endpoints, outputs, control.
#include "tests/simulator/simulator.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "boost/json.hpp"
#include "gtest/gtest.h"
#include "tests/simulator/test_client.h"

namespace dreamgate::simulator {
namespace {

namespace json = boost::json;

constexpr char kSubmit[] = "/api/v3/bytedance/dreamina-v3.0-pro/text-to-video";
constexpr absl::Duration kDeadline = absl::Seconds(30);

std::string Text(const json::value& value, const char* pointer) {
  return std::string(value.at_pointer(pointer).as_string());
}

int64_t Number(const json::value& value, const char* pointer) {
  return value.at_pointer(pointer).to_number<int64_t>();
}

class SimulatorTest : public ::testing::Test {
 protected:
  void Restart(Options options) {
    simulator_.reset();
    auto started = Simulator::Start(std::move(options));
    ASSERT_TRUE(started.ok()) << started.status();
    simulator_ = *std::move(started);
    client_ = std::make_unique<TestClient>(simulator_->port());
  }
  void SetUp() override { Restart({}); }

  std::string Submit(const std::string& prompt = "a cat") {
    const Reply reply = client_->Post(kSubmit, absl::StrCat(R"({"prompt":")", prompt, R"("})"));
    EXPECT_EQ(reply.status, 200) << reply.body;
    return Text(reply.Json(), "/data/id");
  }
  json::value Result(const std::string& id) {
    const Reply reply = client_->Get("/api/v3/predictions/" + id + "/result");
    EXPECT_EQ(reply.status, 200) << reply.body;
    return reply.Json();
  }
  json::value History(const std::string& body) {
    const Reply reply = client_->Post("/api/v3/predictions", body);
    EXPECT_EQ(reply.status, 200) << reply.body;
    return reply.Json().at("data");
  }

  std::unique_ptr<Simulator> simulator_;
  std::unique_ptr<TestClient> client_;
};

TEST_F(SimulatorTest, SubmitAnswersTheWrappedTask) {
  const Reply reply =
      client_->Post(kSubmit, R"({"prompt":"a cat","aspect_ratio":"9:21","seed":2147483647})");
  ASSERT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.at("content-type"), "application/json");
  const json::value body = reply.Json();
  EXPECT_EQ(Number(body, "/code"), 200);
  EXPECT_EQ(Text(body, "/message"), "success");
  const std::string id = Text(body, "/data/id");
  EXPECT_EQ(id.size(), 32u);
  EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_EQ(Text(body, "/data/model"), "bytedance/dreamina-v3.0-pro/text-to-video");
  EXPECT_TRUE(body.at_pointer("/data/outputs").as_array().empty());
  EXPECT_TRUE(body.at_pointer("/data/has_nsfw_contents").as_array().empty());
  EXPECT_EQ(Text(body, "/data/urls/get"),
            simulator_->base_url() + "/api/v3/predictions/" + id + "/result");
  EXPECT_EQ(Text(body, "/data/status"), "created");
  EXPECT_EQ(Text(body, "/data/error"), "");
  EXPECT_EQ(Number(body, "/data/timings/inference"), 0);
  absl::Time created_at;
  ASSERT_TRUE(
      absl::ParseTime(absl::RFC3339_full, Text(body, "/data/created_at"), &created_at, nullptr));
  EXPECT_LT(absl::AbsDuration(absl::Now() - created_at), absl::Minutes(1));
}

TEST_F(SimulatorTest, SubmitRefusesWhatTheModelDoesNotDeclare) {
  for (const char* body :
       {R"({})", R"({"prompt":""})", R"({"prompt":7})", R"({"prompt":"x","aspect_ratio":"2:1"})",
        R"({"prompt":"x","seed":-2})", R"({"prompt":"x","seed":2147483648})",
        R"({"prompt":"x","seed":1.5})", R"({"prompt":"x","duration":5})", R"([1])", "{"}) {
    const Reply reply = client_->Post(kSubmit, body);
    EXPECT_EQ(reply.status, 400) << body;
    EXPECT_EQ(Number(reply.Json(), "/code"), 400) << body;
    EXPECT_TRUE(reply.Json().at("data").is_null()) << body;
  }
  EXPECT_EQ(
      client_->Send("POST", kSubmit, R"({"prompt":"x"})", {{"Content-Type", "text/plain"}}).status,
      400);
  EXPECT_EQ(simulator_->TasksCreated(), 0u);
}

TEST_F(SimulatorTest, AWrongKeyIsRefused) {
  const Reply reply =
      client_->Send("POST", kSubmit, R"({"prompt":"x"})", {{"Authorization", "Bearer other"}});
  EXPECT_EQ(reply.status, 401);
  EXPECT_EQ(Number(reply.Json(), "/code"), 401);
  EXPECT_EQ(client_->Send("GET", "/api/v3/balance", "", {{"Authorization", ""}}).status, 401);
}

TEST_F(SimulatorTest, AnUnknownTaskOrPathIsNotFound) {
  EXPECT_EQ(client_->Get("/api/v3/predictions/nothing/result").status, 404);
  EXPECT_EQ(client_->Get("/elsewhere").status, 404);
  EXPECT_EQ(client_->Send("PUT", kSubmit, "{}").status, 405);
}

TEST_F(SimulatorTest, AStepControlledTaskMovesOnlyByHand) {
  const std::string id = Submit();
  EXPECT_EQ(Text(Result(id), "/data/status"), "created");
  ASSERT_TRUE(simulator_->SetTaskState(id, {.status = "processing"}));
  EXPECT_EQ(Text(Result(id), "/data/status"), "processing");
  ASSERT_TRUE(simulator_->SetTaskState(id, {.status = "completed"}));
  const json::value done = Result(id);
  EXPECT_EQ(Text(done, "/data/status"), "completed");
  EXPECT_EQ(Text(done, "/data/outputs/0"), simulator_->base_url() + "/outputs/" + id + ".mp4");
  EXPECT_FALSE(done.at_pointer("/data/has_nsfw_contents/0").as_bool());
  EXPECT_EQ(Number(done, "/data/timings/inference"), 3000);
  EXPECT_EQ(simulator_->ResultRequests(id), 3u);
  EXPECT_FALSE(simulator_->SetTaskState("nothing", {.status = "completed"}));
}

TEST_F(SimulatorTest, AFailedTaskHasTheCapturedShape) {
  const std::string id = Submit();
  simulator_->SetTaskState(
      id, {.status = "failed", .outputs = {}, .error = "Content flagged", .code = 1200});
  const json::value body = Result(id);
  EXPECT_EQ(Number(body, "/code"), 200);
  EXPECT_EQ(Text(body, "/message"), "success");
  const json::object expected{{"id", id},
                              {"code", 1200},
                              {"error", "Content flagged"},
                              {"status", "failed"},
                              {"outputs", json::array()}};
  EXPECT_EQ(body.at("data").as_object(), expected);
}

TEST_F(SimulatorTest, ACompletedTaskMayHaveNoOutputs) {
  const std::string id = Submit();
  simulator_->SetTaskState(id, {.status = "completed", .outputs = std::vector<std::string>{}});
  EXPECT_TRUE(Result(id).at_pointer("/data/outputs").as_array().empty());
}

TEST(ScheduleTest, StatusesFollowTheSchedule) {
  TaskStore tasks(Schedule::Completing(absl::Seconds(1), absl::Seconds(3)));
  const absl::Time start = absl::FromUnixSeconds(1'000'000);
  Task wanted;
  wanted.created_at = start;
  const Task& task = tasks.Create(wanted);
  EXPECT_EQ(tasks.StateOf(task, start).status, "created");
  EXPECT_EQ(tasks.StateOf(task, start + absl::Milliseconds(999)).status, "created");
  EXPECT_EQ(tasks.StateOf(task, start + absl::Seconds(1)).status, "processing");
  EXPECT_EQ(tasks.StateOf(task, start + absl::Milliseconds(3999)).status, "processing");
  EXPECT_EQ(tasks.StateOf(task, start + absl::Seconds(4)).status, "completed");
  EXPECT_EQ(tasks.EndOf(task), start + absl::Seconds(4));
}

TEST(ScheduleTest, AFailingScheduleCarriesItsCode) {
  TaskStore tasks(Schedule::Failing(absl::Seconds(1), absl::Seconds(1), 1403, "no luck"));
  Task wanted;
  wanted.created_at = absl::FromUnixSeconds(1);
  const Task& task = tasks.Create(wanted);
  const TaskState state = tasks.StateOf(task, absl::FromUnixSeconds(3));
  EXPECT_EQ(state.status, "failed");
  EXPECT_EQ(state.code, 1403);
  EXPECT_EQ(state.error, "no luck");
}

TEST_F(SimulatorTest, ANewScheduleAppliesToNewTasksOnlyAndMayBelongToAPrompt) {
  const std::string old = Submit("old");
  simulator_->SetSchedule(Schedule::Completing(absl::ZeroDuration(), absl::ZeroDuration()));
  simulator_->SetScheduleForPrompt(
      "doomed", Schedule::Failing(absl::ZeroDuration(), absl::ZeroDuration(), 5000, "down"));
  EXPECT_EQ(Text(Result(old), "/data/status"), "created");
  EXPECT_EQ(Text(Result(Submit("new")), "/data/status"), "completed");
  EXPECT_EQ(Number(Result(Submit("doomed")), "/data/code"), 5000);
}

TEST_F(SimulatorTest, HistoryShowsNewestFirstInPagesAndFilters) {
  std::vector<std::string> ids(5);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = Submit(absl::StrCat("prompt ", i));
  simulator_->SetTaskState(ids[0], {.status = "completed"});
  const json::value second = History(R"({"page":2,"page_size":2})");
  EXPECT_EQ(Number(second, "/total"), 5);
  EXPECT_EQ(second.at("items").as_array().size(), 2u);
  EXPECT_EQ(Text(second, "/items/0/id"), ids[2]);
  EXPECT_EQ(Text(second, "/items/1/id"), ids[1]);
  EXPECT_EQ(Text(second, "/items/0/input/prompt"), "prompt 2");
  EXPECT_EQ(Text(History(R"({"page":1,"page_size":100,"status":"completed"})"), "/items/0/id"),
            ids[0]);
  EXPECT_EQ(Number(History(R"({"model":"another/model"})"), "/total"), 0);
  const std::string middle = Text(Result(ids[3]), "/data/created_at");
  EXPECT_EQ(Number(History(R"({"created_after":")" + middle + R"("})"), "/total"), 2);
  EXPECT_EQ(Number(History(R"({"created_before":")" + middle + R"("})"), "/total"), 4);
  EXPECT_EQ(client_->Post("/api/v3/predictions", R"({"page_size":101})").status, 400);
}

TEST_F(SimulatorTest, HistoryMayLagHideInputsAndShowOtherClients) {
  const std::string old = simulator_->AddForeignTask("theirs", absl::Hours(1));
  const std::string fresh = Submit("mine");
  simulator_->SetHistory(HistoryInput::kNever, absl::Minutes(10));
  const json::value lagging = History("{}");
  EXPECT_EQ(Number(lagging, "/total"), 1);
  EXPECT_EQ(Text(lagging, "/items/0/id"), old);
  EXPECT_FALSE(lagging.at_pointer("/items/0").as_object().contains("input"));
  simulator_->SetHistory(HistoryInput::kAlways, absl::ZeroDuration());
  EXPECT_EQ(Text(History("{}"), "/items/0/id"), fresh);
  EXPECT_EQ(simulator_->TasksCreated(), 1u) << "other clients' tasks are not ours";
}

TEST_F(SimulatorTest, HistoryTakesIncludeInputsAndMayShowThemOnlyWhenAsked) {
  Submit("mine");
  const auto shows_inputs = [this](const char* body) {
    return History(body).at_pointer("/items/0").as_object().contains("input");
  };
  EXPECT_TRUE(shows_inputs(R"({"include_inputs":false})")) << "the default shows them always";
  simulator_->SetHistory(HistoryInput::kWhenAsked, absl::ZeroDuration());
  EXPECT_TRUE(shows_inputs(R"({"include_inputs":true})"));
  EXPECT_FALSE(shows_inputs(R"({"include_inputs":false})"));
  EXPECT_FALSE(shows_inputs("{}"));
  simulator_->SetHistory(HistoryInput::kNever, absl::ZeroDuration());
  EXPECT_FALSE(shows_inputs(R"({"include_inputs":true})"));
  EXPECT_EQ(client_->Post("/api/v3/predictions", R"({"include_inputs":"yes"})").status, 400);
}

TEST_F(SimulatorTest, TheSmallEndpointsAnswer) {
  EXPECT_EQ(client_->Get("/api/v3/balance").Json().at_pointer("/data/balance").to_number<double>(),
            100.0);
  EXPECT_EQ(Text(client_->Get("/api/v3/webhook/secret").Json(), "/data/secret"),
            "whsec_simulator-webhook-secret");
  EXPECT_EQ(Text(client_->Get("/api/v3/models").Json(), "/data/0/model_id"),
            "bytedance/dreamina-v3.0-pro/text-to-video");
  const json::value price =
      client_
          ->Post("/api/v3/model/price",
                 R"({"model_id":"bytedance/dreamina-v3.0-pro/text-to-video","inputs":{}})")
          .Json();
  EXPECT_EQ(Text(price, "/data/currency"), "USD");
  const std::string id = Submit();
  EXPECT_EQ(client_->Post("/api/v3/predictions/delete", R"({"ids":[")" + id + R"("]})").status,
            200);
  EXPECT_EQ(client_->Get("/api/v3/predictions/" + id + "/result").status, 404);
}

TEST_F(SimulatorTest, OutputsCanBeResumedByRange) {
  const std::string id = Submit();
  const std::string path = "/outputs/" + id + ".mp4";
  const auto get = [&](const std::string& method, const std::string& range) {
    return client_->Send(method, path, "", {{"Authorization", ""}, {"Range", range}});
  };
  EXPECT_EQ(get("GET", "").status, 404) << "not completed yet";
  simulator_->SetTaskState(id, {.status = "completed"});
  const Reply whole = get("GET", "");
  EXPECT_EQ(whole.status, 200);
  EXPECT_EQ(whole.headers.at("content-type"), "video/mp4");
  EXPECT_EQ(whole.body.substr(4, 4), "ftyp");
  const Reply rest = get("GET", "bytes=1000-");
  EXPECT_EQ(rest.status, 206);
  EXPECT_EQ(rest.headers.at("content-range"),
            absl::StrCat("bytes 1000-", whole.body.size() - 1, "/", whole.body.size()));
  EXPECT_EQ(rest.body, whole.body.substr(1000));
  EXPECT_EQ(get("GET", "bytes=5-9").body, whole.body.substr(5, 5));
  EXPECT_EQ(get("GET", "bytes=99999999-").status, 416);
  const Reply head = get("HEAD", "");
  EXPECT_EQ(head.headers.at("content-length"), absl::StrCat(whole.body.size()));
  EXPECT_TRUE(simulator_->Violations().empty());
}

TEST_F(SimulatorTest, AKeySentToTheOutputsIsAViolation) {
  const std::string id = Submit();
  simulator_->SetTaskState(id, {.status = "completed"});
  EXPECT_EQ(client_->Get("/outputs/" + id + ".mp4").status, 400);
  ASSERT_EQ(simulator_->Violations().size(), 1u);
  EXPECT_NE(simulator_->Violations()[0].find(id), std::string::npos);
}

TEST_F(SimulatorTest, EveryRequestIsLoggedAndCounted) {
  const std::string id = Submit("count me");
  Result(id);
  Result(id);
  TestClient(simulator_->port()).Get("/api/v3/balance");
  const auto log = simulator_->Log();
  ASSERT_EQ(log.size(), 4u);
  EXPECT_EQ(log[0].method, "POST");
  EXPECT_EQ(log[0].target, kSubmit);
  EXPECT_EQ(log[0].body, R"({"prompt":"count me"})");
  EXPECT_EQ(log[0].authorization, "Bearer simulator-key");
  EXPECT_EQ(log[0].status, 200);
  EXPECT_EQ(log[0].connection, log[2].connection) << "kept alive";
  EXPECT_NE(log[0].connection, log[3].connection);
  EXPECT_EQ(simulator_->Count("POST", kSubmit), 1u);
  EXPECT_EQ(simulator_->Count("GET", "/api/v3/predictions/"), 2u);
  EXPECT_EQ(simulator_->Count("", ""), 4u);
  EXPECT_EQ(simulator_->TasksCreatedForPrompt("count me"), 1u);
  EXPECT_EQ(simulator_->TasksCreatedForPrompt("other"), 0u);
  EXPECT_EQ(simulator_->ConnectionsAccepted(), 2u);
  EXPECT_TRUE(simulator_->WaitForRequests("GET", "/api/v3/predictions/", 2, kDeadline));
  EXPECT_FALSE(simulator_->WaitForTasks(2, absl::ZeroDuration()));
}

TEST_F(SimulatorTest, TheDateFollowsTheClockOffset) {
  simulator_->SetClockOffset(-absl::Hours(48));
  const Reply reply = client_->Get("/api/v3/balance");
  absl::Time date;
  ASSERT_TRUE(
      absl::ParseTime("%a, %d %b %Y %H:%M:%S GMT", reply.headers.at("date"), &date, nullptr));
  EXPECT_LT(absl::AbsDuration(absl::Now() - absl::Hours(48) - date), absl::Minutes(1));
}

TEST_F(SimulatorTest, IdleConnectionsCanBeClosedOrResetUnderTheClient) {
  client_->Get("/api/v3/balance");
  simulator_->CloseIdleConnections();
  EXPECT_EQ(client_->WaitForEnd(), Reply::End::kClosed);
  TestClient other(simulator_->port());
  other.Get("/api/v3/balance");
  simulator_->ResetConnections();
  EXPECT_EQ(other.WaitForEnd(), Reply::End::kReset);
}

TEST_F(SimulatorTest, ConnectionsMayEndUnannouncedAfterSomeAnswers) {
  Restart({.close_after_requests = 2});
  EXPECT_EQ(client_->Get("/api/v3/balance").status, 200);
  EXPECT_EQ(client_->Get("/api/v3/balance").headers.count("connection"), 0u);
  EXPECT_EQ(client_->WaitForEnd(), Reply::End::kClosed);
}

TEST_F(SimulatorTest, AMalformedRequestIsRefused) {
  client_->Write("nonsense\r\n\r\n");
  EXPECT_EQ(client_->Read().status, 400);
}

TEST_F(SimulatorTest, ControlEndpointsSteerItFromOutside) {
  const std::string id = Submit();
  ASSERT_EQ(client_->Post("/control/tasks/" + id, R"({"status":"failed","code":1403})").status,
            200);
  EXPECT_EQ(Number(Result(id), "/data/code"), 1403);
  ASSERT_EQ(client_
                ->Post("/control/schedule",
                       R"({"steps":[{"status":"queued","after":"0s"}],"prompt":"slow"})")
                .status,
            200);
  EXPECT_EQ(Text(Result(Submit("slow")), "/data/status"), "queued");
  ASSERT_EQ(
      client_->Post("/control/faults", R"({"action":"status","status":503,"times":-1})").status,
      200);
  EXPECT_EQ(client_->Get("/api/v3/balance").status, 503);
  EXPECT_EQ(client_->Send("DELETE", "/control/faults").status, 200);
  EXPECT_EQ(client_->Get("/api/v3/balance").status, 200);
  EXPECT_EQ(client_->Post("/control/faults", R"({"action":"nonsense"})").status, 400);
  EXPECT_EQ(client_->Post("/control/faults", R"({"action":"status","typo":1})").status, 400);
  EXPECT_EQ(client_->Post("/control/schedule", "[]").status, 400);
  ASSERT_EQ(client_->Post("/control/foreign-tasks", R"({"prompt":"theirs","age":"1m"})").status,
            200);

  const json::value counts = client_->Get("/control/counts").Json();
  EXPECT_EQ(Number(counts, "/posts"), 2);
  EXPECT_EQ(Number(counts, "/gets"), 4);
  EXPECT_EQ(Number(counts, "/tasks"), 2);
  EXPECT_EQ(counts.at("paths").at("GET /api/v3/predictions/{id}/result").to_number<int>(), 2);
  const json::value log = client_->Get("/control/log").Json();
  EXPECT_EQ(log.as_array().size(), 6u);
  EXPECT_EQ(Text(log, "/0/method"), "POST");
  EXPECT_EQ(Text(client_->Get("/control/tasks").Json(), "/1/status"), "queued");
}

// A certificate of its own making, in two PEM files that last as long as the object.
class SelfSigned {
 public:
  SelfSigned() {
    EVP_PKEY* key = EVP_EC_gen("P-256");
    X509* certificate = X509_new();
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_sign(certificate, key, EVP_sha256());
    std::FILE* file = std::fopen(certificate_path.c_str(), "w");
    PEM_write_X509(file, certificate);
    std::fclose(file);
    file = std::fopen(key_path.c_str(), "w");
    PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(file);
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
  ~SelfSigned() {
    std::remove(certificate_path.c_str());
    std::remove(key_path.c_str());
  }
  const std::string certificate_path =
      absl::StrCat(::testing::TempDir(), "/simulator-certificate-", getpid(), ".pem");
  const std::string key_path =
      absl::StrCat(::testing::TempDir(), "/simulator-key-", getpid(), ".pem");
};

TEST_F(SimulatorTest, TheSimulatorSpeaksTlsWithAGivenCertificate) {
  const SelfSigned identity;
  Restart({.host = "localhost",
           .tls_certificate_file = identity.certificate_path,
           .tls_private_key_file = identity.key_path});
  EXPECT_EQ(simulator_->base_url(), absl::StrCat("https://localhost:", simulator_->port()));
  TestClient client(simulator_->port(), /*tls=*/true);
  EXPECT_EQ(client.Get("/api/v3/balance").status, 200);
  EXPECT_EQ(client.Post(kSubmit, R"({"prompt":"private"})").status, 200) << "kept alive";
  EXPECT_EQ(client.Send("GET", "/api/v3/balance", "", {{"Connection", "close"}}).status, 200);
  EXPECT_EQ(client.WaitForEnd(), Reply::End::kClosed);
  EXPECT_EQ(simulator_->TasksCreatedForPrompt("private"), 1u);
}

TEST(StartTest, ATakenPortOrAMissingFileIsReported) {
  auto first = Simulator::Start();
  ASSERT_TRUE(first.ok());
  Options options;
  options.port = (*first)->port();
  EXPECT_FALSE(Simulator::Start(options).ok());
  options = {};
  options.video_file = "/nowhere/at-all.mp4";
  EXPECT_FALSE(Simulator::Start(options).ok());
}

TEST(StartTest, AfterStopTheLogStaysAndThePortIsFree) {
  auto started = Simulator::Start();
  ASSERT_TRUE(started.ok());
  Simulator& simulator = **started;
  TestClient client(simulator.port());
  client.Get("/api/v3/balance");
  simulator.Stop();
  simulator.Stop();
  EXPECT_EQ(client.WaitForEnd(), Reply::End::kReset);
  EXPECT_EQ(simulator.Count("GET", "/api/v3/balance"), 1u);
  EXPECT_TRUE(Simulator::Start({.port = simulator.port()}).ok());
}

}  // namespace
}  // namespace dreamgate::simulator

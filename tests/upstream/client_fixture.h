// A WaveSpeedClient on a real loop, for tests that speak to it over real sockets. Names are
// resolved from a table of the test. The methods are called from the test's thread.
#ifndef DREAMGATE_TESTS_UPSTREAM_CLIENT_FIXTURE_H_
#define DREAMGATE_TESTS_UPSTREAM_CLIENT_FIXTURE_H_

#include <gtest/gtest.h>

#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "server/upstream/wavespeed_client.h"
#include "tests/fakes/temporary_folder.h"
#include "tests/net/raw_server.h"
#include "tests/net/signal.h"

namespace dreamgate::upstream {

constexpr char kKey[] = "the-key";
constexpr char kTaskJson[] =
    R"({"code":200,"message":"success","data":{"id":"t1","status":"created"}})";

// A key file in a folder of its own, as a mounted secret is. Removed with this object.
class KeyFile {
 public:
  explicit KeyFile(const std::string& key) { Replace(key); }

  std::string path() const { return folder_.File("key"); }
  void Replace(const std::string& key) { folder_.Replace("key", key + "\n"); }

 private:
  const fakes::TemporaryFolder folder_;
};

// Remembers what was reported.
class RecordingEvents : public core::Events {
 public:
  struct Request {
    std::string operation;
    int http_status;
  };
  void UpstreamRequest(absl::string_view operation, int http_status, absl::Duration) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    requests_.push_back({std::string(operation), http_status});
  }
  std::vector<Request> requests() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return requests_;
  }

 private:
  std::mutex mutex_;
  std::vector<Request> requests_;
};

class ClientTest : public ::testing::Test {
 protected:
  ClientTest() {
    net::ResolverOptions resolver;
    resolver.look_up = [this](const std::string& host) -> absl::StatusOr<net::Addresses> {
      const std::lock_guard<std::mutex> lock(names_mutex_);
      const auto found = names_.find(host);
      if (found == names_.end()) return absl::UnavailableError("no such name");
      return found->second;
    };
    resolver_ = std::make_unique<net::Resolver>(loop_, std::move(resolver));
    loop_.Start();
  }

  ~ClientTest() override {
    if (client_ != nullptr && !closed_) CloseClient();
    loop_.Stop();
    client_.reset();
    resolver_.reset();
  }

  // With a key text unless `key` is given.
  void MakeClient(const std::string& base_url, WaveSpeedOptions options = {},
                  std::unique_ptr<ApiKey> key = nullptr) {
    options.base_url = base_url;
    if (key == nullptr) key = *ApiKey::FromText(kKey);
    auto client = WaveSpeedClient::Create(loop_, *resolver_, events_, std::move(key), options);
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
  }

  void SetName(const std::string& host, net::Addresses addresses) {
    const std::lock_guard<std::mutex> lock(names_mutex_);
    names_[host] = std::move(addresses);
  }

  // Runs on the loop and waits.
  template <typename Function>
  void OnLoop(Function function) {
    net_test::Signal done;
    loop_.Post([&] {
      function();
      done.Set();
    });
    done.Wait();
  }

  static core::CreateTaskRequest FoxRequest() {
    core::CreateTaskRequest request;
    request.prompt = "a fox";
    request.seed = 7;
    request.attempt_token = "token1";
    return request;
  }

  // The future is broken if the completion is dropped; setting it twice throws.
  std::future<core::CreateOutcome> StartCreate(core::CreateTaskRequest request = FoxRequest()) {
    auto promise = std::make_shared<std::promise<core::CreateOutcome>>();
    loop_.Post([this, promise, request = std::move(request)] {
      client_->CreateTask(request, [this, promise](core::CreateOutcome outcome) {
        EXPECT_TRUE(loop_.OnLoop());
        promise->set_value(std::move(outcome));
      });
    });
    return promise->get_future();
  }
  std::future<core::PollOutcome> StartGet(const std::string& id = "t1") {
    auto promise = std::make_shared<std::promise<core::PollOutcome>>();
    loop_.Post([this, promise, id] {
      client_->GetTask(id, [this, promise](core::PollOutcome outcome) {
        EXPECT_TRUE(loop_.OnLoop());
        promise->set_value(std::move(outcome));
      });
    });
    return promise->get_future();
  }
  std::future<core::HistoryOutcome> StartList(core::HistoryQuery query) {
    auto promise = std::make_shared<std::promise<core::HistoryOutcome>>();
    loop_.Post([this, promise, query] {
      client_->ListTasks(query, [this, promise](core::HistoryOutcome outcome) {
        EXPECT_TRUE(loop_.OnLoop());
        promise->set_value(std::move(outcome));
      });
    });
    return promise->get_future();
  }
  // The tasks of the last hour.
  core::HistoryOutcome List(int page = 1) {
    return StartList({absl::Now() - absl::Hours(1), page}).get();
  }
  core::CreateOutcome Create() { return StartCreate().get(); }
  core::PollOutcome Get(const std::string& id = "t1") { return StartGet(id).get(); }

  void CloseClient() {
    net_test::Signal done;
    loop_.Post([&] { client_->Close([&] { done.Set(); }); });
    done.Wait();
    closed_ = true;
  }

  UpstreamHealth Health() {
    UpstreamHealth health;
    OnLoop([&] { health = client_->Health(); });
    return health;
  }

  // Waits until the client's connections and requests are as `reached` wants them.
  template <typename Condition>
  bool WaitForHealth(Condition reached) {
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    while (absl::Now() < deadline) {
      if (reached(Health())) return true;
    }
    return false;
  }

  static bool Accepted(const core::CreateOutcome& outcome) {
    return std::holds_alternative<core::CreateAccepted>(outcome);
  }
  static bool Unknown(const core::CreateOutcome& outcome) {
    return std::holds_alternative<core::CreateUnknown>(outcome);
  }
  static bool NotSent(const core::CreateOutcome& outcome) {
    return std::holds_alternative<core::CreateNotSent>(outcome);
  }
  static std::string MessageOf(const core::CreateOutcome& outcome) {
    if (const auto* unsent = std::get_if<core::CreateNotSent>(&outcome)) return unsent->message;
    if (const auto* unknown = std::get_if<core::CreateUnknown>(&outcome)) return unknown->message;
    if (const auto* rejected = std::get_if<core::CreateRejected>(&outcome))
      return rejected->message;
    return "";
  }
  static bool Observed(const core::PollOutcome& outcome) {
    return std::holds_alternative<core::PollObserved>(outcome);
  }

  net::Loop loop_;
  RecordingEvents events_;
  std::mutex names_mutex_;
  std::map<std::string, net::Addresses> names_;
  std::unique_ptr<net::Resolver> resolver_;
  std::unique_ptr<WaveSpeedClient> client_;
  bool closed_ = false;
};

// Answers every request on every connection with the task, for as long as the client likes.
inline void AnswerEverything(net_test::RawPeer& peer) {
  while (!peer.ReadRequest().empty()) peer.Answer(kTaskJson);
}

}  // namespace dreamgate::upstream

#endif  // DREAMGATE_TESTS_UPSTREAM_CLIENT_FIXTURE_H_

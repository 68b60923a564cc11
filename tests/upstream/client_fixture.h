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

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
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

  std::future<core::CreateOutcome> StartCreate(core::CreateTaskRequest request = FoxRequest()) {
    return Start<core::CreateOutcome>([this, request = std::move(request)](auto done) {
      client_->CreateTask(request, std::move(done));
    });
  }
  std::future<core::PollOutcome> StartGet(const std::string& id = "t1") {
    return Start<core::PollOutcome>(
        [this, id](auto done) { client_->GetTask(id, std::move(done)); });
  }
  std::future<core::HistoryOutcome> StartList(core::HistoryQuery query) {
    return Start<core::HistoryOutcome>(
        [this, query](auto done) { client_->ListTasks(query, std::move(done)); });
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

  // Calls `call` on the loop with a completion. The future is broken if the completion is dropped;
  // setting it twice throws.
  template <typename Outcome, typename Call>
  std::future<Outcome> Start(Call call) {
    auto promise = std::make_shared<std::promise<Outcome>>();
    loop_.Post([this, promise, call = std::move(call)] {
      call([this, promise](Outcome outcome) {
        EXPECT_TRUE(loop_.OnLoop());
        promise->set_value(std::move(outcome));
      });
    });
    return promise->get_future();
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

// Answers requests with this key with `body`, and all others with the status `refusal`.
inline net_test::RawServer::Script RefuseEveryKeyBut(const std::string& key, int refusal,
                                                     const std::string& body) {
  return [key, refusal, body](net_test::RawPeer& peer) {
    for (std::string request = peer.ReadRequest(); !request.empty(); request = peer.ReadRequest()) {
      if (absl::StrContains(request, absl::StrCat("Bearer ", key, "\r\n"))) {
        peer.Answer(body);
      } else {
        peer.Write(absl::StrCat("HTTP/1.1 ", refusal, " No\r\nContent-Length: 0\r\n\r\n"));
      }
    }
  };
}

inline net_test::RawServer::Script RedirectEverythingTo(const std::string& url) {
  return [url](net_test::RawPeer& peer) {
    while (!peer.ReadRequest().empty()) {
      peer.Write(
          absl::StrCat("HTTP/1.1 307 Moved\r\nLocation: ", url, "/\r\nContent-Length: 0\r\n\r\n"));
    }
  };
}

// Reads a request and keeps the connection open for as long as the client likes.
inline void NeverAnswer(net_test::RawPeer& peer) {
  peer.ReadRequest();
  peer.WaitForEnd();
}

}  // namespace dreamgate::upstream

#endif  // DREAMGATE_TESTS_UPSTREAM_CLIENT_FIXTURE_H_

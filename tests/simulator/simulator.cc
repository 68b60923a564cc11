#include "tests/simulator/simulator.h"

#include <fstream>
#include <future>
#include <iterator>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "boost/asio/io_context.hpp"
#include "boost/asio/post.hpp"
#include "tests/simulator/http_server.h"
#include "tests/simulator/webhook_sender.h"

namespace dreamgate::simulator {
namespace {

namespace asio = boost::asio;

// The boxes a player looks for first, and bytes that differ by place so that a wrong range shows.
std::string StandInVideo() {
  std::string video(
      "\0\0\0\x18"
      "ftypisom\0\0\2\0isomiso2",
      24);
  constexpr std::size_t kMediaBytes = 4096;
  video += std::string(
      "\0\0\x10\x08"
      "mdat",
      8);
  for (std::size_t i = 0; i < kMediaBytes; ++i) video.push_back(static_cast<char>(i * 31 % 251));
  return video;
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string content((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file || content.empty()) return absl::NotFoundError("cannot read " + path);
  return content;
}

}  // namespace

// Declared in the order of life: connections still waiting in `context` go last.
struct Simulator::Network {
  asio::io_context context{1};
  std::unique_ptr<HttpServer> server;
  WebhookSender webhooks{context};
  std::thread thread;

  // Runs `action` in the simulator's thread and waits for it; does nothing once stopped.
  template <class Action>
  void Run(Action action) {
    if (!thread.joinable()) return;
    std::promise<void> done;
    asio::post(context, [&] {
      action();
      done.set_value();
    });
    done.get_future().wait();
  }
};

absl::StatusOr<std::unique_ptr<Simulator>> Simulator::Start(Options options) {
  std::string video = StandInVideo();
  if (!options.video_file.empty()) {
    auto content = ReadFile(options.video_file);
    if (!content.ok()) return content.status();
    video = *std::move(content);
  }
  auto network = std::make_unique<Network>();
  auto server = HttpServer::Listen(network->context, options);
  if (!server.ok()) return server.status();
  network->server = *std::move(server);
  const std::string base_url = absl::StrCat(options.tls_certificate_file.empty() ? "http" : "https",
                                            "://", options.host, ":", network->server->port());
  if (options.outputs_origin.empty()) options.outputs_origin = base_url;
  std::unique_ptr<Simulator> simulator(
      new Simulator(std::move(network), std::move(options), base_url,
                    std::make_shared<const std::string>(std::move(video))));
  Network& running = *simulator->network_;
  running.webhooks.set_backend(*simulator);
  running.server->Serve(*simulator);
  running.thread = std::thread([&running] { running.context.run(); });
  return simulator;
}

Simulator::Simulator(std::unique_ptr<Network> network, Options options, std::string base_url,
                     std::shared_ptr<const std::string> video)
    : Backend(std::move(options), base_url, std::move(video),
              [net = network.get()](const std::string& task_id, absl::Duration wait) {
                asio::post(net->context,
                           [net, task_id, wait] { net->webhooks.Schedule(task_id, wait); });
              }),
      port_(network->server->port()),
      base_url_(std::move(base_url)),
      network_(std::move(network)) {}

Simulator::~Simulator() { Stop(); }

void Simulator::Stop() {
  if (!network_->thread.joinable()) return;
  network_->context.stop();
  network_->thread.join();
  network_->server->ResetConnections();
  network_->server.reset();
}

void Simulator::CloseIdleConnections() {
  network_->Run([this] { network_->server->CloseIdleConnections(); });
}

void Simulator::ResetConnections() {
  network_->Run([this] { network_->server->ResetConnections(); });
}

bool Simulator::WaitForRequests(const std::string& method, const std::string& path_prefix,
                                std::size_t count, absl::Duration timeout) {
  return WaitUntil([&] { return Count(method, path_prefix) >= count; }, timeout);
}

bool Simulator::WaitForTasks(std::size_t count, absl::Duration timeout) {
  return WaitUntil([&] { return TasksCreated() >= count; }, timeout);
}

bool Simulator::WaitForWebhookAttempts(std::size_t count, absl::Duration timeout) {
  return WaitUntil([&] { return WebhookAttempts().size() >= count; }, timeout);
}

}  // namespace dreamgate::simulator

// The floor that SubmitVideo is measured against: the same method on a bare gRPC callback server that
// makes one POST on a kept connection and answers with the id it is given. No ledger, no checks of
// the request, no time limits.
//
// Usage: echo_server PORTS_FILE UPSTREAM_PORT
#include <grpcpp/grpcpp.h>
#include <signal.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "dreamgate/v1/video_service.grpc.pb.h"

namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
namespace json = boost::json;
namespace v1 = dreamgate::v1;
using asio::ip::tcp;
using boost::system::error_code;

constexpr char kTarget[] = "/api/v3/bytedance/dreamina-v3.0-pro/text-to-video";

// A call that waits for an answer from upstream.
struct Call {
  std::string prompt;
  v1::SubmitVideoResponse* response;
  grpc::ServerUnaryReactor* reactor;
};

class Connection;

// As many connections as there are calls at once, the one used last first. The io_context's thread.
struct Pool {
  asio::io_context context{1};
  tcp::endpoint upstream;
  std::vector<std::unique_ptr<Connection>> idle;

  void Send(Call call);
};

class Connection {
 public:
  explicit Connection(Pool& pool) : pool_(pool), socket_(pool.context) {
    error_code error;
    socket_.connect(pool.upstream, error);
    if (!error) socket_.set_option(tcp::no_delay(true), error);
    if (error) std::fprintf(stderr, "echo_server: %s\n", error.message().c_str());
  }

  static void Post(std::unique_ptr<Connection> self, Call call) {
    Connection& connection = *self;
    connection.call_ = std::move(call);
    connection.request_ = http::request<http::string_body>(http::verb::post, kTarget, 11);
    connection.request_.set(http::field::host, "127.0.0.1");
    connection.request_.set(http::field::authorization, "Bearer simulator-key");
    connection.request_.set(http::field::content_type, "application/json");
    connection.request_.body() = json::serialize(
        json::object{{"prompt", connection.call_.prompt}, {"aspect_ratio", "16:9"}, {"seed", 1}});
    connection.request_.prepare_payload();
    http::async_write(connection.socket_, connection.request_,
                      [self = std::move(self)](error_code error, size_t) mutable {
                        if (error) return self->Answer(error);
                        Read(std::move(self));
                      });
  }

 private:
  static void Read(std::unique_ptr<Connection> self) {
    Connection& connection = *self;
    connection.answer_ = {};
    http::async_read(connection.socket_, connection.buffer_, connection.answer_,
                     [self = std::move(self)](error_code error, size_t) mutable {
                       self->Answer(error);
                       Pool& pool = self->pool_;
                       if (!error) pool.idle.push_back(std::move(self));
                     });
  }

  void Answer(error_code error) {
    json::value body;
    if (!error) body = json::parse(answer_.body(), error);
    if (error || answer_.result() != http::status::ok) {
      return call_.reactor->Finish({grpc::StatusCode::UNAVAILABLE, error.message()});
    }
    const json::string& id = body.at("data").at("id").as_string();
    call_.response->mutable_prediction()->set_id(id.c_str(), id.size());
    call_.reactor->Finish(grpc::Status::OK);
  }

  Pool& pool_;
  tcp::socket socket_;
  boost::beast::flat_buffer buffer_;
  http::request<http::string_body> request_;
  http::response<http::string_body> answer_;
  Call call_{};
};

void Pool::Send(Call call) {
  std::unique_ptr<Connection> connection;
  if (idle.empty()) {
    connection = std::make_unique<Connection>(*this);
  } else {
    connection = std::move(idle.back());
    idle.pop_back();
  }
  Connection::Post(std::move(connection), std::move(call));
}

class Service final
    : public v1::VideoService::WithCallbackMethod_SubmitVideo<v1::VideoService::Service> {
 public:
  explicit Service(Pool& pool) : pool_(pool) {}

  grpc::ServerUnaryReactor* SubmitVideo(grpc::CallbackServerContext* context,
                                        const v1::SubmitVideoRequest* request,
                                        v1::SubmitVideoResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    asio::post(pool_.context, [this, call = Call{request->prompt(), response, reactor}]() mutable {
      pool_.Send(std::move(call));
    });
    return reactor;
  }

 private:
  Pool& pool_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s PORTS_FILE UPSTREAM_PORT\n", argv[0]);
    return 2;
  }
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  Pool pool;
  pool.upstream = tcp::endpoint(asio::ip::address_v4::loopback(),
                                static_cast<uint16_t>(std::strtoul(argv[2], nullptr, 10)));
  const auto keep_running = asio::make_work_guard(pool.context);
  std::thread thread([&pool] { pool.context.run(); });

  Service service(pool);
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  std::ofstream(argv[1]) << "grpc=" << port << "\n";
  int received = 0;
  sigwait(&signals, &received);
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
  pool.context.stop();
  thread.join();
  return 0;
}

// The first program of a user of the installed library: make a client, submit, look at the error.
#include <dreamgate/client/request_id.h>
#include <dreamgate/client/version.h>
#include <dreamgate/client/video_client.h>

#include <chrono>
#include <iostream>

int main() {
  using namespace std::chrono_literals;
  namespace client = dreamgate::client;
  std::cout << "dreamgate client " << client::Version() << "\n";

  const auto video_client =
      client::VideoClient::Create({.target = "127.0.0.1:1"});  // nobody listens there
  if (!video_client.ok()) return 1;
  dreamgate::v1::SubmitVideoRequest request;
  request.set_prompt("a lighthouse in a storm");
  const client::SubmitResult submitted = video_client.value->Submit(request, {.timeout = 300ms});
  if (submitted.status.error_code() != grpc::StatusCode::UNAVAILABLE ||
      submitted.request_id.empty())
    return 2;

  client::Watch watch = video_client.value->Watch("p1", {.give_up_after = 300ms});
  if (watch.NextUpdate().has_value() || watch.status().ok()) return 3;
  std::cout << "nobody there, as expected: " << client::Decode(watch.status()).reason
            << watch.status().error_message() << "\n";
  return 0;
}

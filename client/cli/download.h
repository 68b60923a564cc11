// Downloads a video over HTTP or HTTPS to a file that appears only when it is whole. Blocks the calling
// thread. Sends no credentials, follows redirects, resumes a broken transfer where it broke.
#ifndef DREAMGATE_CLIENT_CLI_DOWNLOAD_H_
#define DREAMGATE_CLIENT_CLI_DOWNLOAD_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>

namespace dreamgate::client {

struct DownloadOptions {
  bool overwrite = false;
  int max_redirects = 5;
  int max_retries =
      3;  // after a broken transfer, an unreachable host, or an answer of 408, 429 or 5xx
  std::chrono::milliseconds first_pause{250};  // before the first retry; doubles
  std::chrono::seconds inactivity_timeout{30};
  std::stop_token stop{};

  // Called for every piece, on the calling thread. The total is unset if the server does not say.
  std::function<void(uint64_t received, std::optional<uint64_t> total)> on_progress{};
};

struct DownloadResult {
  bool ok = false;
  bool interrupted = false;  // by options.stop
  std::string error;         // for people, if not ok
  uint64_t bytes = 0;
};

DownloadResult Download(const std::string& url, const std::string& file,
                        const DownloadOptions& options);

}  // namespace dreamgate::client

#endif  // DREAMGATE_CLIENT_CLI_DOWNLOAD_H_

#include "server/web/admin_server.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace dreamgate::web {
namespace {

BackupRequester RequesterOf(const HttpRequest& request) {
  BackupRequester requester;
  requester.peer = request.peer;
  requester.host = std::string(request.ValueOf("host"));
  for (const auto& [name, value] : request.headers) {
    if (name == "origin" || absl::StartsWith(name, "sec-fetch-")) requester.browser = true;
    if (name == "via" || name == "forwarded" || absl::StartsWith(name, "x-forwarded-")) {
      requester.forwarded = true;
    }
  }
  return requester;
}

class AdminService : public HttpService {
 public:
  explicit AdminService(AdminPages pages) : pages_(std::move(pages)) {}

  std::optional<HttpResponse> RefuseByHeader(const HttpRequest& head) override {
    const Path* path = Find(head);
    if (path == nullptr) {
      return TextResponse(
          404, "not found; there are /livez, /readyz, /metrics, /statusz and POST /backup");
    }
    for (const absl::string_view method : absl::StrSplit(path->methods, ", ")) {
      if (method == head.method) return std::nullopt;
    }
    HttpResponse refusal = TextResponse(405, absl::StrCat("allowed here: ", path->methods));
    refusal.headers = {{"Allow", std::string(path->methods)}};
    return refusal;
  }

  void Handle(HttpRequest request, HttpReply reply) override {
    (this->*Find(request)->handle)(request, std::move(reply));
  }

 private:
  using Handler = void (AdminService::*)(const HttpRequest& request, HttpReply reply);
  struct Path {
    absl::string_view path;
    absl::string_view methods;
    Handler handle;
  };

  // Null if nothing is served there. A query is no part of the path.
  const Path* Find(const HttpRequest& request) const {
    const absl::string_view target = request.target;
    const auto* found = std::find_if(
        std::begin(kPaths), std::end(kPaths),
        [path = target.substr(0, target.find('?'))](const Path& row) { return row.path == path; });
    if (found == std::end(kPaths) || (found->path == "/backup" && !pages_.backup)) return nullptr;
    return found;
  }

  void ShowLiveness(const HttpRequest&, HttpReply reply) {
    std::move(reply).Send(TextResponse(200, "ok"));
  }

  void ShowReadiness(const HttpRequest&, HttpReply reply) {
    const Readiness readiness = pages_.readiness();
    std::move(reply).Send(TextResponse(readiness.ready ? 200 : 503, readiness.reason));
  }

  void ShowMetrics(const HttpRequest&, HttpReply reply) {
    std::move(reply).Send(
        {.body = pages_.metrics(), .content_type = "text/plain; version=0.0.4; charset=utf-8"});
  }

  void ShowStatus(const HttpRequest& request, HttpReply reply) {
    const StatusReport report = pages_.status();
    if (absl::StrContains(absl::AsciiStrToLower(request.ValueOf("accept")), "text/html")) {
      return std::move(reply).Send(
          {.body = RenderStatusHtml(report), .content_type = "text/html; charset=utf-8"});
    }
    std::move(reply).Send({.body = RenderStatusJson(report), .content_type = "application/json"});
  }

  void MakeBackup(const HttpRequest& request, HttpReply reply) {
    if (const auto why = WhyNoBackup(RequesterOf(request)); why.has_value()) {
      return std::move(reply).Send(TextResponse(403, *why));
    }
    // A second copy would take the disk space and the time of the first once more.
    if (!backup_.expired()) {
      return std::move(reply).Send(
          TextResponse(409, "another backup is being made: ask again when it has ended"));
    }
    auto under_way = std::make_shared<const bool>(true);
    backup_ = under_way;
    pages_.backup([reply = std::move(reply),
                   under_way = std::move(under_way)](absl::StatusOr<BackupCopy> copy) mutable {
      if (!copy.ok()) {
        under_way.reset();
        return std::move(reply).Send(TextResponse(503, copy.status().message()));
      }
      HttpStream stream = {copy->size(),
                           [copy = *std::move(copy), under_way = std::move(under_way)](
                               absl::Span<char> piece) mutable { return copy.Read(piece); }};
      std::move(reply).Send(
          {.content_type = "application/octet-stream",
           .headers = {{"Content-Disposition", "attachment; filename=\"dreamgate-backup.db\""}},
           .stream = std::move(stream)});
    });
  }

  static constexpr Path kPaths[] = {{"/livez", "GET, HEAD", &AdminService::ShowLiveness},
                                    {"/readyz", "GET, HEAD", &AdminService::ShowReadiness},
                                    {"/metrics", "GET, HEAD", &AdminService::ShowMetrics},
                                    {"/statusz", "GET, HEAD", &AdminService::ShowStatus},
                                    {"/backup", "POST", &AdminService::MakeBackup}};

  AdminPages pages_;
  std::weak_ptr<const bool> backup_;  // owned by whatever makes or sends one
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> StartAdminServer(net::Loop& loop, HttpOptions options,
                                                             AdminPages pages) {
  return HttpServer::Start(loop, std::move(options),
                           std::make_unique<AdminService>(std::move(pages)));
}

}  // namespace dreamgate::web

// URLs and values of settings as an operator writes them. A value that is accepted must be within its
// bounds, free of surprises, and mean the same when it is written out and read again. The first line
// of the input selects the parser, the rest is the text.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/app/values.h"
#include "server/net/url.h"
#include "tests/fuzz/check.h"

namespace dreamgate::fuzz {
namespace {

// Anything else could end a request line or a header early.
bool IsPrintable(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7F'; });
}

void TryUrl(absl::string_view text) {
  const absl::StatusOr<net::Url> url = net::ParseUrl(text);
  if (!url.ok()) return Check(!url.status().message().empty(), "a refusal has a reason");
  Check(IsPrintable(text), "a URL has no spaces and no control characters", text);
  Check(!url->host.empty() && IsPrintable(url->host), "a URL has a host", url->host);
  Check(absl::AsciiStrToLower(url->host) == url->host, "a host is in lower case", url->host);
  Check(url->port != 0, "a URL has a port");
  Check(url->path.empty() || url->path.front() == '/', "a path begins with a slash", url->path);

  const std::string written = absl::StrCat(url->https ? "https://" : "http://", url->Authority(),
                                           url->path, url->query.empty() ? "" : "?", url->query);
  const absl::StatusOr<net::Url> again = net::ParseUrl(written);
  Check(again.ok(), "a URL that was written out can be read", written);
  Check(again->https == url->https && again->host == url->host && again->port == url->port &&
            again->path == url->path && again->query == url->query,
        "a URL that was written out is the same", written);
}

void TryBaseUrl(const std::string& text) {
  const absl::StatusOr<std::string> url = app::ParseBaseUrl(text);
  if (!url.ok()) return;
  Check(*url == text, "a base URL is kept as written", *url);
  const absl::StatusOr<net::Url> parsed = net::ParseUrl(text);
  Check(parsed.ok() && parsed->query.empty(), "a base URL is a URL without a query", text);
}

void TryHostPort(const std::string& text) {
  const absl::StatusOr<app::HostPort> address = app::ParseHostPort(text);
  if (!address.ok()) return;
  Check(!address->host.empty() && IsPrintable(address->host), "an address has a host", text);
  const absl::StatusOr<app::HostPort> again = app::ParseHostPort(address->Text());
  Check(again.ok() && *again == *address, "an address that was written out is the same", text);
}

void TryDuration(const std::string& text) {
  const absl::Duration least = absl::Milliseconds(1);
  const absl::Duration most = absl::Hours(24 * 365);
  const absl::StatusOr<absl::Duration> duration = app::ParseDuration(text, least, most);
  if (!duration.ok()) return;
  Check(*duration >= least && *duration <= most, "a duration is within its bounds", text);
  // Showing rounds a value. Showing it once more must not change it.
  const std::string shown = app::ShowDuration(*duration);
  const absl::StatusOr<absl::Duration> again = app::ParseDuration(shown, least, most);
  Check(again.ok() && app::ShowDuration(*again) == shown, "a shown duration can be read", shown);
}

void TryInteger(const std::string& text) {
  const absl::StatusOr<int64_t> number = app::ParseInteger(text, -1, 1'000'000);
  if (number.ok()) Check(*number >= -1 && *number <= 1'000'000, "a number is within bounds", text);
  const absl::StatusOr<int64_t> any = app::ParseInteger(text, std::numeric_limits<int64_t>::min(),
                                                        std::numeric_limits<int64_t>::max());
  Check(any.ok() || !number.ok(), "wider bounds accept no less", text);
  if (number.ok()) Check(*any == *number, "a number is the same under any bounds", text);
}

void TryModel(const std::string& text) {
  const absl::StatusOr<std::string> model = app::ParseModel(text);
  if (!model.ok()) return;
  Check(*model == text && !text.empty() && text.size() <= 255, "a model is kept as written", text);
  const absl::StatusOr<net::Url> url = net::ParseUrl(absl::StrCat("https://h/api/v3/", *model));
  Check(url.ok() && url->path == absl::StrCat("/api/v3/", *model), "a model may stand in a path",
        text);
  Check(!absl::StrContains(url->path, "/../") && !absl::EndsWith(url->path, "/.."),
        "a model never climbs out of its path", text);
}

}  // namespace
}  // namespace dreamgate::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dreamgate;
  absl::string_view rest(reinterpret_cast<const char*>(data), size);
  const absl::string_view kind = fuzz::TakeLine(rest);
  const std::string text(rest);
  if (kind == "url") {
    fuzz::TryUrl(rest);
  } else if (kind == "base_url") {
    fuzz::TryBaseUrl(text);
  } else if (kind == "address") {
    fuzz::TryHostPort(text);
  } else if (kind == "duration") {
    fuzz::TryDuration(text);
  } else if (kind == "integer") {
    fuzz::TryInteger(text);
  } else if (kind == "model") {
    fuzz::TryModel(text);
  } else if (kind == "words") {
    (void)app::ParseBool(text);
    (void)app::ParseLogLevel(text);
    (void)app::ParseLogFormat(text);
  } else {
    return -1;  // keeps the input out of the corpus
  }
  return 0;
}

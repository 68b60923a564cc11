// The receiver over real sockets. Whatever is refused must not reach the core; the core is a list of
// what was handed on, and a fixed clock decides what is stale.
#include "server/web/webhook_receiver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/core/errors.h"
#include "server/crypto/crypto.h"
#include "tests/net/test_certificates.h"
#include "tests/web/raw_client.h"
#include "tests/web/webhook_vectors.h"

namespace dreamgate::web {
namespace {

using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr int64_t kNowSeconds = 1'700'000'000;
constexpr char kSecret[] = "whsec_correct+horse/battery=staple";
constexpr char kSecondSecret[] = "whsec_the-next-one";
constexpr char kPath[] = "/hooks/dreamgate";
constexpr char kToken[] = "0123456789abcdef0123456789abcdef";
constexpr char kTask[] =
    R"({"id":"task-1","status":"completed","outputs":["https://cdn.example/a"]})";
constexpr auto kPatience = std::chrono::seconds(30);

class FixedClock : public core::Clock {
 public:
  absl::Time Now() const override { return absl::FromUnixSeconds(kNowSeconds); }
};

// Notes what was counted and logged; lets a test wait for it.
class SeenEvents : public core::Events {
 public:
  void WebhookReceived(absl::string_view outcome) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    outcomes_.emplace_back(outcome);
    changed_.notify_all();
  }
  void Log(core::LogLevel level, absl::string_view message,
           const core::LogFields& fields) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string line(message);
    for (const auto& [key, value] : fields) absl::StrAppend(&line, " ", key, "=", value);
    (level >= core::LogLevel::kWarning ? warnings_ : lines_).push_back(line);
    changed_.notify_all();
  }
  std::vector<std::string> Outcomes() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return outcomes_;
  }
  std::vector<std::string> Warnings() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return warnings_;
  }
  std::vector<std::string> Lines() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<std::string> all = lines_;
    all.insert(all.end(), warnings_.begin(), warnings_.end());
    return all;
  }
  bool WaitForOutcomes(size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return outcomes_.size() >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> outcomes_, warnings_, lines_;
};

// Where Gateway::OnWebhook would be. Answers on the loop, later, as the core does.
class SeenWebhooks {
 public:
  explicit SeenWebhooks(net::Loop& loop) : loop_(loop) {}

  void Answer(absl::Status status) {
    const std::lock_guard<std::mutex> lock(mutex_);
    answer_ = std::move(status);
  }
  // Whatever comes is kept and answered by Release.
  void Hold() {
    const std::lock_guard<std::mutex> lock(mutex_);
    hold_ = true;
  }
  void Release() {
    const std::lock_guard<std::mutex> lock(mutex_);
    hold_ = false;
    for (auto& done : held_) Post(std::move(done));
    held_.clear();
  }

  void OnWebhook(std::string token, std::string upstream_id, core::Completion<absl::Status> done) {
    const std::lock_guard<std::mutex> lock(mutex_);
    seen_.emplace_back(std::move(token), std::move(upstream_id));
    if (hold_) {
      held_.push_back(std::move(done));
    } else {
      Post(std::move(done));
    }
    changed_.notify_all();
  }

  std::vector<std::pair<std::string, std::string>> Seen() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return seen_;
  }
  bool WaitFor(size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return seen_.size() >= count; });
  }

 private:
  void Post(core::Completion<absl::Status> done) {
    loop_.Post([done = std::move(done), answer = answer_]() mutable { std::move(done)(answer); });
  }

  net::Loop& loop_;
  std::mutex mutex_;
  std::condition_variable changed_;
  absl::Status answer_;
  bool hold_ = false;
  std::vector<core::Completion<absl::Status>> held_;
  std::vector<std::pair<std::string, std::string>> seen_;
};

std::string Hex(const std::string& secret, const std::string& text) {
  return crypto::HmacSha256Hex(secret.substr(6), text);  // after "whsec_"
}

// A request, genuine as it comes; tests spoil it.
struct Message {
  std::string method = "POST";
  std::string target = absl::StrCat(kPath, "/", kToken);
  std::string version = "HTTP/1.1";
  std::string id = "msg_1";
  std::string timestamp = absl::StrCat(kNowSeconds);
  std::string body = kTask;
  std::string secret = kSecret;
  std::optional<std::string> signature;  // instead of the right one
  std::string framing;                   // instead of the right Content-Length
  std::optional<std::string> wire_body;  // what is sent instead of the body that is signed
  std::string more;                      // header lines, each with its end
  bool keep_alive = false;
  bool has_id = true, has_timestamp = true, has_signature = true;

  std::string RightSignature() const {
    return "v3," + Hex(secret, absl::StrCat(id, ".", timestamp, ".", body));
  }
  std::string Text() const {
    const std::string wire = wire_body.value_or(body);
    std::string text =
        absl::StrCat(method, " ", target, " ", version, "\r\nHost: hooks.example\r\n");
    if (!keep_alive) text += "Connection: close\r\n";
    absl::StrAppend(
        &text, framing.empty() ? absl::StrCat("Content-Length: ", wire.size(), "\r\n") : framing);
    if (has_id) absl::StrAppend(&text, "webhook-id: ", id, "\r\n");
    if (has_timestamp) absl::StrAppend(&text, "webhook-timestamp: ", timestamp, "\r\n");
    if (has_signature) {
      absl::StrAppend(&text, "webhook-signature: ", signature.value_or(RightSignature()), "\r\n");
    }
    return absl::StrCat(text, more, "\r\n", wire);
  }
};

Message With(const std::function<void(Message&)>& change) {
  Message message;
  change(message);
  return message;
}

std::string Chunked(const std::string& text, size_t size, const std::string& extension = "") {
  std::string chunks;
  for (size_t at = 0; at < text.size(); at += size) {
    const std::string piece = text.substr(at, size);
    absl::StrAppend(&chunks, absl::Hex(piece.size()), extension, "\r\n", piece, "\r\n");
  }
  return absl::StrCat(chunks, "0\r\n\r\n");
}

class WebhookReceiverTest : public ::testing::Test {
 protected:
  WebhookReceiverTest() {
    WriteSecrets(absl::StrCat(kSecret, "\n", kSecondSecret, "\n"));
    loop_.Start();
  }
  ~WebhookReceiverTest() override {
    receiver_.reset();
    loop_.Stop();
    std::remove(file_.c_str());
  }

  void WriteSecrets(const std::string& content) {
    const std::string draft = file_ + ".new";
    std::ofstream(draft, std::ios::trunc) << content;
    ASSERT_EQ(std::rename(draft.c_str(), file_.c_str()), 0);
  }

  uint16_t Start(WebhookOptions options = {}) {
    if (options.path.empty()) options.path = kPath;
    auto secrets = WebhookSecrets::FromFile(file_, events_, [this] { return files_time_; });
    EXPECT_TRUE(secrets.ok()) << secrets.status();
    auto receiver = StartWebhookReceiver(
        loop_, options, *std::move(secrets), clock_, events_,
        [this](std::string token, std::string upstream_id, core::Completion<absl::Status> done) {
          webhooks_.OnWebhook(std::move(token), std::move(upstream_id), std::move(done));
        });
    EXPECT_TRUE(receiver.ok()) << receiver.status();
    receiver_ = *std::move(receiver);
    return receiver_->port();
  }

  const std::string file_ =
      absl::StrCat(::testing::TempDir(), "webhook-secrets-", crypto::RandomHex(8));
  absl::Time files_time_ = absl::UnixEpoch();  // touched while nothing is under way
  FixedClock clock_;
  SeenEvents events_;
  net::Loop loop_;
  SeenWebhooks webhooks_{loop_};
  std::unique_ptr<HttpServer> receiver_;
};

// ---------------------------------------------------------------------------------------- the table

struct Case {
  std::string name;
  std::string request;
  int status = 0;
  std::string outcome;
};

void PrintTo(const Case& row, std::ostream* out) { *out << row.name; }

Case Accepted(const std::string& name, const Message& message) {
  return {name, message.Text(), 204, "accepted"};
}
Case Forged(const std::string& name, const Message& message) {
  return {name, message.Text(), 403, "forged"};
}
Case Stale(const std::string& name, const Message& message) {
  return {name, message.Text(), 403, "stale"};
}
Case Malformed(const std::string& name, const Message& message, int status = 400) {
  return {name, message.Text(), status, "malformed"};
}

Message WithBody(const std::string& body) {
  return With([&](Message& message) { message.body = body; });
}
Message WithSignature(const std::string& signature) {
  return With([&](Message& message) { message.signature = signature; });
}
Message WithTimestamp(const std::string& timestamp) {
  return With([&](Message& message) { message.timestamp = timestamp; });
}
Message WithTarget(const std::string& target) {
  return With([&](Message& message) { message.target = target; });
}
Message WithMore(const std::string& lines) {
  return With([&](Message& message) { message.more = lines; });
}
Message WithFraming(const std::string& framing, const std::string& wire) {
  return With([&](Message& message) {
    message.framing = framing;
    message.wire_body = wire;
  });
}

std::vector<Case> GenuineCases() {
  const Message plain;
  const std::string right = plain.RightSignature();
  const std::string other = "v3," + std::string(64, 'a');
  const std::string chunked = "Transfer-Encoding: chunked\r\n";
  return {
      Accepted("Genuine", plain),
      Accepted("AFailedTask",
               WithBody(R"({"id":"task-1","status":"failed","error":"no","code":1200})")),
      Accepted("AStatusNobodyKnows", WithBody(R"({"id":"task-1","status":"transmogrified"})")),
      Accepted("NoStatusAtAll", WithBody(R"({"id":"task-1"})")),
      Accepted("CompletedWithoutOutputs",
               WithBody(R"({"id":"task-1","status":"completed","outputs":[]})")),
      Accepted("NullsEverywhere",
               WithBody(R"({"id":"task-1","status":null,"outputs":null,"urls":null})")),
      Accepted("InAnEnvelope",
               WithBody(R"({"code":200,"data":{"id":"task-1","status":"completed"}})")),
      Accepted("AByteOrderMark", WithBody("\xEF\xBB\xBF{\"id\":\"task-1\"}")),
      Accepted("InvalidUtf8InAString", WithBody("{\"id\":\"task-1\",\"error\":\"\xFF\xC3(\"}")),
      Accepted("HalfASurrogatePair", WithBody(R"({"id":"task-1","error":"\ud83d"})")),
      Accepted("SpacesAroundTheTask", WithBody(" \r\n\t{\"id\":\"task-1\"}\n")),
      Accepted("TheLargestBody", WithBody(absl::StrCat(R"({"id":"task-1","x":")",
                                                       std::string(256 * 1024 - 22, 'x'), "\"}"))),
      Accepted("OneChunk", WithFraming(chunked, Chunked(kTask, 4096))),
      Accepted("AChunkPerByte", WithFraming(chunked, Chunked(kTask, 1))),
      Accepted("ChunkExtensions", WithFraming(chunked, Chunked(kTask, 7, ";a=\"b c\";d"))),
      Accepted("ChunkedInCapitals",
               WithFraming("TRANSFER-ENCODING: CHUNKED\r\n", Chunked(kTask, 64))),
      Accepted("HttpOneDotZero", With([](Message& m) { m.version = "HTTP/1.0"; })),
      Accepted("IdentityIsNoEncoding", WithMore("Content-Encoding: identity\r\n")),
      Accepted("AnyContentType", WithMore("Content-Type: text/plain; charset=utf-16\r\n")),
      Accepted("HeadersOfProxies",
               WithMore("Via: 1.1 ingress\r\nX-Forwarded-For: 192.0.2.1\r\nForwarded: for=x\r\n")),
      Accepted("TheRightSignatureFirst", WithSignature(absl::StrCat(right, " ", other))),
      Accepted("TheRightSignatureLast", WithSignature(absl::StrCat(other, " ", right))),
      Accepted("ManySpacesBetweenSignatures",
               WithSignature(absl::StrCat("  ", other, "   ", right, "  "))),
      Accepted("ASignatureOfAnotherVersionBeside", WithSignature(absl::StrCat("v1,AAAA= ", right))),
      Accepted("HexInCapitals", WithSignature("v3," + absl::AsciiStrToUpper(right.substr(3)))),
      Accepted("TheOtherSecretOfARotation", With([](Message& m) { m.secret = kSecondSecret; })),
      Accepted("FiveMinutesOld", WithTimestamp(absl::StrCat(kNowSeconds - 300))),
      Accepted("FiveMinutesAhead", WithTimestamp(absl::StrCat(kNowSeconds + 300))),
      Accepted("AnIdWithDots", With([](Message& m) { m.id = "msg.1.2"; })),
      Accepted("HeaderNamesInCapitals", With([](Message& m) {
                 m.has_id = m.has_timestamp = m.has_signature = false;
                 m.more = absl::StrCat("WEBHOOK-ID: msg_1\r\nWebhook-Timestamp:\t", m.timestamp,
                                       "  \r\nwebHook-sigNature:", m.RightSignature(), "\t\r\n");
               })),
  };
}

std::vector<Case> ForgedCases() {
  const Message plain;
  const std::string hex = plain.RightSignature().substr(3);
  const std::string signed_text = absl::StrCat(plain.id, ".", plain.timestamp, ".", plain.body);
  return {
      Forged("AnotherSecret", With([](Message& m) { m.secret = "whsec_somebody-else"; })),
      Forged("TheSecretWithItsPrefix",
             WithSignature("v3," + crypto::HmacSha256Hex(kSecret, signed_text))),
      Forged("AnEmptySecret", WithSignature("v3," + crypto::HmacSha256Hex("", signed_text))),
      Forged("AHashWithoutAKey", WithSignature("v3," + crypto::Sha256Hex(signed_text))),
      Forged("NoVersion", WithSignature(hex)),
      Forged("TheFirstVersion", WithSignature("v1," + hex)),
      Forged("TheFourthVersion", WithSignature("v4," + hex)),
      Forged("TheVersionInCapitals", WithSignature("V3," + hex)),
      Forged("AnEmptySignature", WithSignature("")),
      Forged("NothingAfterTheVersion", WithSignature("v3,")),
      Forged("ADigitTooFew", WithSignature("v3," + hex.substr(0, 63))),
      Forged("ADigitTooMany", WithSignature("v3," + hex + "0")),
      Forged("NoHexAtAll", WithSignature("v3," + std::string(64, 'z'))),
      Forged("AllZeros", WithSignature("v3," + std::string(64, '0'))),
      Forged("JoinedByCommas", WithSignature(absl::StrCat("v3,", hex, ",v3,", hex))),
      Forged("TheBodyAlone", WithSignature("v3," + Hex(kSecret, plain.body))),
      Forged("WithoutTheId",
             WithSignature("v3," + Hex(kSecret, absl::StrCat(plain.timestamp, ".", plain.body)))),
      Forged("IdAndTimestampSwapped",
             WithSignature("v3," + Hex(kSecret, absl::StrCat(plain.timestamp, ".", plain.id, ".",
                                                             plain.body)))),
      Forged("AnotherBody", With([](Message& m) { m.wire_body = R"({"id":"task-2"})"; })),
      Forged("ABodyWithOneMoreByte",
             With([](Message& m) { m.wire_body = absl::StrCat(kTask, "\n"); })),
      Forged("AnEmptyBody", With([](Message& m) { m.wire_body = ""; })),
      Forged("NoLengthAndSoNoBody", WithFraming("X-Length: none\r\n", "")),
      Forged("ALengthThatIsTooShort", WithFraming("Content-Length: 5\r\n", kTask)),
      Forged("AnotherId", With([&](Message& m) {
               m.signature = "v3," + hex;
               m.id = "msg_2";
             })),
      Forged("AFresherTimestamp", With([&](Message& m) {
               m.signature = "v3," + hex;
               m.timestamp = absl::StrCat(kNowSeconds + 1);
             })),
      Forged("ForgedAndStale", With([](Message& m) {
               m.secret = "whsec_somebody-else";
               m.timestamp = "1600000000";
             })),
  };
}

std::vector<Case> StaleCases() {
  return {
      Stale("ReplayedAfterFiveMinutes", WithTimestamp(absl::StrCat(kNowSeconds - 301))),
      Stale("FromFiveMinutesAhead", WithTimestamp(absl::StrCat(kNowSeconds + 301))),
      Stale("FromLastYear", WithTimestamp("1668000000")),
      Stale("FromTheEpoch", WithTimestamp("0")),
      Stale("FromTheFarFuture", WithTimestamp("999999999999")),
      Stale("StaleUnderTheOtherSecret", With([](Message& m) {
              m.secret = kSecondSecret;
              m.timestamp = absl::StrCat(kNowSeconds - 301);
            })),
  };
}

std::vector<Case> MalformedHeaderCases() {
  const Message plain;
  const std::string twice = "webhook-id: msg_1\r\n";
  return {
      Malformed("NoId", With([](Message& m) { m.has_id = false; })),
      Malformed("NoTimestamp", With([](Message& m) { m.has_timestamp = false; })),
      Malformed("NoSignature", With([](Message& m) { m.has_signature = false; })),
      Malformed("TheIdTwice", WithMore(twice)),
      Malformed("TheTimestampTwice",
                WithMore(absl::StrCat("Webhook-Timestamp: ", kNowSeconds, "\r\n"))),
      Malformed("TheSignatureTwice",
                WithMore(absl::StrCat("Webhook-Signature: ", plain.RightSignature(), "\r\n"))),
      Malformed("AnEmptyId", With([](Message& m) { m.id = ""; })),
      Malformed("AnEndlessId", With([](Message& m) { m.id = std::string(300, 'm'); })),
      Malformed("AnEmptyTimestamp", WithTimestamp("")),
      Malformed("ATimestampInWords", WithTimestamp("now")),
      Malformed("ATimestampWithASign", WithTimestamp(absl::StrCat("+", kNowSeconds))),
      Malformed("ANegativeTimestamp", WithTimestamp(absl::StrCat("-", kNowSeconds))),
      Malformed("ATimestampWithAFraction", WithTimestamp(absl::StrCat(kNowSeconds, ".0"))),
      Malformed("ATimestampInHex", WithTimestamp("0x6553F100")),
      Malformed("ATimestampInMilliseconds", WithTimestamp(absl::StrCat(kNowSeconds, "000"))),
      Malformed("ATimestampThatOverflows", WithTimestamp(std::string(30, '9'))),
      Malformed("GzipAsContentEncoding", WithMore("Content-Encoding: gzip\r\n"), 415),
      Malformed("TwoContentEncodings",
                WithMore("Content-Encoding: identity\r\nContent-Encoding: gzip\r\n"), 415),
      Malformed("GzipAsTransferEncoding", WithFraming("Transfer-Encoding: gzip\r\n", kTask), 501),
      Malformed("GzipThenChunked",
                WithFraming("Transfer-Encoding: gzip, chunked\r\n", Chunked(kTask, 64)), 501),
      Malformed(
          "LengthAndChunked",
          WithFraming("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Chunked(kTask, 64))),
      Malformed("TwoLengths", WithFraming("Content-Length: 5\r\nContent-Length: 6\r\n", kTask)),
      Malformed("ANegativeLength", WithFraming("Content-Length: -1\r\n", kTask)),
      Malformed("ALengthInWords", WithFraming("Content-Length: many\r\n", kTask)),
      Malformed("AChunkOfNoSize",
                WithFraming("Transfer-Encoding: chunked\r\n", "zz\r\nab\r\n0\r\n\r\n")),
      Malformed("AnExpectationNobodyMeets", WithMore("Expect: a-miracle\r\n"), 417),
      Malformed("ANameWithASpace", WithMore("webhook id: msg_1\r\n")),
      Malformed("ASpaceBeforeTheColon", WithMore("X-Odd : 1\r\n")),
      Malformed("AZeroByteInAHeader", WithMore(std::string("X-Odd: a\0b\r\n", 12))),
      Malformed("ATrailerRepeatsASignedHeader",
                WithFraming("Transfer-Encoding: chunked\r\nTrailer: webhook-id\r\n",
                            absl::StrCat(absl::Hex(sizeof(kTask) - 1), "\r\n", kTask,
                                         "\r\n0\r\nwebhook-id: msg_2\r\n\r\n"))),
  };
}

std::vector<Case> MalformedRequestCases() {
  const std::string path = kPath;
  const std::string token = kToken;
  const auto method = [](const std::string& name) {
    return With([&](Message& m) { m.method = name; });
  };
  std::vector<Case> cases = {
      Malformed("Get", method("GET"), 405),
      Malformed("Put", method("PUT"), 405),
      Malformed("Patch", method("PATCH"), 405),
      Malformed("Delete", method("DELETE"), 405),
      Malformed("Options", method("OPTIONS"), 405),
      Malformed("PostInSmallLetters", method("post"), 405),
      Malformed("AMethodNobodyKnows", method("BREW"), 405),
      Malformed("TheRoot", WithTarget("/"), 404),
      Malformed("ThePathAlone", WithTarget(path), 404),
      Malformed("NoToken", WithTarget(path + "/"), 404),
      Malformed("AnotherPath", WithTarget("/hooks/" + token), 404),
      Malformed("ThePathInCapitals", WithTarget("/HOOKS/dreamgate/" + token), 404),
      Malformed("TheTokenInCapitals", WithTarget(path + "/0123456789ABCDEF0123456789ABCDEF"), 404),
      Malformed("ATokenTooShort", WithTarget(path + "/" + token.substr(1)), 404),
      Malformed("ATokenTooLong", WithTarget(path + "/" + token + "0"), 404),
      Malformed("ATokenThatIsNotHex", WithTarget(path + "/" + std::string(32, 'g')), 404),
      Malformed("ASlashAtTheEnd", WithTarget(path + "/" + token + "/"), 404),
      Malformed("ADoubleSlash", WithTarget(path + "//" + token), 404),
      Malformed("ADoubleSlashInFront", WithTarget("/" + path + "/" + token), 404),
      Malformed("ADot", WithTarget(path + "/./" + token), 404),
      Malformed("TwoDots", WithTarget(path + "/x/../" + token), 404),
      Malformed("AnEscapedDot", WithTarget(path + "/%2e/" + token), 404),
      Malformed("AnEscapedSlash", WithTarget(path + "%2f" + token), 404),
      Malformed("AnEscapedToken", WithTarget(path + "/%30" + token.substr(1)), 404),
      Malformed("AQuery", WithTarget(path + "/" + token + "?a=b"), 404),
      Malformed("AnEmptyQuery", WithTarget(path + "/" + token + "?"), 404),
      Malformed("AFragment", WithTarget(path + "/" + token + "#a"), 404),
      Malformed("APathParameter", WithTarget(path + "/" + token + ";a=b"), 404),
      Malformed("AnAbsoluteTarget", WithTarget("http://hooks.example" + path + "/" + token), 404),
      Malformed("AnAsterisk", WithTarget("*"), 404),
      Malformed("ABackslash", WithTarget(path + "\\" + token), 404),
      Malformed("NotJson", WithBody("id=task-1&status=completed")),
      Malformed("HalfAnObject", WithBody(R"({"id":"task-1")")),
      Malformed("TwoObjects", WithBody(R"({"id":"task-1"}{"id":"task-2"})")),
      Malformed("AList", WithBody(R"([{"id":"task-1"}])")),
      Malformed("NoTaskId", WithBody(R"({"status":"completed"})")),
      Malformed("ANumberAsTaskId", WithBody(R"({"id":17})")),
      Malformed("AnEmptyTaskId", WithBody(R"({"id":""})")),
      Malformed("ATaskIdThatLeavesItsPath", WithBody(R"({"id":"../models"})")),
      Malformed("ATaskIdWithAQuery", WithBody(R"({"id":"task-1?x=y"})")),
      Malformed("ATaskIdWithALineBreak", WithBody(R"({"id":"task-1\r\nX: y"})")),
      Malformed("AnEndlessTaskId",
                WithBody(absl::StrCat(R"({"id":")", std::string(200, 'a'), "\"}"))),
      Malformed("DeepNesting", WithBody(absl::StrCat(R"({"id":"a","x":)", std::string(5000, '['),
                                                     std::string(5000, ']'), "}"))),
      Malformed("Utf16", WithBody(std::string("\xFF\xFE{\0\"\0i\0d\0", 10))),
      Malformed("CompressedBytes", WithBody(std::string("\x1F\x8B\x08\0\0\0\0\0\0\x03", 10))),
      Malformed("ASignedEmptyBody", WithBody("")),
  };
  const std::vector<std::pair<std::string, std::string>> raw = {
      {"AHandshakeOfTls", std::string("\x16\x03\x01\x02\0\x01\0\x01\xFC\x03\x03\r\n\r\n", 15)},
      {"ThePrefaceOfHttp2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
      {"AVersionNobodyKnows", With([](Message& m) { m.version = "HTTP/9.9"; }).Text()},
      {"NoVersion", "POST /\r\n\r\n"},
      {"LineBreaksWithoutReturns", "POST / HTTP/1.1\nHost: a\n\n"},
      {"NoRequestAtAll", "\r\n\r\n\r\n\r\n"}};
  for (const auto& [name, bytes] : raw) cases.push_back({name, bytes, 400, "malformed"});
  return cases;
}

std::vector<Case> OversizeCases() {
  const std::string chunked = "Transfer-Encoding: chunked\r\n";
  std::string many;
  for (int i = 0; i < 2000; ++i) absl::StrAppend(&many, "X-", i, ": y\r\n");
  std::vector<std::pair<Message, int>> messages = {
      {WithBody(std::string(256 * 1024 + 1, 'x')), 413},
      {WithFraming("Content-Length: 99999999999\r\n", ""), 413},
      {WithFraming(chunked, Chunked(std::string(300'000, 'x'), 10'000)), 413},
      {WithFraming(chunked, "fffffff\r\nabc"), 413},
      {WithMore(absl::StrCat("X-Large: ", std::string(9000, 'a'), "\r\n")), 431},
      {WithMore(many), 431},
      {WithTarget(absl::StrCat(kPath, "/", std::string(9000, 'a'))), 431},
      {WithSignature("v3," + std::string(9000, '0')), 431},
      {WithFraming(chunked, absl::StrCat("1;", std::string(20'000, 'x'))), 431}};
  const std::vector<std::string> names = {
      "ABodyOneByteTooLarge", "ALengthBeyondReason", "TooManyChunks",
      "AChunkBeyondReason",   "AHugeHeader",         "TooManyHeaders",
      "AHugeTarget",          "AHugeSignature",      "AnEndlessChunkExtension"};
  std::vector<Case> cases;
  for (size_t i = 0; i < messages.size(); ++i) {
    cases.push_back({names[i], messages[i].first.Text(), messages[i].second, "oversize"});
  }
  return cases;
}

class WebhookTableTest : public WebhookReceiverTest, public ::testing::WithParamInterface<Case> {};

TEST_P(WebhookTableTest, IsJudged) {
  const std::string answer = Exchange(Start(), GetParam().request);
  EXPECT_THAT(answer, StartsWith(absl::StrCat("HTTP/1.1 ", GetParam().status, " ")));
  EXPECT_THAT(answer, HasSubstr("Connection: close\r\n"));
  EXPECT_THAT(events_.Outcomes(), ElementsAre(GetParam().outcome));
  if (GetParam().outcome == "accepted") {
    EXPECT_THAT(webhooks_.Seen(), ElementsAre(Pair(kToken, "task-1")));
  } else {
    EXPECT_THAT(webhooks_.Seen(), IsEmpty());
    EXPECT_THAT(answer, EndsWith("\n"));  // a short text
    EXPECT_LT(answer.size(), 400u);
  }
  EXPECT_THAT(events_.Lines(), Each(Not(AnyOf(HasSubstr(kToken), HasSubstr("cdn.example")))));
  EXPECT_THAT(answer, Not(AnyOf(HasSubstr(kToken), HasSubstr("task-1"))));
}

std::string NameOf(const ::testing::TestParamInfo<Case>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Genuine, WebhookTableTest, ::testing::ValuesIn(GenuineCases()), NameOf);
INSTANTIATE_TEST_SUITE_P(Forged, WebhookTableTest, ::testing::ValuesIn(ForgedCases()), NameOf);
INSTANTIATE_TEST_SUITE_P(Stale, WebhookTableTest, ::testing::ValuesIn(StaleCases()), NameOf);
INSTANTIATE_TEST_SUITE_P(MalformedHeader, WebhookTableTest,
                         ::testing::ValuesIn(MalformedHeaderCases()), NameOf);
INSTANTIATE_TEST_SUITE_P(MalformedRequest, WebhookTableTest,
                         ::testing::ValuesIn(MalformedRequestCases()), NameOf);
INSTANTIATE_TEST_SUITE_P(Oversize, WebhookTableTest, ::testing::ValuesIn(OversizeCases()), NameOf);

TEST_F(WebhookReceiverTest, WhatAnIndependentToolSignedIsTaken) {
  const uint16_t port = Start();
  const WebhookVector vector = ReadWebhookVectors().at(0);
  ASSERT_EQ(vector.secret, kSecret);
  Message message;
  message.id = vector.id;
  message.timestamp = vector.timestamp;
  message.body = vector.body;
  message.signature = "v3," + vector.signature;
  EXPECT_THAT(Exchange(port, message.Text()), StartsWith("HTTP/1.1 204 No Content\r\n"));
}

// --------------------------------------------------------------------------------- what the core says

TEST_F(WebhookReceiverTest, NothingIsAnsweredBeforeItIsRecorded) {
  webhooks_.Hold();
  RawClient client(Start());
  ASSERT_TRUE(client.Send(Message().Text()));
  ASSERT_TRUE(webhooks_.WaitFor(1));
  EXPECT_THAT(events_.Outcomes(), IsEmpty());
  webhooks_.Release();
  EXPECT_THAT(client.ReadAll(), StartsWith("HTTP/1.1 204 "));
}

TEST_F(WebhookReceiverTest, ATokenThatNoAttemptHasIsNotFound) {
  webhooks_.Answer(absl::NotFoundError("no attempt"));
  const std::string answer = Exchange(Start(), Message().Text());
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 404 Not Found\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nno submission waits for this\n"));
  EXPECT_THAT(events_.Outcomes(), ElementsAre("unknown"));
}

TEST_F(WebhookReceiverTest, WithTheLedgerInTroubleUpstreamIsToCallAgain) {
  webhooks_.Answer(core::MakeError(core::Reason::kLedgerUnavailable, "the disk is full"));
  const uint16_t port = Start();
  const std::string answer = Exchange(port, Message().Text());
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 503 Service Unavailable\r\n"));
  EXPECT_THAT(answer, HasSubstr("Retry-After: 5\r\n"));
  EXPECT_THAT(answer, Not(HasSubstr("disk")));
  webhooks_.Answer(absl::OkStatus());
  EXPECT_THAT(Exchange(port, Message().Text()), StartsWith("HTTP/1.1 204 "));
  EXPECT_THAT(events_.Outcomes(), ElementsAre("unavailable", "accepted"));
}

TEST_F(WebhookReceiverTest, WhatTakesTooLongToRecordIsToComeAgain) {
  WebhookOptions options;
  options.timeout = absl::Milliseconds(500);
  webhooks_.Hold();
  const uint16_t port = Start(options);
  EXPECT_THAT(Exchange(port, Message().Text()), StartsWith("HTTP/1.1 503 "));
  webhooks_.Release();  // recorded after all: nobody is there to receive it
  EXPECT_THAT(Exchange(port, Message().Text()), StartsWith("HTTP/1.1 204 "));
  EXPECT_THAT(events_.Outcomes(), ElementsAre("unavailable", "accepted"));
}

TEST_F(WebhookReceiverTest, AReplayWithinTheToleranceIsHandedOnAsTheSameEvidence) {
  const uint16_t port = Start();
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(Exchange(port, Message().Text()), StartsWith("HTTP/1.1 204 "));
  }
  EXPECT_THAT(webhooks_.Seen(), SizeIs(3));
  EXPECT_THAT(webhooks_.Seen(), Each(Pair(kToken, "task-1")));
}

TEST_F(WebhookReceiverTest, CopiesAtOnceAreAllAnswered) {
  webhooks_.Hold();
  const uint16_t port = Start();
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<RawClient>(port));
    ASSERT_TRUE(clients.back()->Send(Message().Text()));
  }
  ASSERT_TRUE(webhooks_.WaitFor(8));
  webhooks_.Release();
  for (const auto& client : clients) EXPECT_THAT(client->ReadAll(), StartsWith("HTTP/1.1 204 "));
}

TEST_F(WebhookReceiverTest, ReorderedWebhooksAreHandedOnAsTheyCome) {
  const uint16_t port = Start();
  const auto at = [](int64_t seconds, const std::string& body) {
    return With([&](Message& m) {
             m.timestamp = absl::StrCat(seconds);
             m.body = body;
           })
        .Text();
  };
  EXPECT_THAT(Exchange(port, at(kNowSeconds, R"({"id":"task-1","status":"completed"})")),
              StartsWith("HTTP/1.1 204 "));
  EXPECT_THAT(Exchange(port, at(kNowSeconds - 60, R"({"id":"task-1","status":"processing"})")),
              StartsWith("HTTP/1.1 204 "));
  EXPECT_THAT(webhooks_.Seen(), ElementsAre(Pair(kToken, "task-1"), Pair(kToken, "task-1")));
}

// ------------------------------------------------------------------------------------- connections

TEST_F(WebhookReceiverTest, AConnectionCarriesManyWebhooksAlsoPipelined) {
  RawClient client(Start());
  Message message;
  message.keep_alive = true;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(client.Send(message.Text()));
    EXPECT_THAT(client.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 204 "));
  }
  ASSERT_TRUE(client.Send(absl::StrCat(message.Text(), message.Text(), Message().Text())));
  const std::string answers = client.ReadAll();
  EXPECT_THAT(answers, EndsWith("Connection: close\r\nCache-Control: no-store\r\n\r\n"));
  EXPECT_THAT(webhooks_.Seen(), SizeIs(6));
}

TEST_F(WebhookReceiverTest, AfterARefusalNothingMoreIsReadFromAConnection) {
  Message forged = WithSignature("v3,0");
  forged.keep_alive = true;
  const std::string answer = Exchange(Start(), absl::StrCat(forged.Text(), Message().Text()));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 403 "));
  EXPECT_THAT(webhooks_.Seen(), IsEmpty());
  EXPECT_THAT(events_.Outcomes(), ElementsAre("forged"));
}

TEST_F(WebhookReceiverTest, HiddenInABodyASecondRequestIsNotRead) {
  // For one reader the body ends where the Content-Length says, for another with the last chunk.
  const std::string inner = Message().Text();
  Message outer = WithFraming("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
                              absl::StrCat("0\r\n\r\n", inner));
  outer.keep_alive = true;
  EXPECT_THAT(Exchange(Start(), outer.Text()), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(webhooks_.Seen(), IsEmpty());
}

TEST_F(WebhookReceiverTest, WhoAsksFirstIsToldToGoOn) {
  RawClient client(Start());
  const std::string text = WithMore("Expect: 100-Continue\r\n").Text();
  const size_t body = text.find("\r\n\r\n") + 4;
  ASSERT_TRUE(client.Send(text.substr(0, body)));
  EXPECT_EQ(client.ReadUntil("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  ASSERT_TRUE(client.Send(text.substr(body)));
  EXPECT_THAT(client.ReadAll(), StartsWith("HTTP/1.1 204 "));
}

TEST_F(WebhookReceiverTest, WhoAsksFirstWithABadHeaderIsToldSoAtOnce) {
  const uint16_t port = Start();
  for (const Message& message : {With([](Message& m) { m.has_signature = false; }), WithTarget("/"),
                                 WithFraming("Content-Length: 999999\r\n", "")}) {
    RawClient client(port);
    std::string text = message.Text();
    text = text.substr(0, text.find("\r\n\r\n"));
    ASSERT_TRUE(client.Send(absl::StrCat(text, "\r\nExpect: 100-continue\r\n\r\n")));
    EXPECT_THAT(client.ReadAll(), StartsWith("HTTP/1.1 4"));
  }
}

TEST_F(WebhookReceiverTest, ARequestInManyPiecesIsPutTogether) {
  RawClient client(Start());
  for (const char c : Message().Text()) ASSERT_TRUE(client.Send(std::string(1, c)));
  EXPECT_THAT(client.ReadAll(), StartsWith("HTTP/1.1 204 "));
}

TEST_F(WebhookReceiverTest, BytesThatDripDoNotKeepAConnectionOpen) {
  WebhookOptions options;
  options.timeout = absl::Milliseconds(500);
  RawClient client(Start(options));
  const std::string text =
      WithMore(absl::StrCat("X-Slow: ", std::string(7000, 's'), "\r\n")).Text();
  // The receiver ends it while we go on: a byte every time we look.
  size_t sent = 0;
  while (events_.Outcomes().empty() && client.Send(text.substr(sent % 7000, 1))) {
    ++sent;
    absl::SleepFor(absl::Milliseconds(1));
  }
  ASSERT_TRUE(events_.WaitForOutcomes(1));
  EXPECT_THAT(events_.Outcomes(), ElementsAre("incomplete"));
  EXPECT_THAT(webhooks_.Seen(), IsEmpty());
}

TEST_F(WebhookReceiverTest, ABodyThatStaysAwayIsWaitedForOnlySoLong) {
  WebhookOptions options;
  options.timeout = absl::Milliseconds(500);
  const uint16_t port = Start(options);
  EXPECT_EQ(Exchange(port, WithFraming("Content-Length: 100000\r\n", kTask).Text()), "");
  EXPECT_EQ(Exchange(port, "POST / HT"), "");
  EXPECT_THAT(events_.Outcomes(), ElementsAre("incomplete", "incomplete"));
}

TEST_F(WebhookReceiverTest, AClientThatLeavesInTheMiddleIsCounted) {
  const uint16_t port = Start();
  {
    RawClient client(port);
    ASSERT_TRUE(client.Send(WithFraming("Content-Length: 100000\r\n", kTask).Text()));
  }
  ASSERT_TRUE(events_.WaitForOutcomes(1));
  EXPECT_THAT(events_.Outcomes(), ElementsAre("incomplete"));
}

TEST_F(WebhookReceiverTest, AClientThatLeavesWhileItIsRecordedHarmsNothing) {
  webhooks_.Hold();
  const uint16_t port = Start();
  {
    RawClient client(port);
    ASSERT_TRUE(client.Send(Message().Text()));
    ASSERT_TRUE(webhooks_.WaitFor(1));
  }
  webhooks_.Release();
  ASSERT_TRUE(events_.WaitForOutcomes(1));
  EXPECT_THAT(Exchange(port, Message().Text()), StartsWith("HTTP/1.1 204 "));
}

TEST_F(WebhookReceiverTest, AnIdleConnectionIsClosedAndNotCounted) {
  WebhookOptions options;
  options.timeout = absl::Milliseconds(50);
  RawClient client(Start(options));
  EXPECT_EQ(client.ReadAll(), "");
  EXPECT_TRUE(client.closed_by_server());
  EXPECT_THAT(events_.Outcomes(), IsEmpty());
}

TEST_F(WebhookReceiverTest, AConnectionEndsAfterItsShareOfRequests) {
  WebhookOptions options;
  options.max_requests_per_connection = 2;
  RawClient client(Start(options));
  Message message;
  message.keep_alive = true;
  ASSERT_TRUE(client.Send(absl::StrCat(message.Text(), message.Text(), message.Text())));
  EXPECT_THAT(client.ReadAll(), HasSubstr("Connection: close\r\n"));
  EXPECT_THAT(webhooks_.Seen(), SizeIs(2));
}

TEST_F(WebhookReceiverTest, ConnectionsAboveTheCapAreRefusedUntilOneEnds) {
  WebhookOptions options;
  options.max_connections = 2;
  webhooks_.Hold();
  const uint16_t port = Start(options);
  auto first = std::make_unique<RawClient>(port);
  RawClient second(port);
  for (RawClient* client : {first.get(), &second}) ASSERT_TRUE(client->Send(Message().Text()));
  ASSERT_TRUE(webhooks_.WaitFor(2));
  const std::string refused = RawClient(port).ReadAll();
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(refused, HasSubstr("Retry-After: "));
  EXPECT_THAT(events_.Outcomes(), ElementsAre("busy"));

  webhooks_.Release();
  EXPECT_THAT(first->ReadAll(), StartsWith("HTTP/1.1 204 "));
  EXPECT_THAT(second.ReadAll(), StartsWith("HTTP/1.1 204 "));
  first.reset();
  std::string answer;
  for (int tries = 0; tries < 10'000 && !absl::StartsWith(answer, "HTTP/1.1 204"); ++tries) {
    answer = Exchange(port, Message().Text());
  }
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 204 "));
}

TEST_F(WebhookReceiverTest, SlowConnectionsDoNotTakeThePlaceOfHonestWebhooks) {
  WebhookOptions options;
  options.max_connections = 4;
  options.timeout = absl::Minutes(5);  // nothing ends in time by itself
  const uint16_t port = Start(options);
  const std::string text = Message().Text();
  std::vector<std::unique_ptr<RawClient>> slow;
  for (int i = 0; i < 20; ++i) {
    slow.push_back(std::make_unique<RawClient>(port));
    ASSERT_TRUE(slow.back()->Send(absl::StrCat(text.substr(0, text.find("\r\n\r\n")), "\r\nX: ")));
    for (const auto& client : slow) client->Send("s");  // as long as they are let
    EXPECT_THAT(Exchange(port, text), StartsWith("HTTP/1.1 204 "));
  }
  EXPECT_THAT(webhooks_.Seen(), SizeIs(20));
  EXPECT_THAT(events_.Outcomes(), Contains("busy"));
}

TEST_F(WebhookReceiverTest, RefusalsOfAKindAreLoggedOnceAMinuteWhateverStrangersDo) {
  const uint16_t port = Start();
  for (int i = 0; i < 5; ++i) {
    Exchange(port, WithSignature("v3,0").Text());
    Exchange(port, WithTimestamp("1600000000").Text());
    Exchange(port, WithTarget("/nothing").Text());
  }
  EXPECT_THAT(events_.Outcomes(), SizeIs(15));
  EXPECT_THAT(events_.Warnings(),
              ElementsAre(HasSubstr("outcome=forged"), HasSubstr("outcome=stale")));
}

// ------------------------------------------------------------------------------ paths and secrets

TEST_F(WebhookReceiverTest, AnUrlWithoutAPathHasItsTokensAtTheRoot) {
  auto secrets = WebhookSecrets::FromFile(file_, events_);
  const auto receiver = StartWebhookReceiver(
      loop_, {}, *std::move(secrets), clock_, events_,
      [this](std::string token, std::string upstream_id, core::Completion<absl::Status> done) {
        webhooks_.OnWebhook(std::move(token), std::move(upstream_id), std::move(done));
      });
  ASSERT_TRUE(receiver.ok());
  EXPECT_THAT(Exchange((*receiver)->port(), WithTarget(absl::StrCat("/", kToken)).Text()),
              StartsWith("HTTP/1.1 204 "));
  EXPECT_THAT(Exchange((*receiver)->port(), WithTarget(kToken).Text()), StartsWith("HTTP/1.1 4"));
}

TEST_F(WebhookReceiverTest, ARotatedSecretIsTakenUpAndTheRetiredOneForgotten) {
  const uint16_t port = Start();
  const std::string third = With([](Message& m) { m.secret = "whsec_the-third"; }).Text();
  EXPECT_THAT(Exchange(port, third), StartsWith("HTTP/1.1 403 "));
  WriteSecrets(absl::StrCat(kSecondSecret, "\nwhsec_the-third\n"));
  EXPECT_THAT(Exchange(port, third), StartsWith("HTTP/1.1 403 "));  // not looked at yet
  files_time_ += absl::Seconds(1);
  EXPECT_THAT(Exchange(port, third), StartsWith("HTTP/1.1 204 "));
  EXPECT_THAT(Exchange(port, Message().Text()), StartsWith("HTTP/1.1 403 "));
}

// --------------------------------------------------------------------------------------------- ends

TEST_F(WebhookReceiverTest, DestroyingItClosesItsConnectionsAlsoWhileTheyWait) {
  webhooks_.Hold();
  const uint16_t port = Start();
  RawClient idle(port);
  RawClient waiting(port);
  ASSERT_TRUE(waiting.Send(Message().Text()));
  ASSERT_TRUE(webhooks_.WaitFor(1));
  receiver_.reset();
  EXPECT_EQ(idle.ReadAll(), "");
  EXPECT_EQ(waiting.ReadAll(), "");
  EXPECT_TRUE(waiting.closed_by_server());
  EXPECT_FALSE(RawClient(port).connected());
  webhooks_.Release();  // nobody is there to receive it
}

// ---------------------------------------------------------------------------------------------- TLS

// One request over TLS; everything that was answered.
std::string TlsExchange(uint16_t port, const std::string& ca_file, const std::string& request) {
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()),
                                                                  &SSL_CTX_free);
  SSL_CTX_load_verify_file(context.get(), ca_file.c_str());
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  BIO* connection = BIO_new_ssl_connect(context.get());
  const std::unique_ptr<BIO, decltype(&BIO_free_all)> owner(connection, &BIO_free_all);
  BIO_set_conn_hostname(connection, absl::StrCat("127.0.0.1:", port).c_str());
  if (BIO_do_connect(connection) != 1) return "no connection";
  if (BIO_write(connection, request.data(), static_cast<int>(request.size())) <= 0)
    return "not sent";
  std::string answer;
  char chunk[4096];
  for (int count = 0; (count = BIO_read(connection, chunk, sizeof chunk)) > 0;) {
    answer.append(chunk, static_cast<size_t>(count));
  }
  return answer;
}

class WebhookTlsTest : public WebhookReceiverTest {
 protected:
  WebhookOptions Tls(absl::Duration timeout = absl::Seconds(10)) {
    WebhookOptions options;
    options.timeout = timeout;
    options.tls =
        net::ServerTls::FromFiles(certificates_.chain_file(), certificates_.key_file(), [this] {
          return files_time_;
        }).value();
    return options;
  }

  const net_test::TestCertificates certificates_{"IP:127.0.0.1"};
};

TEST_F(WebhookTlsTest, WebhooksComeOverTls) {
  const uint16_t port = Start(Tls());
  EXPECT_THAT(TlsExchange(port, certificates_.ca_file(), Message().Text()),
              StartsWith("HTTP/1.1 204 "));
  EXPECT_THAT(TlsExchange(port, certificates_.ca_file(), WithSignature("v3,0").Text()),
              StartsWith("HTTP/1.1 403 "));
  const std::string large(200'000, 'x');
  EXPECT_THAT(TlsExchange(port, certificates_.ca_file(), WithBody(large).Text()),
              StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(events_.Outcomes(), ElementsAre("accepted", "forged", "malformed"));
}

TEST_F(WebhookTlsTest, ARenewedCertificateIsShownToTheNextConnectionOnceItsKeyIsThereToo) {
  const net_test::TestCertificates renewed("IP:127.0.0.1");
  const uint16_t port = Start(Tls());
  const auto overwrite = std::filesystem::copy_options::overwrite_existing;
  std::filesystem::copy_file(renewed.chain_file(), certificates_.chain_file(), overwrite);
  for (int i = 0; i < 2; ++i) {
    files_time_ += absl::Seconds(1);
    EXPECT_EQ(TlsExchange(port, renewed.ca_file(), Message().Text()), "no connection");
  }
  EXPECT_THAT(events_.Warnings(), ElementsAre(HasSubstr(certificates_.key_file())));
  std::filesystem::copy_file(renewed.key_file(), certificates_.key_file(), overwrite);
  files_time_ += absl::Seconds(1);
  EXPECT_THAT(TlsExchange(port, renewed.ca_file(), Message().Text()), StartsWith("HTTP/1.1 204 "));
}

TEST_F(WebhookTlsTest, PlainHttpIsNotServedThen) {
  const std::string answer = Exchange(Start(Tls()), Message().Text());
  EXPECT_THAT(answer, Not(HasSubstr("HTTP/1.1")));
  EXPECT_THAT(webhooks_.Seen(), IsEmpty());
}

TEST_F(WebhookTlsTest, AHandshakeThatStaysAwayIsWaitedForOnlySoLong) {
  RawClient client(Start(Tls(absl::Milliseconds(50))));
  EXPECT_EQ(client.ReadAll(), "");
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(WebhookTlsTest, ConnectionsAboveTheCapAreClosed) {
  WebhookOptions options = Tls();
  options.max_connections = 0;
  RawClient client(Start(options));
  EXPECT_EQ(client.ReadAll(), "");
  EXPECT_TRUE(client.closed_by_server());
  EXPECT_THAT(events_.Outcomes(), Contains("busy"));
}

}  // namespace
}  // namespace dreamgate::web

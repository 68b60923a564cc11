#include "server/api/admission.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/core/errors.h"
#include "server/crypto/crypto.h"

namespace dreamgate::api {
namespace {

absl::Status TooMany(core::Reason reason, absl::string_view what) {
  core::ErrorDetails details;
  // 0.5 to 1.5 s.
  details.retry_after = absl::Milliseconds(500 + static_cast<int64_t>(crypto::RandomU64() % 1000));
  return core::MakeError(
      reason, absl::StrCat("too many ", what, "; try again after the given delay"), details);
}

}  // namespace

std::string PeerAddress(absl::string_view grpc_peer) {
  absl::string_view address = grpc_peer;
  const bool v6 = absl::ConsumePrefix(&address, "ipv6:");
  if (!v6 && !absl::ConsumePrefix(&address, "ipv4:")) return std::string(grpc_peer);
  const size_t port = address.rfind(':');
  if (port != absl::string_view::npos) address = address.substr(0, port);
  // The brackets of IPv6 come percent-encoded since gRPC 1.40, plain before.
  if (!absl::ConsumePrefix(&address, "%5B")) absl::ConsumePrefix(&address, "[");
  if (!absl::ConsumeSuffix(&address, "%5D")) absl::ConsumeSuffix(&address, "]");
  // A dual-stack socket shows IPv4 callers as mapped addresses.
  absl::ConsumePrefix(&address, "::ffff:");
  return std::string(address);
}

std::shared_ptr<Admission> Admission::Create(const AdmissionLimits& limits) {
  return absl::WrapUnique(new Admission(limits));
}

absl::StatusOr<Admission::Ticket> Admission::AdmitStream(absl::string_view peer) {
  return Admit(peer, &Counters::streams, limits_.streams, limits_.streams_per_peer);
}

absl::StatusOr<Admission::Ticket> Admission::AdmitRequest(absl::string_view peer) {
  return Admit(peer, &Counters::requests, limits_.requests, limits_.requests_per_peer);
}

int64_t Admission::streams() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return total_.streams;
}

int64_t Admission::requests() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return total_.requests;
}

absl::StatusOr<Admission::Ticket> Admission::Admit(absl::string_view peer,
                                                   int64_t Counters::*counter, int64_t limit,
                                                   int64_t limit_per_peer) {
  const bool is_stream = counter == &Counters::streams;
  const auto reason = is_stream ? core::Reason::kTooManyStreams : core::Reason::kTooManyRequests;
  const absl::string_view what = is_stream ? "streams" : "requests in flight";
  std::string address = PeerAddress(peer);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (limit > 0 && total_.*counter >= limit) return TooMany(reason, what);
  const auto known = peers_.find(address);
  const int64_t held = known == peers_.end() ? 0 : known->second.*counter;
  if (limit_per_peer > 0 && held >= limit_per_peer) {
    return TooMany(reason, absl::StrCat(what, " from your address"));
  }
  Ticket ticket;
  ticket.admission_ = shared_from_this();
  ticket.peer_ =
      known != peers_.end() ? known : peers_.emplace(std::move(address), Counters{}).first;
  ticket.counter_ = counter;
  total_.*counter += 1;
  ticket.peer_->second.*counter += 1;
  return ticket;
}

void Admission::Release(Peers::iterator peer, int64_t Counters::*counter) {
  const std::lock_guard<std::mutex> lock(mutex_);
  total_.*counter -= 1;
  peer->second.*counter -= 1;
  if (peer->second.streams == 0 && peer->second.requests == 0) peers_.erase(peer);
}

Admission::Ticket& Admission::Ticket::operator=(Ticket&& other) noexcept {
  if (this == &other) return *this;
  Release();
  admission_ = std::move(other.admission_);
  peer_ = other.peer_;
  counter_ = other.counter_;
  return *this;
}

void Admission::Ticket::Release() {
  if (admission_ == nullptr) return;
  std::exchange(admission_, nullptr)->Release(peer_, counter_);
}

}  // namespace dreamgate::api

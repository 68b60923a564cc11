// Counts streams and requests, in total and per peer, and refuses what is too much before any work
// is done for it. gRPC's own limits queue instead of refusing, so this is the only guard. Owned by
// GrpcServer and, since a ticket may outlive the server, by every ticket; entered on any thread.
#ifndef DREAMGATE_SERVER_API_ADMISSION_H_
#define DREAMGATE_SERVER_API_ADMISSION_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace dreamgate::api {

// 0 means no limit.
struct AdmissionLimits {
  int64_t streams = 50'000;
  int64_t streams_per_peer = 20'000;
  int64_t requests = 4'096;  // unary calls in flight
  int64_t requests_per_peer = 1'024;
};

// "203.0.113.7" of "ipv4:203.0.113.7:40112", "2001:db8::7" of "ipv6:%5B2001:db8::7%5D:40112";
// anything else as it is. Callers behind one address share its limits.
std::string PeerAddress(absl::string_view grpc_peer);

class Admission : public std::enable_shared_from_this<Admission> {
 public:
  // A place; released on destruction.
  class Ticket;

  static std::shared_ptr<Admission> Create(const AdmissionLimits& limits);
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

  // `peer` as grpc::ServerContext::peer() gives it. Errors: TOO_MANY_STREAMS, TOO_MANY_REQUESTS,
  // each with a RetryInfo of about a second, spread so that the refused do not come back at once.
  absl::StatusOr<Ticket> AdmitStream(absl::string_view peer);
  absl::StatusOr<Ticket> AdmitRequest(absl::string_view peer);

  int64_t streams() const;
  int64_t requests() const;

 private:
  struct Counters {
    int64_t streams = 0;
    int64_t requests = 0;
  };
  using Peers = std::map<std::string, Counters>;

  explicit Admission(const AdmissionLimits& limits) : limits_(limits) {}
  absl::StatusOr<Ticket> Admit(absl::string_view peer, int64_t Counters::*counter, int64_t limit,
                               int64_t limit_per_peer);
  void Release(Peers::iterator peer, int64_t Counters::*counter);

  const AdmissionLimits limits_;
  mutable std::mutex mutex_;
  Counters total_ ABSL_GUARDED_BY(mutex_);
  Peers peers_ ABSL_GUARDED_BY(mutex_);  // only peers that hold tickets
};

class Admission::Ticket {
 public:
  Ticket() = default;
  Ticket(Ticket&& other) noexcept { *this = static_cast<Ticket&&>(other); }
  Ticket& operator=(Ticket&& other) noexcept;
  ~Ticket() { Release(); }

  // Early. May be repeated.
  void Release();

 private:
  friend class Admission;
  std::shared_ptr<Admission> admission_;  // null: holds nothing
  Peers::iterator peer_;
  int64_t Counters::*counter_ = nullptr;
};

}  // namespace dreamgate::api

#endif  // DREAMGATE_SERVER_API_ADMISSION_H_

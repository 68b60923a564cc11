// The client against the simulator: every fault it knows meets a POST and a GET. Whatever happens,
// one CreateTask is one POST on the wire, and what the client says about it is true.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <string>
#include <utility>

#include "tests/net/test_certificates.h"
#include "tests/simulator/simulator.h"
#include "tests/upstream/client_fixture.h"

namespace dreamgate::upstream {
namespace {

using simulator::Fault;
using simulator::FaultAction;
using simulator::Simulator;

enum class Says { kAccepted, kRejected, kUnknown };

struct MatrixRow {
  const char* name;
  Fault fault;
  Says create;
  bool get_observes;
};
void PrintTo(const MatrixRow& row, std::ostream* out) { *out << row.name; }

class FaultMatrixTest : public ClientTest,
                        public ::testing::WithParamInterface<std::tuple<MatrixRow, bool /*tls*/>> {
 protected:
  void Start() {
    simulator::Options options;
    WaveSpeedOptions client;
    if (std::get<1>(GetParam())) {
      certificates_ = std::make_unique<net_test::TestCertificates>("IP:127.0.0.1");
      options.tls_certificate_file = certificates_->chain_file();
      options.tls_private_key_file = certificates_->key_file();
      client.ca_file = certificates_->ca_file();
    }
    auto started = Simulator::Start(options);
    ASSERT_TRUE(started.ok()) << started.status();
    simulator_ = *std::move(started);
    client.late_answer_timeout = absl::Seconds(2);
    client.get_timeout = absl::Seconds(2);
    MakeClient(simulator_->base_url(), client, *ApiKey::FromText("simulator-key"));
  }

  ~FaultMatrixTest() override {
    if (client_ != nullptr) CloseClient();  // before the simulator goes
  }

  std::unique_ptr<net_test::TestCertificates> certificates_;
  std::unique_ptr<Simulator> simulator_;
};

TEST_P(FaultMatrixTest, OneCreateIsAtMostOnePostAndItsOutcomeIsTrue) {
  ASSERT_NO_FATAL_FAILURE(Start());
  const MatrixRow& row = std::get<0>(GetParam());
  simulator_->AddFault(row.fault);
  const core::CreateOutcome outcome = Create();
  switch (row.create) {
    case Says::kAccepted: EXPECT_TRUE(Accepted(outcome)) << MessageOf(outcome); break;
    case Says::kUnknown: EXPECT_TRUE(Unknown(outcome)) << outcome.index(); break;
    case Says::kRejected:
      EXPECT_TRUE(std::holds_alternative<core::CreateRejected>(outcome)) << MessageOf(outcome);
      break;
  }
  CloseClient();
  EXPECT_LE(simulator_->Count("POST", simulator_->SubmitPath()), 1u);
  if (row.create == Says::kAccepted) {
    ASSERT_EQ(simulator_->TasksCreated(), 1u);
    EXPECT_EQ(std::get<core::CreateAccepted>(outcome).task.upstream_id, simulator_->TaskIds()[0]);
  }
  if (row.create == Says::kRejected) {
    EXPECT_EQ(simulator_->TasksCreated(), 0u);
  }
}

TEST_P(FaultMatrixTest, AGetObservesOrFailsAndTheNextOneObserves) {
  ASSERT_NO_FATAL_FAILURE(Start());
  const MatrixRow& row = std::get<0>(GetParam());
  const core::CreateOutcome created = Create();
  ASSERT_TRUE(Accepted(created));
  const std::string id = std::get<core::CreateAccepted>(created).task.upstream_id;
  Fault fault = row.fault;
  if (fault.method == "POST") fault.method = "GET";
  simulator_->AddFault(fault);
  const core::PollOutcome first = Get(id);
  // A reset that met a pooled connection before any byte of the answer is healed by a second GET.
  if (row.get_observes) {
    EXPECT_TRUE(Observed(first));
  }
  EXPECT_TRUE(Observed(Get(id)));
}

MatrixRow Row(
    const char* name, FaultAction action, Says create, bool get_observes,
    void (*change)(Fault&) = [](Fault&) {}) {
  Fault fault;
  fault.method = "POST";
  fault.action = action;
  change(fault);
  return {name, fault, create, get_observes};
}

const auto kCreating = [](Fault& fault) { fault.create_task = true; };

INSTANTIATE_TEST_SUITE_P(
    All, FaultMatrixTest,
    ::testing::Combine(
        ::testing::Values(
            Row("Latency", FaultAction::kLatency, Says::kAccepted, true,
                [](Fault& f) { f.delay = absl::Milliseconds(20); }),
            Row("ResetBeforeRequest", FaultAction::kResetBeforeRequest, Says::kUnknown, false),
            Row("ResetAfterRequest", FaultAction::kResetAfterRequest, Says::kUnknown, false),
            Row("ResetAfterCreation", FaultAction::kResetAfterRequest, Says::kUnknown, false,
                kCreating),
            Row("CloseMidBody", FaultAction::kCloseMidBody, Says::kUnknown, false, kCreating),
            Row("SlowBytes", FaultAction::kSlowBytes, Says::kAccepted, true,
                [](Fault& f) { f.bytes = 50; }),
            Row("NotJson", FaultAction::kNotJson, Says::kUnknown, false),
            Row("WrongContentType", FaultAction::kWrongContentType, Says::kAccepted, true),
            Row("HugeBody", FaultAction::kHugeBody, Says::kUnknown, false,
                [](Fault& f) { f.bytes = 4 << 20; }),
            Row("Redirect", FaultAction::kRedirect, Says::kRejected, false,
                [](Fault& f) { f.location = "http://127.0.0.1:1/"; }),
            Row("BadRequest", FaultAction::kStatus, Says::kRejected, false,
                [](Fault& f) { f.status = 400; }),
            Row("ServerErrorBeforeCreation", FaultAction::kStatus, Says::kUnknown, false,
                [](Fault& f) { f.status = 500; }),
            Row("ServerErrorAfterCreation", FaultAction::kStatus, Says::kUnknown, false,
                [](Fault& f) {
                  f.status = 503;
                  f.create_task = true;
                }),
            Row("RateLimited", FaultAction::kRateLimited, Says::kRejected, false,
                [](Fault& f) { f.retry_after = "3"; }),
            Row("UnknownStatus", FaultAction::kUnknownStatus, Says::kAccepted, true,
                [](Fault& f) { f.text = "warming"; }),
            Row("EnvelopeError", FaultAction::kEnvelopeError, Says::kUnknown, false),
            Row("NoId", FaultAction::kNoId, Says::kUnknown, true),
            Row("InterimResponses", FaultAction::kInterimResponses, Says::kAccepted, true,
                [](Fault& f) { f.count = 3; }),
            Row("HugeChunkExtension", FaultAction::kHugeChunkExtension, Says::kUnknown, false,
                [](Fault& f) { f.bytes = 200'000; }),
            Row("CloseDelimited", FaultAction::kCloseDelimited, Says::kAccepted, true)),
        ::testing::Bool()),
    [](const auto& row) {
      return std::string(std::get<0>(row.param).name) + (std::get<1>(row.param) ? "Tls" : "Plain");
    });

}  // namespace
}  // namespace dreamgate::upstream

#include "server/ledger/schema.h"

namespace dreamgate::ledger {
namespace {

// Times are nanoseconds since 1970, durations nanoseconds. Columns named *_json hold compact JSON.
// Prediction ids rise with time, so clustering on them makes inserts append. In `predictions` the
// long columns come last, so that a scan for a list does not read them.
constexpr char kStep1[] = R"sql(
CREATE TABLE owner (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  epoch INTEGER NOT NULL            -- rises each time a process opens the ledger
);
INSERT INTO owner (one, epoch) VALUES (1, 0);

CREATE TABLE predictions (
  tenant TEXT NOT NULL,
  prediction_id TEXT NOT NULL,

  state INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  visible INTEGER NOT NULL,         -- 1: may be shown to callers
  rejected INTEGER NOT NULL,        -- 1: definitely refused upstream, kept as evidence
  request_id_taken INTEGER NOT NULL,-- 0: another prediction may use the request id
  owner_epoch INTEGER NOT NULL,     -- 0: nobody's, terminal or rejected
  lease_until INTEGER,
  end_time INTEGER,                 -- NULL: unfinished; else when it became terminal or rejected

  request_id TEXT NOT NULL,
  create_time INTEGER NOT NULL,
  model TEXT NOT NULL,
  aspect_ratio INTEGER NOT NULL,
  asked_seed INTEGER,
  seed INTEGER NOT NULL,
  key_fingerprint TEXT NOT NULL,
  rejection_reason INTEGER,         -- these three: a remembered rejection
  rejection_message TEXT,
  rejection_metadata_json TEXT,
  labels_json TEXT,
  prompt TEXT NOT NULL,
  canonical BLOB NOT NULL,
  PRIMARY KEY (tenant, prediction_id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX predictions_by_request_id ON predictions (tenant, request_id)
  WHERE request_id_taken = 1;
CREATE INDEX predictions_unfinished ON predictions (tenant, prediction_id) WHERE end_time IS NULL;
CREATE INDEX predictions_by_end_time ON predictions (end_time) WHERE end_time IS NOT NULL;

CREATE TABLE transitions (
  tenant TEXT NOT NULL,
  prediction_id TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  state INTEGER NOT NULL,
  time INTEGER NOT NULL,
  source INTEGER NOT NULL,
  upstream_id TEXT,                 -- from here on NULL means unchanged
  upstream_status TEXT,
  outputs_json TEXT,
  recovered_outputs_json TEXT,
  failure_json TEXT,
  inference_time INTEGER,
  upstream_create_time INTEGER,
  PRIMARY KEY (tenant, prediction_id, sequence)
) WITHOUT ROWID;

CREATE TABLE attempts (
  tenant TEXT NOT NULL,
  prediction_id TEXT NOT NULL,
  number INTEGER NOT NULL,
  token TEXT NOT NULL,
  start_time INTEGER NOT NULL,
  outcome INTEGER,                  -- NULL: not known yet
  outcome_time INTEGER,
  upstream_id TEXT,
  http_status INTEGER,
  message TEXT,
  PRIMARY KEY (tenant, prediction_id, number)
) WITHOUT ROWID;
CREATE INDEX attempts_by_token ON attempts (token);
CREATE INDEX attempts_by_upstream_id ON attempts (upstream_id) WHERE upstream_id IS NOT NULL;
)sql";

// Tasks that were paid for and that no live prediction follows. Their videos are kept beside the
// prediction and no longer in a transition of it: that column was never written by any server.
constexpr char kStep2[] = R"sql(
CREATE TABLE orphans (
  tenant TEXT NOT NULL,
  prediction_id TEXT NOT NULL,
  upstream_id TEXT NOT NULL,
  attempt_number INTEGER NOT NULL,
  found_time INTEGER NOT NULL,
  end_time INTEGER,                 -- NULL: it is still looked at
  outputs_json TEXT,                -- NULL: no videos, or none yet
  PRIMARY KEY (tenant, prediction_id, upstream_id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX orphans_by_upstream_id ON orphans (upstream_id);
ALTER TABLE transitions DROP COLUMN recovered_outputs_json;

-- Attempts that may have created a task which nobody has, and those that have created one.
CREATE INDEX attempts_open ON attempts (start_time) WHERE outcome IS NULL OR outcome IN (4, 5);
CREATE INDEX attempts_accepted ON attempts (start_time) WHERE outcome = 1;
)sql";

// What was learned of each model, for as long as the ledger lives.
constexpr char kStep3[] = R"sql(
CREATE TABLE learned (
  model TEXT PRIMARY KEY,
  bytes BLOB NOT NULL               -- only core can read them
) WITHOUT ROWID;
)sql";

constexpr const char* kSteps[] = {kStep1, kStep2, kStep3};

}  // namespace

absl::Span<const char* const> SchemaSteps() { return kSteps; }

}  // namespace dreamgate::ledger

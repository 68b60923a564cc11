#!/usr/bin/env bash
# A generic client against the running server: grpcurl, which knows the contract only by reflection.
#   tests/interop/run.sh [BUILD_DIR]     default build/quickstart; needs Go
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${1:-build/quickstart}
GRPCURL_VERSION=v1.8.9 # builds with the Go of Debian 12, too
grpcurl=$PWD/build/tools/go/grpcurl
work=$(mktemp -d)
started=()

stop() {
  local pid
  for pid in "${started[@]}"; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap stop EXIT

fail() {
  echo "interop: $1" >&2
  exit 1
}

wait_for() { # wait_for FILE PID
  local deadline=$((SECONDS + 30))
  until [ -s "$1" ]; do
    if ! kill -0 "$2" 2>/dev/null || [ $SECONDS -gt $deadline ]; then
      cat "$work"/*.log >&2
      fail "a program did not start"
    fi
    sleep 0.05
  done
}

# expect WHAT PATTERN FILE
expect() {
  grep -qE -- "$2" "$3" || {
    cat "$3" >&2
    fail "$1: no match for $2"
  }
  echo "  $1"
}

if [ ! -x "$grpcurl" ]; then
  GOBIN=$(dirname "$grpcurl") go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$GRPCURL_VERSION"
fi

"$build/tests/simulator/wavespeed-simulator" --port 0 --port-file "$work/simulator" \
  --api-key simulator-key --created-for 200ms --processing-for 200ms >"$work/simulator.log" 2>&1 &
started+=($!)
wait_for "$work/simulator" $!
WAVESPEED_API_KEY=simulator-key "$build/server/app/dreamgated" --listen-address 127.0.0.1:0 \
  --admin-address 127.0.0.1:0 --ports-file "$work/ports" --ledger-path "$work/ledger.db" \
  --upstream-base-url "http://127.0.0.1:$(<"$work/simulator")" --poll-min-interval 50ms \
  --poll-max-interval 50ms --shutdown-grace 0s >"$work/server.log" 2>&1 &
started+=($!)
wait_for "$work/ports" $!
server=127.0.0.1:$(sed -n 's/^grpc=//p' "$work/ports")

call() { # call FILE ARGUMENTS...: both streams into FILE; errors are looked at by their text
  local file=$1
  shift
  "$grpcurl" -plaintext "$@" >"$work/$file" 2>&1 || true
}

call list "$server" list
expect "reflection lists the service" '^dreamgate.v1.VideoService$' "$work/list"
expect "reflection lists health" '^grpc.health.v1.Health$' "$work/list"
call describe "$server" describe dreamgate.v1.VideoService.WatchPrediction
expect "reflection describes a method" 'stream .dreamgate.v1.WatchPredictionResponse' "$work/describe"
call submit -d '{"prompt": "a red kite", "request_id": "interop-1", "aspect_ratio": "ASPECT_RATIO_9_16"}' \
  "$server" dreamgate.v1.VideoService/SubmitVideo
expect "a submission is accepted" 'PREDICTION_STATE_CREATED' "$work/submit"
id=$(sed -n 's/^    "id": "\(.*\)",$/\1/p' "$work/submit")
call watch -max-time 30 -d "{\"prediction_id\": \"$id\", \"after_sequence\": 0}" "$server" \
  dreamgate.v1.VideoService/WatchPrediction
expect "a watch replays and ends" 'PREDICTION_STATE_COMPLETED' "$work/watch"
expect "the video's address arrives" '"url": "http' "$work/watch"
call invalid -d '{"prompt": "", "seed": -7}' "$server" dreamgate.v1.VideoService/SubmitVideo
expect "an error has its code" 'InvalidArgument' "$work/invalid"
expect "an error names the field" 'seed' "$work/invalid"
echo "a generic client works by reflection"

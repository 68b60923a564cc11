#!/usr/bin/env bash
# Builds preset fuzz and runs every fuzzer for SECONDS (60 unless told; the small one for a quarter), as
# many at once as there are cores. Ends with 1 on a finding, after naming the file that reproduces it.
#   tests/fuzz/run.sh [SECONDS]
# What the fuzzers learn is kept below build/fuzz/corpus and used the next time. An input that once
# found something belongs into tests/fuzz/corpus/<fuzzer>.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-60}
if ! [[ $seconds =~ ^[1-9][0-9]{0,6}$ ]]; then
  echo "usage: tests/fuzz/run.sh [SECONDS]" >&2
  exit 2
fi
jobs=$(nproc)
out=$PWD/build/fuzz
# Shared between checkouts: the folder's name is no part of what is compiled.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=true

# Every fuzz_*.cc is one. The short one happens to be the last of them, so that no core waits for it.
mapfile -t fuzzers < <(cd tests/fuzz && printf '%s\n' fuzz_*.cc | sed 's/\.cc$//')

build() {
  cmake --preset fuzz
  cmake --build --preset fuzz --parallel "$jobs" --target "${fuzzers[@]}"
}

# The text seeds of requests, in wire form as well: small letters select the one, capitals the other.
encode_seeds() {
  local from=$1 to=$2 seed kind message
  for seed in "$from"/*.txt; do
    kind=$(head -c 1 "$seed")
    case "$kind" in
      s) message=SubmitVideoRequest ;;
      l | k) message=ListPredictionsRequest ;;
      w) message=WatchPredictionRequest ;;
      *) continue ;; # found by a fuzzer, not written by hand
    esac
    {
      printf '%s' "${kind^^}"
      # Fails where a seed breaks the rules of text; half a message is a seed, too.
      tail -c +2 "$seed" | protoc -I proto --encode="dreamgate.v1.$message" \
        dreamgate/v1/video_service.proto || true
    } >"$to/$(basename "$seed" .txt).wire" 2>/dev/null
  done
}

fuzz() {
  local name=$1 learned=$out/corpus/$1 seeds=$PWD/tests/fuzz/corpus/$1 time=$seconds
  # Reaches all there is within seconds.
  [ "$name" != fuzz_url_and_config ] || time=$((seconds / 4 + 1))
  mkdir -p "$learned" "$out/findings"
  [ "$name" != fuzz_request_validation ] || encode_seeds "$seeds" "$learned"
  exec "$out/tests/fuzz/$name" \
    -max_total_time="$time" -timeout=10 -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1 \
    -dict="tests/fuzz/$name.dict" -artifact_prefix="$out/findings/$name-" \
    "$learned" "$seeds" >"$out/$name.log" 2>&1 </dev/null
}

# One line: "fuzz_url_and_config: ok, 123456 runs in 61 s, 789 edges covered".
summarize() {
  local name=$1 verdict=$2 log=$out/$1.log runs took edges
  runs=$(awk '/^stat::number_of_executed_units:/ {print $2}' "$log")
  took=$(sed -n 's/^Done [0-9]* runs in \([0-9]*\) second.*/\1/p' "$log")
  edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
  echo "$name: $verdict, ${runs:-?} runs in ${took:-?} s, ${edges:-?} edges covered"
}

show_finding() {
  local log=$out/$1.log
  grep -E '^(broken promise|SUMMARY|==[0-9]+==ERROR|.*runtime error:)' "$log" || tail -n 30 "$log"
  sed -n 's/.*Test unit written to \(.*\)$/reproducer: \1/p' "$log"
}

log=$(mktemp)
running=()
trap 'rm -f "$log"; kill "${running[@]}" 2>/dev/null || true' EXIT
if ! build >"$log" 2>&1; then
  tail -n 60 "$log" >&2
  exit 1
fi

findings=0
for ((first = 0; first < ${#fuzzers[@]}; first += jobs)); do
  batch=("${fuzzers[@]:first:jobs}")
  running=()
  for name in "${batch[@]}"; do
    fuzz "$name" &
    running+=($!)
  done
  for i in "${!batch[@]}"; do
    if wait "${running[i]}"; then
      summarize "${batch[i]}" ok
    else
      findings=$((findings + 1))
      summarize "${batch[i]}" FINDING
      show_finding "${batch[i]}"
    fi
  done
  running=()
done
exit $((findings > 0))

#!/usr/bin/env bash
# Builds the release programs and prints our figures beside their floors, then what looks at WaveSpeed
# buy. Arguments go to watch_bench, for example: tests/bench/run.sh --rounds 20
set -euo pipefail
cd "$(dirname "$0")/../.."
cmake --preset bench >/dev/null
cmake --build --preset bench --target watch_bench poll_tradeoff
build/bench/tests/bench/watch_bench --json build/bench/watch_bench.json "$@"
build/bench/tests/bench/poll_tradeoff/poll_tradeoff --json build/bench/poll_tradeoff.json \
  --svg build/bench/poll_tradeoff.svg

#!/usr/bin/env bash
# Builds the release programs and prints our figures beside their floors. Arguments go to watch_bench,
# for example: tests/bench/run.sh --rounds 20
set -euo pipefail
cd "$(dirname "$0")/../.."
cmake --preset bench >/dev/null
cmake --build --preset bench --target watch_bench
exec build/bench/tests/bench/watch_bench --json build/bench/watch_bench.json "$@"

#!/usr/bin/env bash
# Builds the release program, prints the table and writes JSON and picture beside it. Arguments go to
# poll_tradeoff, for example: tests/bench/poll_tradeoff/run.sh --rounds 20
set -euo pipefail
cd "$(dirname "$0")/../../.."
cmake --preset bench >/dev/null
cmake --build --preset bench --target poll_tradeoff
exec build/bench/tests/bench/poll_tradeoff/poll_tradeoff --json build/bench/poll_tradeoff.json \
  --svg build/bench/poll_tradeoff.svg "$@"

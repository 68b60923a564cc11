#!/usr/bin/env bash
# Builds preset dev and runs every test. Arguments go on to ctest: tests/run.sh -R WatchHub
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=$(nproc)

deploy/packages.sh build test
# Shared between checkouts: the folder's name is no part of what is compiled.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=true

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! cmake --preset dev >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
cmake --build --preset dev --parallel "$jobs"
ctest --preset dev --parallel "$jobs" "$@"

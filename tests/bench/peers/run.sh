#!/usr/bin/env bash
# dreamgate beside WaveSpeed's SDK for JavaScript and plain services in Python and Go, on the same simulator:
# prints a table and writes build/bench/peers.json. About ten minutes. Needs python3-venv, node, npm and
# Go 1.26; what it installs stays in build/peers.
#   tests/bench/peers/run.sh [--no-build] [--rounds N] [--only polling|streams|submits|lost_answers]
set -euo pipefail
cd "$(dirname "$0")/../../.."
peers=tests/bench/peers
made=$PWD/build/peers

if [ "${1:-}" = --no-build ]; then
  shift
else
  cmake --preset bench >/dev/null
  cmake --build --preset bench --target dreamgated wavespeed-simulator peer_load
fi

mkdir -p "$made/stubs" "$made/go_stubs" "$made/go_bin" build/bench
if ! cmp -s $peers/requirements.txt "$made/requirements.txt"; then
  echo "installing the Python packages" >&2
  python3 -m venv --clear "$made/venv"
  "$made/venv/bin/pip" install --quiet --disable-pip-version-check -r $peers/requirements.txt
  cp $peers/requirements.txt "$made/requirements.txt"
fi
if ! cmp -s $peers/package.json "$made/package.json" || [ ! -d "$made/node_modules" ]; then
  echo "installing the SDK" >&2
  rm -rf "$made/node_modules"
  cp $peers/package.json "$made/package.json"
  npm install --prefix "$made" --silent --no-audit --no-fund --no-package-lock
fi
"$made/venv/bin/python" -m grpc_tools.protoc -I proto --python_out="$made/stubs" \
  --grpc_python_out="$made/stubs" proto/dreamgate/v1/*.proto

printf 'module dreamgate.dev/gen/go\n\ngo 1.26.0\n' >"$made/go_stubs/go.mod"
GOBIN=$made/go_bin go -C $peers/go_service install tool
"$made/venv/bin/python" -m grpc_tools.protoc -I proto \
  --plugin="$made/go_bin/protoc-gen-go" --plugin="$made/go_bin/protoc-gen-go-grpc" \
  --go_out="$made/go_stubs" --go_opt=module=dreamgate.dev/gen/go \
  --go-grpc_out="$made/go_stubs" --go-grpc_opt=module=dreamgate.dev/gen/go proto/dreamgate/v1/*.proto
GOBIN=$made/go_bin go -C $peers/go_service install .

export PYTHONPATH=$made/stubs PYTHONDONTWRITEBYTECODE=1
export GRPC_VERBOSITY=ERROR # servers end when they are told to
unset "${!DREAMGATE_@}" # settings of another server
exec "$made/venv/bin/python" $peers/bench.py --json build/bench/peers.json "$@"

#!/usr/bin/env bash
# Installs the Debian 12 packages that this project is made from, and only those that are missing.
#   deploy/packages.sh GROUP...     groups: build, simulator, test, check, demo
# Silent and quick when nothing is missing. Needs to be root or to have sudo otherwise.
set -euo pipefail

packages_of() {
  case "$1" in
    build) # the server, the client library and the command line tool
      echo g++ cmake ninja-build ccache pkg-config git \
        libgrpc++-dev libgrpc-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev \
        golang-github-grpc-ecosystem-grpc-gateway-dev \
        libboost1.81-dev libboost-json1.81-dev libssl-dev libabsl-dev libsqlite3-dev \
        libcli11-dev libspdlog-dev prometheus-cpp-dev ;;
    simulator) # the simulator's CMake files stand among the tests
      echo libgtest-dev libgmock-dev ;;
    test) echo libgtest-dev libgmock-dev libbenchmark-dev python3 curl openssl ;;
    check) # what only .ci/run needs
      echo clang-16 clang-format-16 clang-tidy-16 libclang-rt-16-dev shellcheck python3-venv jq
      command -v npm >/dev/null || echo nodejs npm
      command -v go >/dev/null || echo golang-go ;;
    demo) echo ffmpeg ;; # makes and inspects the quick start's video
    *)
      echo "deploy/packages.sh: unknown group '$1'" >&2
      return 2 ;;
  esac
}

if [ $# -eq 0 ]; then
  sed -n '2,4s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi

wanted=()
for group in "$@"; do
  names=$(packages_of "$group")
  read -r -a names <<<"${names//$'\n'/ }"
  wanted+=("${names[@]}")
done

if ! command -v dpkg-query >/dev/null; then
  echo "This is not Debian: nothing is installed. The equivalents of these are needed: ${wanted[*]}" >&2
  exit 0
fi

missing=()
for name in "${wanted[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$name")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "Missing Debian packages, and neither root nor sudo to install them. As root, run:" >&2
    echo "  apt-get update && apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update -qq &&
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
  tail -n 15 "$log" >&2
  echo "Installing these Debian packages failed: ${missing[*]}" >&2
  exit 1
fi

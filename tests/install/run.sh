#!/bin/sh
# Usage: run.sh BUILD_DIR
# Installs the client from a finished build into a temporary prefix, then builds and runs a consumer
# against it twice: with CMake's find_package and with pkg-config and a bare compiler.
set -eu
build_dir=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
cxx=${CXX:-g++}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix

cmake --install "$build_dir" --prefix "$prefix" --component client >"$work/install.log" ||
  { cat "$work/install.log"; exit 1; }

echo "== find_package(dreamgate)"
cmake -S "$here" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_CXX_COMPILER="$cxx" >"$work/cmake.log" 2>&1 ||
  { cat "$work/cmake.log"; exit 1; }
cmake --build "$work/cmake"
"$work/cmake/consumer"

echo "== pkg-config dreamgate-client"
config=$(find "$prefix" -name dreamgate-client.pc)
PKG_CONFIG_PATH=$(dirname "$config")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046 # the flags are words
"$cxx" -std=c++20 $(pkg-config --cflags dreamgate-client) "$here/consumer.cc" -o "$work/consumer" \
  $(pkg-config --libs dreamgate-client)
"$work/consumer"

echo "== the command and the contract"
"$prefix/bin/dreamgate" --version
test -f "$prefix/share/dreamgate/proto/dreamgate/v1/video_service.proto"
echo "installed, found and called"

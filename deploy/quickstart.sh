#!/usr/bin/env bash
# Makes one video, from nothing: installs what is missing, builds, starts the server, submits, watches,
# downloads. Leaves nothing running.
#   deploy/quickstart.sh ["PROMPT"]
# Without WAVESPEED_API_KEY a simulator plays WaveSpeed: free, no network, ten seconds.
# With it the video is real and is paid for.
set -euo pipefail
cd "$(dirname "$0")/.."
unset "${!DREAMGATE_@}" # settings of another server or client
prompt=${1:-"A lighthouse in the fog, slow aerial shot, film grain"}
output_folder=dreamgate-output
build=build/quickstart
work=$(mktemp -d)
started=() # process ids, in the order of their start

say() { printf '  %-10s %s\n' "$1" "$2"; }

stop_programs() { # the last one started goes first
  local index
  for ((index = ${#started[@]} - 1; index >= 0; index--)); do
    kill "${started[index]}" 2>/dev/null || true
    wait "${started[index]}" 2>/dev/null || true
  done
  started=()
}
trap 'stop_programs; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() { # fail STEP LOG: shows the end of LOG and gives up
  say "$1" "failed:"
  tail -n 25 "$2" | sed 's/^/    /' >&2
  exit 1
}

# Shows ninja's "[done/total]" lines as one line that counts up, on a terminal only.
show_progress() {
  local line
  while IFS= read -r line; do
    printf '%s\n' "$line" >>"$work/build.log"
    if [ -t 1 ] && [[ $line =~ ^\[([0-9]+/[0-9]+)\] ]]; then
      printf '\r  %-10s %s ' build "${BASH_REMATCH[1]}"
    fi
  done
  [ ! -t 1 ] || printf '\r'
}

build_programs() {
  local began=$SECONDS
  # Shared between checkouts: the folder's name is no part of what is compiled.
  export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=true
  if [ ! -f "$build/build.ninja" ] || [ CMakePresets.json -nt "$build/build.ninja" ]; then
    cmake --preset quickstart >"$work/build.log" 2>&1 || fail build "$work/build.log"
    say build "the first time takes some minutes"
  fi
  : >"$work/build.log"
  cmake --build --preset quickstart --parallel "$(nproc)" 2>&1 | show_progress ||
    fail build "$work/build.log"
  say build "ready ($((SECONDS - began)) s)"
}

# wait_for FILE PID STEP LOG: until the program PID has written FILE
wait_for() {
  local deadline=$((SECONDS + 30))
  until [ -s "$1" ]; do
    if ! kill -0 "$2" 2>/dev/null || [ $SECONDS -gt $deadline ]; then fail "$3" "$4"; fi
    sleep 0.05
  done
}

start_simulator() {
  ffmpeg -nostdin -loglevel error -y -f lavfi -i testsrc=size=320x180:rate=24:duration=2 \
    -c:v libx264 -preset veryfast -pix_fmt yuv420p -movflags +faststart "$work/video.mp4" \
    2>"$work/ffmpeg.log" || fail simulator "$work/ffmpeg.log"
  "$build/tests/simulator/wavespeed-simulator" --port 0 --port-file "$work/simulator-port" \
    --api-key simulator-key --video "$work/video.mp4" --created-for 1s --processing-for 3s \
    >"$work/simulator.log" 2>&1 &
  started+=($!)
  wait_for "$work/simulator-port" $! simulator "$work/simulator.log"
  upstream=(--upstream-base-url "http://127.0.0.1:$(<"$work/simulator-port")")
  say simulator "plays WaveSpeed on port $(<"$work/simulator-port"); nothing is paid"
}

start_server() { # start_server KEY LEDGER
  WAVESPEED_API_KEY=$1 "$build/server/app/dreamgated" --listen-address 127.0.0.1:0 \
    --admin-address 127.0.0.1:0 --shutdown-grace 0s --ports-file "$work/ports" --ledger-path "$2" "${upstream[@]}" \
    >"$work/server.log" 2>&1 &
  started+=($!)
  wait_for "$work/ports" $! server "$work/server.log"
  grpc_port=$(sed -n 's/^grpc=//p' "$work/ports")
  admin_port=$(sed -n 's/^admin=//p' "$work/ports")
  say server "gRPC on port $grpc_port, metrics on port $admin_port"
}

echo "dreamgate quick start"
deploy/packages.sh build simulator demo
say packages ready
build_programs

mkdir -p "$output_folder"
upstream=()
if [ -n "${WAVESPEED_API_KEY:-}" ]; then
  say WaveSpeed "WAVESPEED_API_KEY is set: this is the real service."
  say "" "This video COSTS MONEY, about 0.60 USD, and takes some minutes."
  if [ -t 0 ] && [ -t 1 ]; then
    say "" "Ctrl-C within 5 seconds stops before anything is paid."
    sleep 5
  fi
  # Kept, unlike the simulator's: it knows what was paid for.
  start_server "$WAVESPEED_API_KEY" "$output_folder/dreamgate.db"
else
  start_simulator
  start_server simulator-key "$work/dreamgate.db"
fi

file=$output_folder/$(date +%Y%m%d-%H%M%S)-$$.mp4
say prompt "$prompt"
echo
status=0
"$build/client/cli/dreamgate" generate "$prompt" --server "127.0.0.1:$grpc_port" --output "$file" \
  >/dev/null || status=$?
echo
if [ $status -ne 0 ]; then
  say video "none (exit code $status of 'dreamgate generate')"
  tail -n 5 "$work/server.log" | sed 's/^/    /' >&2
  if [ -n "${WAVESPEED_API_KEY:-}" ]; then
    say "" "What was paid for is kept in $output_folder/dreamgate.db: start the server with"
    say "" "--ledger-path $output_folder/dreamgate.db and see 'dreamgate list'."
  fi
  exit $status
fi

facts=$(ffprobe -v error -select_streams v:0 -of default=noprint_wrappers=1 \
  -show_entries stream=codec_name,width,height:format=duration "$file")
fact() { sed -n "s/^$1=//p" <<<"$facts"; }
say video "$file"
say "" "$(fact codec_name), $(fact width)x$(fact height), $(fact duration) s, $(stat -c %s "$file") bytes"
stop_programs
say finished "nothing is left running"

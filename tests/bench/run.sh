#!/usr/bin/env bash
# All our figures: builds the release programs, runs every bench, and prints one table of what they
# measured, beside floors and peers. A part that fails is named at the end, and the rest still counts.
#   tests/bench/run.sh [--rounds N] [--only PART] [--full] [--markdown]
# Parts: watch_bench submit_bench idle_streams poll_tradeoff fault_run peers; about 15 minutes.
#   --full      holds the idle streams for ten minutes instead of one, and runs the faults against a
#               large crowd instead of a small one
#   --markdown  prints the last table in Markdown, one for each part
# Each part's figures are left in build/bench/PART.json, all of them in build/bench/figures.json.
set -euo pipefail
cd "$(dirname "$0")/../.."

parts=(watch_bench submit_bench idle_streams poll_tradeoff fault_run peers)
rounds=() only='' markdown=()
minutes=1 crowd=(--pace short --watchers 1000 --predictions 20 --rounds 3 --restarts 1)
usage() {
  sed -n '4,8s/^# \{0,1\}//p' tests/bench/run.sh >&2
  exit 2
}
while [ $# -gt 0 ]; do
  case $1 in
    --rounds | --only) [ $# -ge 2 ] || usage ;;&
    --rounds) rounds=(--rounds "$2") && shift 2 ;;
    --only) only=$2 && shift 2 ;;
    --full) minutes=10 crowd=(--restarts 2); shift ;;
    --markdown) markdown=(--markdown) && shift ;;
    *) usage ;;
  esac
done
if [ -n "$only" ]; then
  [[ " ${parts[*]} " == *" $only "* ]] || usage
  parts=("$only")
fi
unset "${!DREAMGATE_@}" # settings of another server

programs=build/bench/tests
built() { # built TARGET...
  cmake --build --preset bench --target "$@" >build/bench/build.log 2>&1 || {
    tail -n 25 build/bench/build.log >&2
    return 1
  }
}

run_part() { # run_part PART JSON
  case $1 in
    watch_bench | submit_bench)
      built "$1" && "$programs/bench/$1" --json "$2" "${rounds[@]}" ;;
    idle_streams)
      built idle_streams && "$programs/bench/idle_streams" --json "$2" --minutes "$minutes" ;;
    poll_tradeoff)
      built poll_tradeoff && "$programs/bench/poll_tradeoff/poll_tradeoff" --json "$2" \
        --svg build/bench/poll_tradeoff.svg "${rounds[@]}" ;;
    fault_run)
      built fault_run && "$programs/e2e/fault_run" --json "$2" "${crowd[@]}" ;;
    peers)
      built dreamgated wavespeed-simulator peer_load &&
        tests/bench/peers/run.sh --no-build "${rounds[@]}" ;;
  esac
}

cmake --preset bench >/dev/null
began=$SECONDS
number=0 failed=() written=()
for part in "${parts[@]}"; do
  json=build/bench/$part.json
  rm -f "$json"
  number=$((number + 1))
  printf '\n--- %s (%d of %d, after %d s)\n\n' "$part" $number ${#parts[@]} $((SECONDS - began))
  status=0
  run_part "$part" "$json" || status=$?
  # A bench that fails shows the figures that it had by then.
  [ ! -s "$json" ] || written+=("$json")
  [ $status -eq 0 ] && [ -s "$json" ] || failed+=("$part")
done

if [ ${#written[@]} -gt 0 ]; then
  printf '\n--- all figures, median (minimum .. maximum)\n\n'
  python3 tests/bench/report.py "${markdown[@]}" --json build/bench/figures.json "${written[@]}" ||
    failed+=(report)
fi
if [ ${#failed[@]} -gt 0 ]; then
  echo "tests/bench/run.sh: failed: ${failed[*]}" >&2
  exit 1
fi

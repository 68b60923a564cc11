"""dreamgate beside what people use today, on the same simulator. Started by run.sh.

    bench.py [--rounds N] [--only polling|streams|submits|lost_answers] [--quick] --json FILE
"""
import argparse
import asyncio
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import lost_answers  # noqa: E402
import polling  # noqa: E402
import streams  # noqa: E402
import submits  # noqa: E402
from report import plain_table  # noqa: E402

MOST_S = 900  # a server that hangs must not hang this
ABOUT = (
    f"{polling.VIDEOS} videos of 83 to 253 s at once in real time with 1 watcher each, "
    f"{polling.CROWDED_VIDEOS} with {polling.WATCHERS} each, after {polling.LEARNED_FROM} videos "
    "to learn from unless it says otherwise, one run: mean and p99; "
    "streams (every side polls every second) and submits: a value a round, the sides in turn; "
    "all clients on the same machine"
)


async def main(arguments):
    began = time.monotonic()

    def progress(text):
        print(f"[{time.monotonic() - began:4.0f} s] {text}", file=sys.stderr, flush=True)

    polls = None
    may_start = asyncio.Event()
    wanted = arguments.only
    if wanted in (None, "polling"):
        progress(f"learning, then polling, in real time: {polling.longest(arguments.quick):.0f} s")
        polls = asyncio.create_task(polling.measure(may_start, progress, arguments.quick))
    figures = []
    if wanted in (None, "submits"):
        figures += await submits.measure(arguments.rounds, progress)
    if wanted in (None, "streams"):
        figures += await streams.measure(arguments.rounds, progress)
    if wanted in (None, "lost_answers"):
        figures += await lost_answers.measure(progress)
    may_start.set()
    if polls:
        figures = await polls + figures
    progress("done")
    print(f"peers: {ABOUT}\n")
    print(plain_table(figures), end="")
    with open(arguments.json, "w", encoding="utf-8") as file:
        json.dump({"about": ABOUT, "figures": figures}, file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["polling", "streams", "submits", "lost_answers"])
    parser.add_argument(
        "--quick", action="store_true", help="videos a tenth as long: to try the bench, no figures"
    )
    parser.add_argument("--json", required=True)
    # Unwinds, so that no server is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    asyncio.run(asyncio.wait_for(main(parser.parse_args()), MOST_S))

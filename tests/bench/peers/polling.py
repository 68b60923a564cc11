"""GETs per video and delay of its end, in real time: all videos run at once, on every side at once.
One of our gateways has learned from videos before, as it has after its first day; one has not."""
import asyncio
import datetime
import json
import random
import statistics

from callers import Callers
from processes import dreamgated, python_service, run_sdk, world
from report import make_figure

# Of a sample of eight jobs the span and the median (105 s) are known; see poll_tradeoff/shapes.cc.
JOBS_S = [83, 92, 98, 102, 108, 120, 158, 253]
BANDWIDTH_S = 8
VIDEOS = 200  # their mean delay is then known to about a tenth
CROWDED_VIDEOS = 8  # with WATCHERS each: that is 400 GETs a second by the Python service
WATCHERS = 50
LEARNED_FROM = 200


def make_videos(prefix, count, seed, quick):
    """Durations in seconds by prompt; each job equally often. The same for every side."""
    engine = random.Random(seed)
    videos = {}
    for i in range(count):
        duration = JOBS_S[i % len(JOBS_S)] + engine.gauss(0, BANDWIDTH_S)
        videos[f"{prefix}-{i}"] = duration / 10 if quick else duration
    return videos


def longest(quick):
    """Seconds that the whole takes: one wave to learn from, one that is measured."""
    waves = (make_videos("learn", LEARNED_FROM, 2, quick), make_videos("video", VIDEOS, 1, quick))
    return sum(max(wave.values()) for wave in waves)


def set_schedules(simulator, videos):
    for prompt, duration in videos.items():
        steps = [("0s", "created"), ("1s", "processing"), (f"{duration:.6f}s", "completed")]
        simulator.control(
            "POST",
            "schedule",
            {"prompt": prompt, "steps": [{"after": a, "status": s} for a, s in steps]},
        )


async def watch_wave(server, videos, watchers):
    """When each watcher had the end, by prompt."""
    async with Callers(server.port, connections=4) as callers:
        ids = await asyncio.gather(*(callers.submit(prompt) for prompt in videos))
        watches = [
            callers.watch(prediction_id, number)
            for prediction_id in ids
            for number in range(watchers)
        ]
        came = [moment for moment, _ in await asyncio.gather(*watches)]
    return {prompt: came[i * watchers : (i + 1) * watchers] for i, prompt in enumerate(videos)}


class Outcome:
    def __init__(self, simulator, videos, ends):
        """`ends`: when watchers had the end, by prompt. `videos` were made last."""
        started = {}
        for entry in simulator.control("GET", "log"):
            if entry["method"] == "POST":
                moment = datetime.datetime.fromisoformat(entry["time"][:26] + "+00:00").timestamp()
                started[json.loads(entry["body"])["prompt"]] = moment
        tasks = simulator.control("GET", "tasks")[-len(videos) :]
        delays = sorted(
            end - started[prompt] - duration
            for prompt, duration in videos.items()
            for end in ends[prompt]
        )
        self.gets = statistics.mean(task["gets"] for task in tasks)
        self.mean_delay = statistics.mean(delays)
        self.p99_delay = delays[min(len(delays) - 1, int(0.99 * len(delays)))]


# The POSTs are in the log: it must not have dropped them when they are looked up.
LONG_LOG = ["--log-limit", "1000000"]


async def run_side(start_server, count, watchers, quick):
    """`start_server` None: the SDK."""
    videos = make_videos("video", count, 1, quick)
    with world(start_server, LONG_LOG) as (simulator, server):
        set_schedules(simulator, videos)
        if start_server is None:
            made = await run_sdk(simulator, list(videos))
            ends = {video["prompt"]: [video["time"]] for video in made if video["ok"]}
        else:
            ends = await watch_wave(server, videos, watchers)
        return Outcome(simulator, videos, ends)


async def run_learned(learned, may_start, quick):
    lessons = make_videos("learn", LEARNED_FROM, 2, quick)
    videos = make_videos("video", VIDEOS, 1, quick)
    with world(dreamgated, LONG_LOG) as (simulator, server):
        set_schedules(simulator, {**lessons, **videos})
        await watch_wave(server, lessons, 1)
        learned.set()
        await may_start.wait()
        ends = await watch_wave(server, videos, 1)
        return Outcome(simulator, videos, ends)


async def measure(may_start, progress, quick=False):
    """Learns at once; measures once `may_start` is set, too."""
    learned = asyncio.Event()
    ours_learned = asyncio.create_task(run_learned(learned, may_start, quick))
    await asyncio.wait(
        [asyncio.create_task(learned.wait()), ours_learned], return_when=asyncio.FIRST_COMPLETED
    )
    await may_start.wait()
    progress(f"{VIDEOS} videos in real time")
    ours, fresh, ours_crowded, service, service_crowded, sdk = await asyncio.gather(
        ours_learned,
        run_side(dreamgated, VIDEOS, 1, quick),
        run_side(dreamgated, CROWDED_VIDEOS, WATCHERS, quick),
        run_side(python_service, VIDEOS, 1, quick),
        run_side(python_service, CROWDED_VIDEOS, WATCHERS, quick),
        run_side(None, VIDEOS, 1, quick),
    )

    def compare(what, peer, left, right, at_most=(None, None)):
        return [
            make_figure(f"GETs per video, {what}", "", peer, [left.gets], [right.gets],
                        at_most=at_most[0]),
            make_figure(f"mean delay of the end, {what}", "s", peer, [left.mean_delay],
                        [right.mean_delay], at_most=at_most[1]),
            make_figure(f"p99 delay of the end, {what}", "s", peer, [left.p99_delay],
                        [right.p99_delay]),
        ]

    return [
        *compare("1 watcher", "SDK", ours, sdk, (25, 1.5)),
        *compare("1 watcher", "Python service", ours, service),
        *compare("1 watcher, nothing learned yet", "SDK", fresh, sdk),
        *compare(f"{WATCHERS} watchers, nothing learned yet", "Python service", ours_crowded,
                 service_crowded, (25, None)),
    ]

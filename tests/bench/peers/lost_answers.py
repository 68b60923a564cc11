"""Tasks paid for one request when WaveSpeed's answers are lost. Callers do what callers do who need
their video: call again."""
import asyncio
import time

from callers import Callers
from processes import dreamgated, python_service, run_sdk, world
from report import make_figure

REQUESTS = 4  # a round
ROUNDS = 5
CALLS = 3  # run() of the SDK; gRPC callers have as many attempts
OUTAGE_S = 17  # longer than the SDK polls again for: 15 s
SIMULATED = ["--created-for", "1s", "--processing-for", "4s"]
LOST_ANSWER = {
    "action": "reset_after_request",
    "create_task": True,
    "method": "POST",
    "path_prefix": "/api/v3/bytedance",
}


async def submit_and_watch(callers, prompt):
    _, update = await callers.watch(await callers.submit(prompt))
    return bool(update and update.outputs)


async def lose_answers(start_server, calls=CALLS):
    """The answer to the first POST of every request is lost. A round: (tasks paid a request, videos
    received a request)."""
    rounds = [[f"lost-{r}-{i}" for i in range(REQUESTS)] for r in range(ROUNDS)]
    with world(start_server, SIMULATED) as (simulator, server):

        async def run_round(prompts):
            for prompt in prompts:
                # The quotes keep "lost-1-1" apart from "lost-1-10".
                fault = {**LOST_ANSWER, "body_contains": f'"{prompt}"'}
                simulator.control("POST", "faults", fault)
            if start_server is None:
                return [video["ok"] for video in await run_sdk(simulator, prompts, calls)]
            async with Callers(server.port) as callers:
                return await asyncio.gather(*(submit_and_watch(callers, p) for p in prompts))

        results = []
        for prompts in rounds:
            before = simulator.control("GET", "counts")["tasks"]
            received = await run_round(prompts)
            paid = simulator.control("GET", "counts")["tasks"] - before
            results.append((paid / REQUESTS, sum(received) / REQUESTS))
        return results


async def lose_results(start_server):
    """Every poll fails with 503 for a while; each request is called once. A request: tasks paid."""
    prompts = [f"outage-{i}" for i in range(REQUESTS)]
    flags = ["--created-for", "1s", "--processing-for", "8s"]
    with world(start_server, flags) as (simulator, server):
        simulator.control(
            "POST",
            "faults",
            {"action": "status", "status": 503, "times": -1, "method": "GET",
             "path_prefix": "/api/v3/predictions/"},
        )

        async def repair():
            await asyncio.sleep(OUTAGE_S)
            simulator.control("DELETE", "faults")

        async def make_videos():
            if start_server is None:
                return await run_sdk(simulator, prompts, maxRetries=1)
            async with Callers(server.port) as callers:
                return await asyncio.gather(*(submit_and_watch(callers, p) for p in prompts))

        await asyncio.gather(repair(), make_videos())
        posts = [e for e in simulator.control("GET", "log") if e["method"] == "POST"]
        return [float(sum(f'"{p}"' in e["body"] for e in posts)) for p in prompts]


async def measure(progress):
    began = time.monotonic()
    progress("lost answers")
    ours, service, once, again, our_outage, service_outage, sdk_outage = await asyncio.gather(
        lose_answers(dreamgated),
        lose_answers(python_service),
        lose_answers(None, calls=1),
        lose_answers(None),
        lose_results(dreamgated),
        lose_results(python_service),
        lose_results(None),
    )
    progress(f"lost answers took {time.monotonic() - began:.0f} s")
    paid = "tasks paid for one request whose answer was lost"
    received = "videos received of one such request"
    outage = f"tasks paid for one request, results not to be had for {OUTAGE_S} s"
    figures = []
    for peer, theirs in (
        ("SDK, called once", once),
        ("SDK, called again after an error", again),
        ("Python service, gRPC retries", service),
    ):
        figures.append(make_figure(paid, "", peer, [r[0] for r in ours], [r[0] for r in theirs],
                                   at_most=1))
        figures.append(make_figure(received, "", peer, [r[1] for r in ours],
                                   [r[1] for r in theirs]))
    for peer, theirs in (("SDK, maxRetries 1", sdk_outage), ("Python service", service_outage)):
        figures.append(make_figure(outage, "", peer, our_outage, theirs, at_most=1))
    return figures

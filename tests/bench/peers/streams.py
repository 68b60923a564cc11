"""What 1,000 watchers of one video cost a server: memory, processor time, GETs."""
import asyncio

from callers import Callers, wait_until
from processes import cpu_seconds, dreamgated, python_service, resident_bytes, world
from report import make_figure

STREAMS = 1000
CONNECTIONS = 10
IDLE_S = 5
# As often as the Python service polls: what comes later would be delivered for less.
OURS = ["--poll-min-interval=1s", "--poll-max-interval=1s"]


async def run_round(start_server, flags):
    """Bytes per stream, share of a processor while idle, GETs a second, us per delivered end."""
    with world(start_server, ["--log-limit", "10"], flags) as (simulator, server):
        async with Callers(server.port, CONNECTIONS) as callers:
            steps = [{"after": "0s", "status": "processing"}]
            simulator.control("POST", "schedule", {"steps": steps})
            prediction_id = await callers.submit("idle")
            before = resident_bytes(server.pid)
            open_streams = 0

            def started():
                nonlocal open_streams
                open_streams += 1

            watches = asyncio.gather(
                *(callers.watch(prediction_id, number, started) for number in range(STREAMS))
            )
            await wait_until(lambda: open_streams == STREAMS or watches.done(), "streams to open")
            cpu, gets = cpu_seconds(server.pid), simulator.control("GET", "counts")["gets"]
            await asyncio.sleep(IDLE_S)
            idle_cpu = cpu_seconds(server.pid) - cpu
            idle_gets = simulator.control("GET", "counts")["gets"] - gets
            memory = resident_bytes(server.pid) - before
            task = simulator.control("GET", "tasks")[0]["id"]
            cpu = cpu_seconds(server.pid)
            simulator.control("POST", f"tasks/{task}", {"status": "completed"})
            await watches
            delivery_cpu = cpu_seconds(server.pid) - cpu
        return (
            memory / STREAMS,
            100 * idle_cpu / IDLE_S,
            idle_gets / IDLE_S,
            1e6 * delivery_cpu / STREAMS,
        )


async def measure(rounds, progress):
    ours, theirs = [], []
    for number in range(rounds):
        progress(f"streams, round {number + 1} of {rounds}")
        ours.append(await run_round(dreamgated, OURS))
        theirs.append(await run_round(python_service, []))
    names = [
        ("memory per watch stream", "bytes"),
        (f"processor with {STREAMS:,} watchers of one video, idle", "% of a core"),
        (f"GETs with {STREAMS:,} watchers of one video", "per s"),
        ("processor time per delivered end", "us"),
    ]
    return [
        make_figure(name, unit, "Python service", [r[i] for r in ours], [r[i] for r in theirs])
        for i, (name, unit) in enumerate(names)
    ]

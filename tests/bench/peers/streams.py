"""What many watchers of few videos cost a server: memory, processor time, GETs."""
import asyncio

from callers import Callers, wait_until
from processes import cpu_seconds, dreamgated, go_service, python_service, resident_bytes, world
from report import make_figure

# Watch streams, videos that they watch in equal parts, connections, peer. 5,000 GETs a second are too
# much for the Python service.
CROWDS = {
    "1,000 watchers of one video": (1000, 1, 10, python_service),
    "5,000 watchers of 10 videos": (5000, 10, 50, go_service),
}
PEERS = {python_service: "Python service", go_service: "Go service"}
IDLE_S = 5
# As often as the services poll: what comes later would be delivered for less.
OURS = ["--poll-min-interval=1s", "--poll-max-interval=1s"]


async def run_side(start_server, streams, videos, connections):
    """Bytes per stream, share of a processor while idle, GETs a second, us per delivered end."""
    flags = OURS if start_server is dreamgated else []
    with world(start_server, ["--log-limit", "10"], flags) as (simulator, server):
        async with Callers(server.port, connections) as callers:
            steps = [{"after": "0s", "status": "processing"}]
            simulator.control("POST", "schedule", {"steps": steps})
            ids = [await callers.submit(f"idle-{number}") for number in range(videos)]
            before = resident_bytes(server.pid)
            open_streams = 0

            def started():
                nonlocal open_streams
                open_streams += 1

            watches = asyncio.gather(
                *(callers.watch(ids[i % videos], i // videos, started) for i in range(streams))
            )
            await wait_until(lambda: open_streams == streams or watches.done(), "streams to open")
            cpu, gets = cpu_seconds(server.pid), simulator.control("GET", "counts")["gets"]
            await asyncio.sleep(IDLE_S)
            idle_cpu = cpu_seconds(server.pid) - cpu
            idle_gets = simulator.control("GET", "counts")["gets"] - gets
            memory = resident_bytes(server.pid) - before
            tasks = simulator.control("GET", "tasks")
            cpu = cpu_seconds(server.pid)
            for task in tasks:
                simulator.control("POST", f"tasks/{task['id']}", {"status": "completed"})
            await watches
            delivery_cpu = cpu_seconds(server.pid) - cpu
        return (
            memory / streams,
            100 * idle_cpu / IDLE_S,
            idle_gets / IDLE_S,
            1e6 * delivery_cpu / streams,
        )


async def measure(rounds, progress):
    ours, theirs = {crowd: [] for crowd in CROWDS}, {crowd: [] for crowd in CROWDS}
    for number in range(rounds):
        for crowd, (*size, peer) in CROWDS.items():
            progress(f"{crowd}, round {number + 1} of {rounds}")
            ours[crowd].append(await run_side(dreamgated, *size))
            theirs[crowd].append(await run_side(peer, *size))
    names = [
        ("memory per watch stream", "bytes"),
        ("processor, idle", "% of a core"),
        ("GETs", "per s"),
        ("processor time per delivered end", "us"),
    ]
    return [
        make_figure(f"{name}, {crowd}", unit, PEERS[peer], [r[i] for r in ours[crowd]],
                    [r[i] for r in theirs[crowd]])
        for crowd, (*_, peer) in CROWDS.items()
        for i, (name, unit) in enumerate(names)
    ]

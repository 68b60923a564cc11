"""SubmitVideo calls a second, and the server's processor time for one."""
import asyncio
import os
import subprocess

from processes import BUILD, cpu_seconds, dreamgated, go_service, python_service, world
from report import make_figure

CALLERS = 64
MANY_CALLERS = 256  # as many as submit_bench has
SECONDS = 3
# As in submit_bench: every caller's POST may go out at once, as both services do anyway.
ALL_AT_ONCE = [
    f"--max-submits-in-flight={MANY_CALLERS}",
    f"--max-upstream-connections={2 * MANY_CALLERS}",
]
SIDES = {
    "ours": (dreamgated, CALLERS, []),
    "Python service": (python_service, CALLERS, []),
    "Go service": (go_service, CALLERS, []),
    "ours, many": (dreamgated, MANY_CALLERS, []),
    "Go service, many": (go_service, MANY_CALLERS, []),
    "ours, many at once": (dreamgated, MANY_CALLERS, ALL_AT_ONCE),
}


async def run_side(start_server, callers, flags):
    """Submits a second, microseconds of processor time a submit."""
    load = os.path.join(BUILD, "tests", "bench", "peers", "peer_load")
    with world(start_server, ["--log-limit", "10"], flags) as (_, server):
        cpu = cpu_seconds(server.pid)
        process = await asyncio.create_subprocess_exec(
            load, str(server.port), str(callers), str(SECONDS), stdout=subprocess.PIPE
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise RuntimeError("peer_load failed")
        per_second, answered = map(float, output.split())
        return per_second, 1e6 * (cpu_seconds(server.pid) - cpu) / answered


async def measure(rounds, progress):
    measured = {side: [] for side in SIDES}
    for number in range(rounds):
        progress(f"submits, round {number + 1} of {rounds}")
        for side, settings in SIDES.items():
            measured[side].append(await run_side(*settings))

    def compare(what, peer, ours, theirs):
        rates, costs = zip(*measured[ours])
        their_rates, their_costs = zip(*measured[theirs])
        return [
            make_figure(f"submits, {what}", "per s", peer, rates, their_rates),
            make_figure(f"processor time per submit, {what}", "us", peer, costs, their_costs),
        ]

    many = f"{MANY_CALLERS} callers"
    return [
        *compare(f"{CALLERS} callers", "Python service", "ours", "Python service"),
        *compare(f"{CALLERS} callers", "Go service", "ours", "Go service"),
        *compare(many, "Go service", "ours, many", "Go service, many"),
        *compare(f"{many}, all in flight", "Go service", "ours, many at once", "Go service, many"),
    ]

"""SubmitVideo calls a second."""
import asyncio
import os
import subprocess

from processes import BUILD, dreamgated, python_service, world
from report import make_figure

CALLERS = 64
SECONDS = 3


async def run_round(start_server):
    load = os.path.join(BUILD, "tests", "bench", "peers", "peer_load")
    with world(start_server, ["--log-limit", "10"]) as (_, server):
        process = await asyncio.create_subprocess_exec(
            load, str(server.port), str(CALLERS), str(SECONDS), stdout=subprocess.PIPE
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise RuntimeError("peer_load failed")
        return float(output)


async def measure(rounds, progress):
    ours, theirs = [], []
    for number in range(rounds):
        progress(f"submits, round {number + 1} of {rounds}")
        ours.append(await run_round(dreamgated))
        theirs.append(await run_round(python_service))
    return [make_figure(f"submits, {CALLERS} callers", "per s", "Python service", ours, theirs)]

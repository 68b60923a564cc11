"""The programs of the comparison: simulator, our server, Python and Go service, SDK. Each side has its own
simulator, so that nobody's GETs are counted as another's. Everything ends with its `with`
block."""
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
BUILD = os.path.join(ROOT, "build", "bench")
PEERS = os.path.join(ROOT, "build", "peers")

KEY = "simulator-key"
MODEL = "bytedance/dreamina-v3.0-pro/text-to-video"


def cpu_seconds(pid):
    """Processor time of all threads that still run; to the nanosecond, unlike /proc/PID/stat."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError):
            with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0])
    return total / 1e9


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


class Program:
    def __init__(self, arguments, ports_file, log_file, environment=None):
        self.log_file = log_file
        with open(log_file, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                arguments, stdout=log, stderr=log, env={**os.environ, **(environment or {})}
            )
        deadline = time.time() + 30
        while not (os.path.exists(ports_file) and os.path.getsize(ports_file)):
            if self.process.poll() is not None or time.time() > deadline:
                self.stop()
                with open(log_file, encoding="utf-8") as log:
                    raise RuntimeError(f"{arguments[0]} did not start:\n{log.read()}")
            time.sleep(0.01)
        with open(ports_file, encoding="ascii") as file:
            self.ports = file.read()

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Simulator(Program):
    def __init__(self, folder, flags=()):
        port_file = os.path.join(folder, "simulator-port")
        program = os.path.join(BUILD, "tests", "simulator", "wavespeed-simulator")
        super().__init__(
            [program, "--port-file", port_file, "--api-key", KEY, *flags],
            port_file,
            os.path.join(folder, "simulator.log"),
        )
        self.base_url = f"http://127.0.0.1:{int(self.ports)}"

    def control(self, method, path, body=None):
        request = urllib.request.Request(
            f"{self.base_url}/control/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


class Server(Program):
    """A server that speaks our contract."""

    @property
    def port(self):
        return int(self.ports.split("grpc=")[1].split()[0])


def dreamgated(folder, simulator, flags=()):
    ports_file = os.path.join(folder, "ports")
    return Server(
        [
            os.path.join(BUILD, "server", "app", "dreamgated"),
            "--listen-address=127.0.0.1:0",
            "--admin-address=127.0.0.1:0",
            f"--ports-file={ports_file}",
            f"--upstream-base-url={simulator.base_url}",
            f"--ledger-path={os.path.join(folder, 'ledger.db')}",
            "--shutdown-grace=0s",
            *flags,
        ],
        ports_file,
        os.path.join(folder, "server.log"),
        {"WAVESPEED_API_KEY": KEY},
    )


def plain_service(command, folder, simulator):
    """It has no settings."""
    ports_file = os.path.join(folder, "ports")
    return Server(
        [*command, ports_file, simulator.base_url, KEY, MODEL],
        ports_file,
        os.path.join(folder, "server.log"),
    )


def python_service(folder, simulator, _flags=()):
    command = [sys.executable, os.path.join(HERE, "python_service.py")]
    return plain_service(command, folder, simulator)


def go_service(folder, simulator, _flags=()):
    return plain_service([os.path.join(PEERS, "go_bin", "go_service")], folder, simulator)


@contextlib.contextmanager
def world(start_server=None, simulator_flags=(), server_flags=()):
    """A simulator and, unless None, a server before it: (simulator, server)."""
    os.makedirs(os.path.join(PEERS, "work"), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.join(PEERS, "work")) as folder:
        simulator = Simulator(folder, simulator_flags)
        server = None
        try:
            server = start_server(folder, simulator, server_flags) if start_server else None
            yield simulator, server
        finally:
            if server:
                server.stop()
            simulator.stop()


async def run_sdk(simulator, prompts, calls=1, **options):
    """What sdk_client.js prints: a dictionary a video, in the order of `prompts`."""
    job = {
        "baseUrl": simulator.base_url,
        "apiKey": KEY,
        "model": MODEL,
        "prompts": prompts,
        "options": options,
        "calls": calls,
    }
    process = await asyncio.create_subprocess_exec(
        "node",
        os.path.join(HERE, "sdk_client.js"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "NODE_PATH": os.path.join(PEERS, "node_modules")},
    )
    try:
        output, errors = await process.communicate(json.dumps(job).encode())
    finally:
        if process.returncode is None:
            process.kill()
    videos = {video["prompt"]: video for video in map(json.loads, output.splitlines())}
    if process.returncode != 0 or len(videos) != len(prompts):
        raise RuntimeError(f"the SDK's client failed:\n{errors.decode()}")
    return [videos[prompt] for prompt in prompts]

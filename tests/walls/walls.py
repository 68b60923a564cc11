#!/usr/bin/env python3
"""Finds includes that cross a wall of the house, and text that does not belong into the repository.

    tests/walls/walls.py [ROOT]

The arrows are drawn in server/README.md ("Rooms and arrows"); this file is their one machine-readable form.
Prints one line a violation and ends with 1 if there is any.
"""
import os
import re
import sys

# Which rooms of server/ a room may include, besides itself.
ROOMS = {
    "core": [],
    "crypto": [],
    "net": [],
    "wavespeed": ["core", "crypto"],
    "upstream": ["core", "net", "wavespeed", "crypto"],
    "web": ["core", "net", "wavespeed", "crypto"],
    "ledger": ["core"],
    "telemetry": ["core"],
    "api": ["core", "crypto"],
    "app": ["api", "core", "crypto", "ledger", "net", "telemetry", "upstream", "wavespeed", "web"],
}

# The floors of core, and which of them a floor may include besides itself: no arrow runs back up. A
# folder is a floor; what lies in core itself is ground, but for the files named here.
FLOORS = {
    "ground": [],
    "durable": ["ground"],
    "retention": ["ground", "durable"],
    "polling": ["ground", "durable"],
    "tracking": ["ground", "durable", "polling"],
    "submission": ["ground", "durable", "polling", "tracking"],
    "watching": ["ground", "durable", "polling", "tracking"],
    "evidence": ["ground", "durable", "polling", "tracking", "submission"],
    "gateway": ["ground", "durable", "retention", "polling", "tracking", "submission", "watching", "evidence"],
}

# wavespeed is a leaf that speaks in core's values; the rest of core is none of its business.
ONLY_HEADERS = {
    ("wavespeed", "core"): {"errors.h", "prediction.h", "upstream_task.h"},
}

# Third-party libraries, and the places that may include them. The first that matches counts.
LIBRARIES = [
    # name, include pattern, places
    ("gRPC and generated code", r"(grpc|grpcpp|google/(protobuf|rpc)|dreamgate/v\d+\w*)/",
     ["server/api", "client"]),
    ("Asio and Beast", r"boost/(asio|beast)[./]",
     ["server/net", "server/upstream", "server/web", "client/cli"]),
    # What Asio's TLS stream hands out: its native handle (server name, certificate) and its error codes.
    ("OpenSSL's TLS", r"openssl/(ssl|err|x509)\.h",
     ["server/net", "server/crypto", "server/upstream", "client/cli"]),
    ("OpenSSL", r"openssl/", ["server/net", "server/crypto"]),
    ("Boost.JSON", r"boost/json[./]",
     ["server/wavespeed", "server/web", "server/ledger", "server/telemetry", "client/cli"]),
    ("Boost", r"boost/", ["server/net", "server/upstream", "server/web", "client/cli"]),
    ("SQLite", r"(sqlite3|SQLiteCpp/)", ["server/ledger"]),
    ("CLI11", r"CLI/", ["server/app", "client/cli"]),
    ("spdlog", r"(spdlog|fmt)/", ["server/telemetry"]),
    ("prometheus-cpp", r"prometheus/", ["server/telemetry"]),
    ("Abseil", r"absl/", ["server", "client"]),
]

# What a consumer of the client library includes needs gRPC and the standard library only.
PUBLIC_CLIENT_HEADER = r"client/\w+/include/"

# Slow to compile: a single .cc a program, never a header.
ONE_SOURCE = {"CLI11", "spdlog", "prometheus-cpp"}
# Beast's templates cost minutes under sanitizers: a few files of the server behind plain headers.
BEAST_SOURCES_AT_MOST = 4

# ThreadSanitizer judges these tests, and libgrpc is not instrumented: they stay free of gRPC.
GRPC_FREE_TESTS = ["core", "crypto", "fakes", "ledger", "net", "simulation", "simulator", "telemetry",
                   "upstream", "wavespeed", "web"]

LEFT_OPEN = r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b"
MACHINE_PATH = r"(?<![\w.$}])/(home|root|work|Users|farm)/\w"
REGISTRY = (r"\b(deb\.debian\.org|registry\.npm" r"js\.org|py" r"pi\.org|files\.python" r"hosted\.org|"
            r"proxy\.golang\.org|crates\.io|repo\.maven\.apache\.org)\b")

# Where the server can be made to die in tests. Each is killed at, so the crash tests list them all.
FAILPOINT = re.compile(r'DREAMGATE_FAILPOINT\("([^"]*)"\);')
FAILPOINT_NAME = r"[a-z]+\.[a-z_]+"
CRASH_CASES = "tests/e2e/crash_cases.cc"
CRASH_CASE = re.compile(r'^\s*\{"([^"]*)",')
FAILPOINTS_AT_LEAST = 25

INCLUDE = re.compile(r'^\s*#\s*include\s*(<([^>]+)>|"([^"]+)")')
SKIPPED_FOLDERS = {".git", ".cache", "build", "dreamgate-output", "node_modules", "__pycache__"}
TEXT_SUFFIXES = (".cc", ".h", ".cmake", ".txt", ".md", ".py", ".sh", ".proto", ".json", ".yaml",
                 ".yml", ".sql", ".toml", ".go", ".mod", ".clang-format", ".clang-tidy", "Dockerfile",
                 ".dockerignore", ".gitignore", ".ci/run")


def files_of(root):
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
        found += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    return sorted(path for path in found if path.endswith(TEXT_SUFFIXES))


def lies_in(path, places):
    return any(path.startswith(place + "/") for place in places)


def room_of(path):
    """The room of a file of the server, None for anything else (main.cc included)."""
    parts = path.split("/")
    return parts[1] if parts[0] == "server" and len(parts) > 2 else None


def floor_of(path):
    """The floor of a file of core."""
    folders = path.split("/")[2:-1]
    if folders:
        return folders[0]
    name = os.path.splitext(os.path.basename(path))[0]
    return name if name in FLOORS else "ground"


class House:
    def __init__(self, root):
        self.root = root
        self.violations = []
        self.sources = {}  # (library, program) -> files that include it
        self.failpoints = {}  # name -> the places that have it, of the server
        self.crash_cases = {}  # the same, of the crash tests' list

    def complain(self, path, line, text):
        self.violations.append(f"{path}:{line}: {text}")

    def check(self):
        for path in files_of(self.root):
            with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as file:
                lines = file.read().split("\n")
            is_code = path.endswith((".cc", ".h"))
            for number, line in enumerate(lines, 1):
                self.check_text(path, number, line)
                self.note_failpoint(path, number, line)
                include = INCLUDE.match(line) if is_code else None
                if include:
                    self.check_include(path, number, include.group(2) or include.group(3),
                                       quoted=include.group(3) is not None)
        self.check_sources()
        self.check_failpoints()
        return sorted(self.violations)

    def check_text(self, path, number, line):
        if re.search(LEFT_OPEN, line):
            self.complain(path, number, "something is left open")
        if re.search(MACHINE_PATH, line):
            self.complain(path, number, "a path of somebody's machine")
        if re.search(REGISTRY, line):
            self.complain(path, number, "the host name of a package registry")

    def note_failpoint(self, path, number, line):
        if path.startswith("server/") and path.endswith(".cc"):
            for name in FAILPOINT.findall(line):
                self.failpoints.setdefault(name, []).append((path, number))
        case = CRASH_CASE.match(line) if path == CRASH_CASES else None
        if case:
            self.crash_cases.setdefault(case.group(1), []).append((path, number))

    def check_failpoints(self):
        for names, others, where in ((self.failpoints, self.crash_cases, CRASH_CASES),
                                     (self.crash_cases, self.failpoints, "server/")):
            for name, places in names.items():
                path, number = places[-1]
                if not re.fullmatch(FAILPOINT_NAME, name):
                    self.complain(path, number, f"a failpoint is named room.what, not '{name}'")
                elif len(places) > 1:
                    self.complain(path, number, f"failpoint {name} is there twice")
                elif name not in others:
                    self.complain(path, number, f"failpoint {name} is not in {where}")
        if self.crash_cases and len(self.crash_cases) < FAILPOINTS_AT_LEAST:
            self.violations.append(f"{CRASH_CASES}: {len(self.crash_cases)} failpoints, "
                                   f"at least {FAILPOINTS_AT_LEAST}")

    def check_include(self, path, number, included, quoted):
        # The client library is built by others too, so its layout is that of an installed package.
        if quoted and not path.startswith("client/") and ("/" not in included or included.startswith(".")):
            self.complain(path, number, f'"{included}" is not relative to the root')
            return
        if included.startswith(("server/", "client/", "tests/")):
            if not any(os.path.exists(os.path.join(self.root, included + made_from))
                       for made_from in ("", ".in")):
                self.complain(path, number, f"{included} does not exist")
            else:
                self.check_own(path, number, included)
            return
        self.check_foreign(path, number, included)

    def check_own(self, path, number, included):
        top = path.split("/")[0]
        target = included.split("/")[0]
        if top == "tests":
            if room_of(included) == "api" and self.is_grpc_free(path):
                self.complain(path, number, f"tests/{path.split('/')[1]} must stay free of gRPC")
            return
        if target == "tests":
            self.complain(path, number, f"{top} must not include tests ({included})")
        elif top != target:
            self.complain(path, number, f"{top} must not include {target} ({included})")
        elif top == "server":
            self.check_rooms(path, number, included)

    def check_rooms(self, path, number, included):
        room, target = room_of(path), room_of(included)
        if room is None:
            if target != "app":
                self.complain(path, number, f"{path} may include app only ({included})")
            return
        if room not in ROOMS:
            self.complain(path, number, f"room '{room}' has no arrows in tests/walls/walls.py")
            return
        if target != room and target not in ROOMS[room]:
            self.complain(path, number, f"{room} must not include {target} ({included})")
            return
        if room == target == "core":
            self.check_floors(path, number, included)
        allowed = ONLY_HEADERS.get((room, target))
        if allowed is not None and os.path.basename(included) not in allowed:
            self.complain(path, number, f"{room} sees only {', '.join(sorted(allowed))} of {target}")

    def check_floors(self, path, number, included):
        floor, target = floor_of(path), floor_of(included)
        if floor not in FLOORS:
            self.complain(path, number, f"floor '{floor}' of core has no arrows in tests/walls/walls.py")
        elif target != floor and target not in FLOORS[floor]:
            self.complain(path, number, f"core's {floor} must not include its {target} ({included})")

    def is_grpc_free(self, path):
        parts = path.split("/")
        return parts[0] == "tests" and len(parts) > 2 and parts[1] in GRPC_FREE_TESTS

    def check_foreign(self, path, number, included):
        for library, pattern, places in LIBRARIES:
            if not re.match(pattern, included):
                continue
            if path.startswith("tests/"):
                if library.startswith("gRPC") and self.is_grpc_free(path):
                    self.complain(path, number, f"tests/{path.split('/')[1]} must stay free of gRPC")
            elif re.match(PUBLIC_CLIENT_HEADER, path) and not library.startswith("gRPC"):
                self.complain(path, number, f"a consumer of the client must not need {library}")
            elif not lies_in(path, places):
                self.complain(path, number, f"{library} stays in {', '.join(places)} ({included})")
            else:
                self.note_source(path, number, library, included)
            return
        if room_of(path) == "core" and ("/" in included or "." in included):
            self.complain(path, number,
                          f"core sees the standard library, Abseil and itself ({included})")

    def note_source(self, path, number, library, included):
        program = path.split("/")[0]
        if library in ONE_SOURCE:
            if path.endswith(".h"):
                self.complain(path, number, f"{library} stays out of headers ({included})")
                return
            self.sources.setdefault((library, program), set()).add(path)
        if included.startswith("boost/beast") and program == "server" and path.endswith(".cc"):
            self.sources.setdefault(("Beast", program), set()).add(path)

    def check_sources(self):
        for (library, program), paths in sorted(self.sources.items()):
            limit = BEAST_SOURCES_AT_MOST if library == "Beast" else 1
            if len(paths) > limit:
                self.violations.append(f"{program}: {library} is in {len(paths)} files, "
                                       f"at most {limit}: {', '.join(sorted(paths))}")


def check(root):
    return House(root).check()


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    found = check(sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", ".."))
    print("\n".join(found) if found else "every wall stands")
    sys.exit(1 if found else 0)

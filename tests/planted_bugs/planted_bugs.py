#!/usr/bin/env python3
"""Plants one bug after the other in a copy of the source and shows that a test catches it.

A test suite is worth what it would catch. Each bug in bugs.py is a mistake that somebody could make:
two steps swapped, a check skipped, a commit forgotten. For each, the copy is changed, built, and judged
by the deterministic simulation and by the unit tests; at least one must fail, and the first thing that
it complains of is printed. The copy as it is must pass first.

    tests/planted_bugs/planted_bugs.py              all of them
    tests/planted_bugs/planted_bugs.py NAME...      only these
    tests/planted_bugs/planted_bugs.py --list

Takes some seconds a bug on two cores once the compiler cache is filled. Exit code 1 if a bug survives.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bugs import BUGS

ROOT = Path(__file__).resolve().parents[2]
# What judges, in this order, each as the preset builds it.
SEEDS = 1000
JUDGES = {
    "simulation": ["build/bench/tests/simulation/simulation", "--first-failure",
                   "--seeds", str(SEEDS), "--jobs", str(os.cpu_count())],
    **{name: [f"build/dev/tests/{name.removesuffix('_test')}/{name}", "--gtest_brief=1", "--gtest_fail_fast"]
       for name in ("core_test", "ledger_test", "wavespeed_test", "web_test")},
    "conformance": ["build/dev/tests/ledger/conformance/conformance", "--gtest_brief=1", "--gtest_fail_fast"],
}
PATIENCE_SECONDS = 300  # a judge that hangs has noticed as well
# The first line of a judge's output that says what is wrong: a seed's broken promise, or a test.
COMPLAINT = re.compile(r"^(?:seed \d+: (.+)|\[  FAILED  \] ([\w./]+).*)$", re.MULTILINE)

LONGEST_COMPLAINT = 150  # characters


class BuildError(Exception):
    pass


def copy_source(target):
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
                            check=True, capture_output=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        source = ROOT / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


def configure(source):
    # The copy's objects are those of every other checkout, as far as the compiler cache has them.
    os.environ.update(CCACHE_BASEDIR=str(source), CCACHE_NOHASHDIR="true")
    for preset in ("bench", "dev"):
        subprocess.run(["cmake", "--preset", preset], cwd=source, check=True, stdout=subprocess.DEVNULL)


def compile_judge(source, name):
    preset = JUDGES[name][0].split("/")[1]
    return subprocess.run(["ninja", "-C", f"build/{preset}", name], cwd=source, capture_output=True, text=True)


def complaint_of(source, command):
    """What the judge complains of; None if it passes."""
    try:
        done = subprocess.run([source / command[0], *command[1:]], timeout=PATIENCE_SECONDS,
                              capture_output=True, text=True, errors="replace")
    except subprocess.TimeoutExpired:
        return f"it does not end within {PATIENCE_SECONDS} s"
    if done.returncode == 0:
        return None
    found = COMPLAINT.search(done.stdout)
    return (found[1] or found[2]) if found else f"it ends with {done.returncode}"


def complaints(source, all_judges, passed):
    """What the judges complain of, by name; the first only, unless all are asked for.

    `passed` holds the programs that have passed before, as digests: a bug that does not reach one of
    them leaves nothing to ask it. Whatever passes now is added.
    """
    result = {}
    for name, command in JUDGES.items():
        built = compile_judge(source, name)
        if built.returncode != 0:
            raise BuildError(f"{name} does not build:\n{built.stdout[-3000:]}")
        digest = hashlib.sha256((source / command[0]).read_bytes()).hexdigest()
        if digest in passed:
            continue
        if complaint := complaint_of(source, command):
            result[name] = complaint
            if not all_judges:
                break
        else:
            passed.add(digest)
    return result


def plant(source, bug):
    """Changes the files; returns what they held. Every text to replace must be there exactly once."""
    before = {}
    for file, old, new in bug.changes:
        path = source / file
        text = path.read_text()
        before.setdefault(path, text)
        if text.count(old) != 1:
            for restored, content in before.items():
                restored.write_text(content)
            raise SystemExit(f"{bug.name}: {file} holds this {text.count(old)} times, not once: {old!r}\n"
                             "The code has changed; change bugs.py as well.")
        path.write_text(text.replace(old, new))
    return before


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="name the bugs and what each would cost")
    parser.add_argument("--all-judges", action="store_true", help="ask every judge, not only until one fails")
    options = parser.parse_args()
    unknown = set(options.names) - {bug.name for bug in BUGS}
    if unknown:
        parser.error(f"no such bug: {', '.join(sorted(unknown))}; --list names them")
    bugs = [bug for bug in BUGS if not options.names or bug.name in options.names]
    width = max(len(bug.name) for bug in bugs)
    if options.list:
        for bug in bugs:
            print(f"{bug.name:{width}}  {bug.costs}")
        return 0

    survivors = []
    caught_by = Counter()
    passed = set()
    with tempfile.TemporaryDirectory(prefix="dreamgate-bugs-") as scratch:
        source = Path(scratch) / "source"
        copy_source(source)
        configure(source)
        if failing := complaints(source, all_judges=True, passed=passed):
            sys.exit(f"without any bug, these complain already: {failing}")
        print(f"{'(none)':{width}}  passes", flush=True)
        for bug in bugs:
            began = time.monotonic()
            before = plant(source, bug)
            try:
                failing = complaints(source, options.all_judges, passed)
            except BuildError as error:
                print(f"{bug.name}: {error}", file=sys.stderr)
                failing = {}  # a bug that nobody can make proves nothing
            caught_by.update(failing.keys())
            if not failing:
                survivors.append(bug.name)
            for path, content in before.items():
                path.write_text(content)
            verdict = f"caught by {', '.join(failing)}" if failing else "SURVIVES"
            print(f"{bug.name:{width}}  {verdict}  ({time.monotonic() - began:.0f} s)", flush=True)
            for complaint in failing.values():
                print(f"{'':{width}}    {complaint[:LONGEST_COMPLAINT]}", flush=True)
    shares = ", ".join(f"{count} by {name}" for name, count in caught_by.most_common())
    print(f"{len(bugs)} bugs planted, {len(bugs) - len(survivors)} caught: {shares}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""The pages tell the truth: what they list is what there is, and every link leads somewhere.

    pages_test.py [PROGRAM...]     the programs whose --help is compared with the pages
"""
import json
import os
import re
import subprocess
import sys
import unittest

import walls

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
PROGRAMS = []
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
README_LINES_AT_MOST = 160
MONEY = "What happens to your money when ..."


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as file:
        return file.read()


SOURCES = {path: read(path) for path in walls.files_of(ROOT)}
PAGES = {path: text for path, text in SOURCES.items() if path.endswith(".md")}


def without_code(text):
    """`text` without its fenced blocks, in which # is a comment and [] is no link."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def section(page, title):
    """The part of `page` below the heading `title`, up to the next heading of any level."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", PAGES[page], re.MULTILINE | re.DOTALL)
    return found.group(1) if found else ""


def table(text):
    """The cells of every row of the tables in `text`, without heads and rulers."""
    lines = text.splitlines()
    rows = [line for line, above in zip(lines[1:], lines)
            if line.startswith("|") and not re.match(r"\|[-| ]+\|$", line) and above.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def headings(page):
    return re.findall(r"^#+ (.+)$", without_code(PAGES[page]), re.MULTILINE)


def anchors(page):
    """As GitHub makes them of headings."""
    made = []
    for heading in headings(page):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        made.append(f"{anchor}-{made.count(anchor)}" if anchor in made else anchor)
    return made


def flags_of(program):
    """Every flag in the help of `program` and of its subcommands."""
    def help_of(*words):
        return subprocess.run([program, *words, "--help"], capture_output=True, text=True,
                              check=True, timeout=30).stdout
    text = help_of()
    listing = re.search(r"^(?:Subcommands|Commands):\n((?:[ \t]+.*\n?)+)", text, re.MULTILINE)
    for name in re.findall(r"^  ([a-z][a-z-]*)", listing.group(1), re.MULTILINE) if listing else []:
        text += help_of(name)
    return set(FLAG.findall(text)) - {"--help", "--version"}


class ContractTest(unittest.TestCase):
    def test_every_error_reason_is_in_the_error_table_with_its_status(self):
        rows = table(section("proto/README.md", "Errors"))
        documented = {reason: row[1] for row in rows for reason in re.findall(r"`([A-Z_]+)`", row[0])}
        reasons = {name: re.sub(r"(?<!^)(?=[A-Z])", "_", code).upper() for code, name in
                   re.findall(r'ReasonRow\{Reason::\w+,\s*absl::StatusCode::k(\w+),\s*"([A-Z_]+)"',
                              read("server/core/errors.cc"))}
        self.assertGreater(len(reasons), 10)
        self.assertEqual(documented, reasons)

    def test_every_state_is_in_the_table_of_states(self):
        rows = table(section("proto/README.md", "States"))
        states = re.findall(r"^  PREDICTION_STATE_([A-Z_]+) = [1-9]",
                            read("proto/dreamgate/v1/prediction.proto"), re.MULTILINE)
        self.assertGreater(len(states), 5)
        documented = [state for row in rows for state in re.findall(r"`([A-Z_]+)`", row[0])]
        self.assertEqual([state for state in states if state not in documented], [])

    def test_every_edge_is_in_the_tables_of_states_and_attempts(self):
        # As the comment of state_machine.h draws them: "//   QUEUED          SUBMITTING FAILED CANCELLED".
        drawn = {}
        for name, edges in re.findall(r"^//   (\(open\)|[A-Z_]+) +(.*)$", read("server/core/state_machine.h"),
                                      re.MULTILINE):
            drawn[name] = set(re.findall(r"\b[A-Z_]{4,}\b", edges)) | set(re.findall("any terminal", edges))
        self.assertGreater(len(drawn), 10)
        for row in table(section("proto/README.md", "States")):
            edges = set(re.findall(r"`([A-Z_]+)`", row[2])) | set(re.findall("any terminal", row[2]))
            for name in re.findall(r"`([A-Z_]+)`|(\(open\))", row[0]):
                name = "".join(name)
                self.assertEqual(edges, drawn.pop(name, set()), name)
        self.assertEqual(drawn, {})

    def test_every_case_about_money_names_a_test_that_there_is(self):
        for page, least in (("proto/README.md", 20), ("README.md", 10)):
            rows = table(section(page, MONEY))
            self.assertGreaterEqual(len(rows), least, page)
            for row in rows:
                path = re.search(r"\]\(([^)]+)\)", row[2])
                self.assertIsNotNone(path, row)
                test = os.path.normpath(os.path.join(os.path.dirname(page), path.group(1)))
                tests = re.findall(r"TEST(?:_F|_P)?\(\w+,\s*(\w+)\)", read(test))
                for name in re.findall(r"`(\w+)`", row[2]):
                    self.assertIn(name, tests, f"{page}: {test}")

    def test_the_cases_about_money_in_readme_are_rows_of_the_complete_table(self):
        complete = table(section("proto/README.md", MONEY).replace("](../", "]("))
        self.assertEqual([row for row in table(section("README.md", MONEY)) if row not in complete], [])


class OperationTest(unittest.TestCase):
    def test_every_flag_of_the_programs_is_in_its_table_and_no_other(self):
        tables = {"dreamgated": ("deploy/README.md", "Configuration"),
                  "dreamgate": ("client/README.md", "The command line")}
        for program in PROGRAMS:
            name = os.path.basename(program)
            with self.subTest(program=name):
                documented = set(FLAG.findall(section(*tables[name])))
                self.assertEqual(documented - {"--help", "--version"}, flags_of(program))

    def test_every_metric_that_a_page_names_exists(self):
        metrics = set(re.findall(r'"(dreamgate_[a-z_]+)"', read("server/telemetry/metrics.cc")))
        self.assertGreater(len(metrics), 10)
        for page, text in PAGES.items():
            named = set(re.findall(r"`(dreamgate_[a-z_]+)[{`]", text)) - {"dreamgate_cli"}
            self.assertEqual(named - metrics, set(), page)


class TestsTest(unittest.TestCase):
    page = "tests/README.md"

    def test_every_stage_of_the_gate_is_in_its_table_in_order(self):
        stages = re.search(r"^stages=\((.*?)\)$", read(".ci/run"), re.MULTILINE | re.DOTALL).group(1).split()
        rows = table(section(self.page, "The gate"))
        self.assertEqual([row[0] for row in rows], [f"`{stage}`" for stage in stages])
        for words in re.findall(r"\.ci/run ((?:[a-z_]+ ?)+)", PAGES[self.page]):
            self.assertEqual([stage for stage in words.split() if stage not in stages], [])

    def test_every_preset_is_named(self):
        presets = [preset["name"] for preset in json.loads(read("CMakePresets.json"))["configurePresets"]
                   if not preset.get("hidden")]
        listed = re.search(r"^Presets: (.*?)\.", PAGES[self.page], re.MULTILINE).group(1)
        self.assertEqual(sorted(re.findall(r"`([\w-]+)`", listed)), sorted(presets))

    def test_every_test_program_that_is_named_exists(self):
        programs = {name for path, text in SOURCES.items() if path.endswith("CMakeLists.txt")
                    for name in re.findall(r"dreamgate_test\((\w+)", text)}
        rows = table(section(self.page, "What to run for which change"))
        named = {name for row in rows for name in re.findall(r"`(\w+_test)`", row[1])}
        self.assertGreater(len(named), 10)
        self.assertEqual(named - programs, set())


class HouseTest(unittest.TestCase):
    page = "server/README.md"

    def test_every_function_that_is_named_exists(self):
        text = "\n".join(text for path, text in SOURCES.items()
                         if path.startswith("server/") and path.endswith((".h", ".cc")))
        headers = [text for path, text in SOURCES.items() if path.startswith("server/") and path.endswith(".h")]
        words = set(re.findall(r"\w+", text))
        for owner, function in re.findall(r"`([A-Z]\w+)::(\w+)`", PAGES[self.page]):
            declared = any(re.search(rf"^(?:class|struct) {owner}\b", header, re.MULTILINE) and
                           re.search(rf"\b{function}\(", header) for header in headers)
            self.assertTrue(declared, f"there is no {owner}::{function}")
        lives = [section(self.page, title) for title in ("Life of a submit", "Life of a watch", "Start and shutdown")]
        named = {name for life in lives for name in re.findall(r"`([A-Z][a-z]\w*[A-Z]\w*)`", life)}
        named -= {name for name in named if re.search(rf"rpc {name}\(", read("proto/dreamgate/v1/video_service.proto"))}
        self.assertGreater(len(named), 3)
        self.assertEqual(named - words, set())


class PagesTest(unittest.TestCase):
    def test_the_front_page_is_short(self):
        self.assertLessEqual(PAGES["README.md"].count("\n"), README_LINES_AT_MOST)

    def test_every_relative_link_and_anchor_resolves(self):
        self.assertGreater(len(PAGES), 5)
        for page, text in PAGES.items():
            links = re.findall(r"\]\(([^)\s]+)\)", without_code(text))
            for link in links:
                if re.match(r"[a-z]+:", link):
                    continue
                path, _, anchor = link.partition("#")
                target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
                self.assertTrue(os.path.exists(os.path.join(ROOT, target)), f"{page}: {link}")
                if anchor:
                    self.assertIn(anchor, anchors(target), f"{page}: {link}")

    def test_every_page_is_on_the_map_of_the_front_page(self):
        linked = {os.path.normpath(link) for link in re.findall(r"\]\(([^)#\s]+)\)", section("README.md", "The pages"))}
        self.assertEqual(set(PAGES) - {"README.md"} - linked, set())

    def test_every_file_that_a_page_names_exists(self):
        for page, text in PAGES.items():
            for path in re.findall(r"`((?:server|client|tests|deploy|proto)/[\w./-]+)`", text):
                self.assertTrue(os.path.exists(os.path.join(ROOT, path)), f"{page}: {path}")

    def test_every_page_and_heading_that_a_source_refers_to_exists(self):
        references = 0
        for source, text in SOURCES.items():
            if source in PAGES or source.startswith("tests/walls/"):
                continue
            for path, heading in re.findall(r'((?:[\w.-]+/)*(?:README|CONTRIBUTING|SECURITY)\.md)(?: \("([^"]+)"\))?',
                                            text):
                references += 1
                self.assertIn(path, PAGES, source)
                if heading:
                    self.assertIn(heading, headings(path), f"{source}: {path}")
        self.assertGreater(references, 0)


if __name__ == "__main__":
    PROGRAMS = sys.argv[1:]
    unittest.main(argv=sys.argv[:1])

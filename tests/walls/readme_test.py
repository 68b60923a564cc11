#!/usr/bin/env python3
"""README tells the truth: every flag, error reason and state is in it, and it names no other flag.

    readme_test.py [PROGRAM...]     the programs whose --help is compared with README
"""
import os
import re
import subprocess
import sys
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
PROGRAMS = []
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def section(text, title):
    """The part of README below the heading `title`, up to the next heading of any level."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    return found.group(1) if found else ""


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


class ReadmeTest(unittest.TestCase):
    def setUp(self):
        self.readme = read("README.md")

    def test_every_error_reason_is_in_the_error_table(self):
        table = section(self.readme, "Errors")
        reasons = re.findall(r'ReasonRow\{Reason::\w+,\s*absl::StatusCode::\w+,\s*"([A-Z_]+)"',
                             read("server/core/errors.cc"))
        self.assertGreater(len(reasons), 10)
        self.assertEqual([reason for reason in reasons if f"`{reason}`" not in table], [])

    def test_every_state_is_in_the_table_of_states(self):
        table = section(self.readme, "States")
        states = re.findall(r"^  PREDICTION_STATE_([A-Z_]+) = [1-9]",
                            read("proto/dreamgate/v1/prediction.proto"), re.MULTILINE)
        self.assertGreater(len(states), 5)
        self.assertEqual([state for state in states if f"`{state}`" not in table], [])

    def test_every_case_about_money_names_a_test_that_there_is(self):
        rows = section(self.readme, r"What happens to your money when ...").splitlines()
        rows = [row for row in rows if row.startswith("|")][2:]
        self.assertGreater(len(rows), 15)
        for row in rows:
            shown_by = row.split("|")[-2]
            path = re.search(r"\]\(([^)]+)\)", shown_by)
            self.assertIsNotNone(path, row)
            tests = re.findall(r"TEST(?:_F|_P)?\(\w+,\s*(\w+)\)", read(path.group(1)))
            for name in re.findall(r"`(\w+)`", shown_by):
                self.assertTrue(name in tests, f"{path.group(1)} has no test {name}")

    def test_every_flag_of_the_programs_is_in_its_table_and_no_other(self):
        for program in PROGRAMS:
            name = os.path.basename(program)
            with self.subTest(program=name):
                title = "Configuration" if name == "dreamgated" else "The command line"
                documented = set(FLAG.findall(section(self.readme, title)))
                self.assertEqual(documented - {"--help", "--version"}, flags_of(program))

    def test_every_file_it_points_at_exists(self):
        targets = re.findall(r"\]\(([^)#:]+)\)", self.readme)
        self.assertGreater(len(targets), 0)
        self.assertEqual([path for path in targets if not os.path.exists(os.path.join(ROOT, path))],
                         [])


if __name__ == "__main__":
    PROGRAMS = sys.argv[1:]
    unittest.main(argv=sys.argv[:1])

#!/usr/bin/env python3
"""Puts the JSON of several benches together: one table of all figures, and one JSON file.

    report.py [--markdown] [--json FILE] FILE...

A file that cannot be read is named at the end, and the exit code is 1; a missed target is no error.
Reads what measure.h's WriteJson() writes, and poll_tradeoff's own shape. Also the module with which
benches in Python make and show the same figures.
"""
import argparse
import json
import os
import statistics
import sys


def number(value):
    """Three digits that mean something, whatever the magnitude."""
    magnitude = abs(value)
    if 0 < magnitude < 0.1:
        return f"{value:.1g}"
    decimals = 0 if magnitude >= 100 or magnitude == 0 else 1 if magnitude >= 10 else 2
    return f"{value:.{decimals}f}"


def cell(values):
    """Median (minimum .. maximum)."""
    if not values:
        return "-"
    median = number(statistics.median(values))
    if len(values) == 1:
        return median
    return f"{median} ({number(min(values))} .. {number(max(values))})"


def ratios(figure):
    """Round by round; none where the peer has nothing to divide by."""
    pairs = list(zip(figure["dreamgate"], figure["peers"]))
    return [ours / peer for ours, peer in pairs] if all(peer for _, peer in pairs) else []


def make_figure(name, unit, peer, ours, peers, at_most=None):
    """As measure.h's Figure: `ours` and `peers` hold a value a round. `at_most`: a target for the
    median of ours."""
    figure = {"figure": name, "unit": unit, "peer": peer, "target": "", "met": True}
    figure["dreamgate"] = list(ours)
    figure["peers"] = list(peers)
    if at_most is not None:
        figure["target"] = f"at most {number(at_most)} {unit}".strip()
        figure["met"] = statistics.median(ours) <= at_most
    return figure


def rows(figures):
    """The table's header and its rows, as lists of texts."""
    header = ["figure", "dreamgate", "peer", "its figure", "ratio", "target", ""]
    lines = []
    for figure in figures:
        verdict = "" if not figure["target"] else "met" if figure["met"] else "missed"
        lines.append(
            [
                f"{figure['figure']}, {figure['unit']}" if figure["unit"] else figure["figure"],
                cell(figure["dreamgate"]),
                figure["peer"] or "-",
                cell(figure["peers"]),
                cell(ratios(figure)),
                figure["target"],
                verdict,
            ]
        )
    return [header] + lines


def plain_table(figures):
    lines = rows(figures)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() + "\n"
        for line in lines
    )


def markdown_table(figures):
    header, *lines = rows(figures)
    lines = [header, ["---"] * len(header)] + lines
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def from_poll_tradeoff(shapes):
    """Of its many schedules the one that most will run, the default, against the SDK's."""
    figures = []
    for shape in shapes:
        by_name = {(row["schedule"], row["setting"]): row for row in shape["tradeoff"]}
        default = by_name["ours, learned", "20 GETs"]
        sdk = by_name["official SDK", "1 s"]

        def over_optimum(row):
            return [
                gets * delay / shape["optimum_s"]
                for gets, delay in zip(row["gets"], row["mean_delay_s"])
            ]

        targets = {"sample": (25, 1.5)}.get(shape["shape"], (None, None))
        where = f"{shape['shape']}: "
        peer = "SDK"
        figures += [
            make_figure(where + "GETs per video", "", peer, default["gets"], sdk["gets"],
                        at_most=targets[0]),
            make_figure(where + "mean delay of the end", "s", peer, default["mean_delay_s"],
                        sdk["mean_delay_s"], at_most=targets[1]),
            make_figure(where + "GETs x mean delay, over the optimum", "x", peer,
                        over_optimum(default), over_optimum(sdk), at_most=1.15),
        ]
    about = "virtual time, default budget after 200 videos; of all schedules the default only"
    return {"about": about, "figures": figures}


def read(path):
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    part = from_poll_tradeoff(content) if isinstance(content, list) else content
    name = os.path.splitext(os.path.basename(path))[0]
    for figure in part["figures"]:
        if not {"figure", "unit", "peer", "target", "met", "dreamgate", "peers"} <= figure.keys():
            raise ValueError(f"incomplete figure {figure}")
    return {"bench": name, **part}


def main():
    parser = argparse.ArgumentParser(description="One table of all figures.")
    parser.add_argument("--markdown", action="store_true", help="one table a part, in Markdown")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("files", nargs="+", metavar="FILE")
    arguments = parser.parse_args()
    parts, unreadable = [], []
    for path in arguments.files:
        try:
            parts.append(read(path))
        except (OSError, ValueError, KeyError, TypeError) as problem:
            unreadable.append(f"report.py: {path}: {problem!r}")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"parts": parts}, file, indent=1)
            file.write("\n")
    if arguments.markdown:
        for part in parts:
            print(f"{part['bench']}: {part['about']}.\n")
            print(markdown_table(part["figures"]))
    else:
        for part in parts:
            print(f"{part['bench']}: {part['about']}")
        print()
        print(plain_table([f for part in parts for f in part["figures"]]), end="")
    figures = [figure for part in parts for figure in part["figures"] if figure["target"]]
    missed = [figure["figure"].strip() for figure in figures if not figure["met"]]
    if not arguments.markdown:
        print(f"\n{len(figures) - len(missed)} of {len(figures)} targets met", end="")
        print("; missed: " + "; ".join(missed) if missed else "")
    if unreadable:
        sys.exit("\n".join(unreadable))


if __name__ == "__main__":
    main()

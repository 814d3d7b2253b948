#!/usr/bin/env python3
"""The verdicts of a run as Markdown, for the page of a job.

    summary.py VERDICTS.json STATUS
"""
import json
import sys
from collections import Counter

MEANS = {
    0: "as expected",
    1: "not as expected",
    2: "a mistake in the scenarios or arguments",
    3: "the server could not be tested",
    4: "nothing was selected",
    130: "interrupted",
}
MOST = 50


def cell(text):
    """One line that breaks no table."""
    return " ".join(str(text or "").split()).replace("|", "\\|").replace("<", "&lt;")


def main(file, status):
    print(f"### streamgauge: {MEANS.get(status, f'exit code {status}')}\n")
    try:
        with open(file, encoding="utf-8") as opened:
            cases = json.load(opened)["cases"]
    except (OSError, ValueError, KeyError):
        print("There are no verdicts.")
        return
    counts = Counter(case["verdict"] for case in cases)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()) or "no expectations")
    unexpected = [case for case in cases if not case["expected"]]
    if not unexpected:
        return
    print("\n| expectation | verdict | want | got |\n|---|---|---|---|")
    for case in unexpected[:MOST]:
        print("|", " | ".join(cell(case.get(name)) for name in ("rule", "verdict", "want", "got")), "|")
    if len(unexpected) > MOST:
        print(f"\nand {len(unexpected) - MOST} more.")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

#!/usr/bin/python3
"""Runs benchmark commands in turn, round after round, and compares each with the first.

Each command runs in the project's root and prints a JSON object with median_ms as its last line. A
table goes to standard error, JSON to standard output or --out. Example:

  bench/peers/compare.py --rounds 5 \\
    --run ours='build/release/bin/ditmoe bench forward S/2 --batch 8 --dtype f32 --json' \\
    --run onnxruntime='bench/peers/onnxruntime_forward.mjs S/2 --threads 2'
"""

import argparse
import contextlib
import sys

import peer_common


def parse_run(text):
    label, separator, command = text.partition("=")
    name, _, field = label.partition("@")
    if not (name and separator and command):
        raise argparse.ArgumentTypeError(f"expected NAME[@FIELD]=COMMAND, found '{text}'")
    return peer_common.Command(name, command, field=field or "median_ms")


def run_and_report(commands, rounds, extra=None, key_figures=None):
    """The whole comparison as a dictionary; key_figures(rows) adds what a caller draws from it."""
    load = peer_common.ForeignLoad()
    results = peer_common.run_rounds(commands, rounds)
    rows = peer_common.compare(commands, results)
    with contextlib.redirect_stdout(sys.stderr):
        peer_common.print_table(rows)
    return {
        **(extra or {}), "machine": peer_common.machine(), "rounds": rounds, "rows": rows,
        **(key_figures(rows) if key_figures else {}), "foreign_load": load.stop(),
        "versions": {name: runs[-1]["versions"] for name, runs in results.items()
                     if "versions" in runs[-1]},
        "results": results}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="append", type=parse_run, required=True,
                        metavar="NAME[@FIELD]=COMMAND",
                        help="others are compared with the first one; FIELD: the number of the "
                        "JSON object to compare instead of median_ms")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", help="write the JSON here, not to standard output")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        peer_common.die("--rounds starts at 1")
    if len({command.name for command in arguments.run}) != len(arguments.run):
        peer_common.die("two commands of the same name")
    peer_common.write_result(run_and_report(arguments.run, arguments.rounds), arguments.out)


if __name__ == "__main__":
    main()

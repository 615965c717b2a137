#!/usr/bin/python3
"""Compares our forward with that of PyTorch (pytorch_forward.py), in interleaved rounds.

PyTorch runs as installed, in the environment as it is, and at its best: OPENBLAS_CORETYPE and
OPENBLAS_L2_SIZE unset, OMP_WAIT_POLICY=PASSIVE, the fastest of one thread, of --threads, and in f32
of --threads with oneDNN's products. A table goes to standard error, JSON to standard output or
--out.
"""

import argparse
import sys

import compare
import peer_common

OURS = "build/release/bin/ditmoe bench forward {preset} --batch {batch} --dtype {dtype} --json"
FORWARD = peer_common.ROOT / "bench" / "peers" / "pytorch_forward.py"
OURS_NAME, INSTALLED_NAME = "ditmoe", "pytorch as installed"


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default="S/2-8E2A")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", choices=("f32", "bf16", "int8"), default="f32",
                        help="int8: ours only; PyTorch then runs in bf16 (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="most threads of PyTorch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repetitions", type=int, default=5, help="forwards of PyTorch in a round")
    parser.add_argument("--ours", default=OURS,
                        help="our command; {preset}, {batch} and {dtype} are filled in; '' leaves "
                        "it out, and ratios are to PyTorch as installed (%(default)s)")
    parser.add_argument("--out", help="write the JSON here, not to standard output")
    arguments = parser.parse_args()
    if min(arguments.batch, arguments.threads, arguments.rounds, arguments.repetitions) < 1:
        peer_common.die("--batch, --threads, --rounds and --repetitions start at 1")
    peer_common.preset_fields(arguments.preset)
    return arguments


def pytorch(name, arguments, environment, *options):
    dtype = "bf16" if arguments.dtype == "int8" else arguments.dtype
    return peer_common.Command(
        name, ["/usr/bin/python3", FORWARD, arguments.preset, "--batch", arguments.batch,
               "--dtype", dtype, "--repetitions", arguments.repetitions, *options], environment)


def best_settings(threads, blas_threads):
    return {"OPENBLAS_CORETYPE": None, "OPENBLAS_L2_SIZE": None, "OMP_WAIT_POLICY": "PASSIVE",
            "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(blas_threads)}


def commands_of(arguments):
    commands = []
    if arguments.ours:
        ours = arguments.ours
        for field in ("preset", "batch", "dtype"):
            ours = ours.replace(f"{{{field}}}", str(getattr(arguments, field)))
        commands.append(peer_common.Command(OURS_NAME, ours))
    commands.append(pytorch(INSTALLED_NAME, arguments, {}))
    for threads in sorted({1, arguments.threads}):
        commands.append(pytorch(f"pytorch, threads {threads}", arguments,
                                best_settings(threads, threads), "--threads", threads))
    if arguments.dtype == "f32":
        # OpenBLAS's threads would only take cores from those of oneDNN.
        commands.append(pytorch(f"pytorch, threads {arguments.threads}, onednn", arguments,
                                best_settings(arguments.threads, 1),
                                "--threads", arguments.threads, "--linear", "onednn"))
    return commands


def key_figures(rows):
    """Which of PyTorch's settings was the fastest, and how much slower than ours (first row)."""
    by_name = {row["name"]: row for row in rows}
    best = min((row for row in rows if row["name"] not in (OURS_NAME, INSTALLED_NAME)),
               key=lambda row: row["median_ms"])
    print(f"best settings of PyTorch: {best['name']}; ratio {best['ratio']:.2f}, as installed "
          f"{by_name[INSTALLED_NAME]['ratio']:.2f} (to {rows[0]['name']})", file=sys.stderr)
    return {"best": best["name"], "ratio_best": best["ratio"],
            "ratio_as_installed": by_name[INSTALLED_NAME]["ratio"]}


def main():
    arguments = parse_arguments()
    extra = {"preset": arguments.preset, "batch": arguments.batch, "dtype": arguments.dtype}
    result = compare.run_and_report(commands_of(arguments), arguments.rounds, extra, key_figures)
    peer_common.write_result(result, arguments.out)


if __name__ == "__main__":
    main()

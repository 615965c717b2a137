"""What the peer benchmarks share: presets, statistics, the machine, and rounds of commands.

Every benchmark is a process that prints one JSON object as its last line, with median_ms, p10_ms
and p90_ms. Rounds run all of them in turn, so that a machine that drifts slows all of them alike.
"""

import json
import os
import pathlib
import platform
import re
import resource
import shlex
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
ORACLE = ROOT / "tests" / "oracle"
BUILD = ROOT / "build" / "peers"

# Letter of a preset: depth, width, heads (arXiv 2407.11633, table 1).
SIZES = {"S": (12, 384, 6), "B": (12, 768, 12), "L": (24, 1024, 16), "XL": (28, 1152, 16),
         "G": (40, 1408, 16)}
PRESET = re.compile(r"(S|B|L|XL|G)/([248])(?:-(\d+)E(\d+)A)?")


def die(message):
    """One line on standard error and exit code 2: wrong usage, or something to install."""
    print(f"{pathlib.Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    sys.exit(2)


def preset_fields(name):
    """Fields of the oracle's DitConfig at 256 x 256: S/2-8E2A, or S/2 for a dense one."""
    match = PRESET.fullmatch(name)
    if not match:
        die(f"unknown preset '{name}': expected for example S/2-8E2A, or S/2 for a dense DiT")
    depth, width, heads = SIZES[match[1]]
    fields = {"depth": depth, "width": width, "heads": heads, "patch_size": int(match[2])}
    if match[3]:
        return fields | {"feed_forward": "moe", "experts": int(match[3]), "top_k": int(match[4])}
    return fields | {"feed_forward": "gelu", "shared_experts": 0}


def summary_ms(seconds):
    """median_ms, p10_ms and p90_ms of durations in seconds."""
    ordered = sorted(1e3 * duration for duration in seconds)

    def quantile(q):
        at = q * (len(ordered) - 1)
        low = int(at)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (at - low) * (ordered[high] - ordered[low])

    return {f"{name}_ms": round(quantile(q), 3)
            for name, q in (("median", 0.5), ("p10", 0.1), ("p90", 0.9))}


def machine():
    """CPU, cores and kernel, and the variables of the environment that change how libraries run."""
    model = platform.processor()
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    prefixes = ("OPENBLAS_", "OMP_", "GOMP_", "MKL_", "ONEDNN_", "DNNL_", "DITMOE_")
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "kernel": platform.release(),
            "environment": {name: value for name, value in sorted(os.environ.items())
                            if name.startswith(prefixes)}}


class ForeignLoad:
    """Seconds of CPU that others took between start and stop, per second of time.

    All CPUs' busy time of /proc/stat, less what this process and its finished children used. Needs
    the machine's /proc/stat: in a container it counts neighbours too, which is what is wanted.
    """

    def __init__(self):
        self._begin = self._now()

    @staticmethod
    def _now():
        fields = [int(word) for word in pathlib.Path("/proc/stat").read_text().split("\n")[0]
                  .split()[1:]]
        user, nice, system, _, _, irq, softirq, steal = fields[:8]
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        own = 0.0
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(who)
            own += usage.ru_utime + usage.ru_stime
        return busy - own, time.monotonic()

    def stop(self):
        foreign, now = self._now()
        return round(max(0.0, (foreign - self._begin[0]) / max(now - self._begin[1], 1e-9)), 3)


def last_json(text):
    """The JSON object in the last line that is not empty."""
    lines = [line for line in text.splitlines() if line.strip()]
    return json.loads(lines[-1]) if lines else None


class Command:
    """A named command, run in the project's root.

    environment holds variables to set (a value) or to remove (None). field names the entry of the
    result that is compared; p10_ms and p90_ms are scaled alike.
    """

    def __init__(self, name, argv, environment=None, field="median_ms"):
        self.name = name
        self.field = field
        self.argv = shlex.split(argv) if isinstance(argv, str) else [str(word) for word in argv]
        self.environment = environment or {}

    def shown(self):
        """As one would type it."""
        unset = [word for name, value in self.environment.items() if value is None
                 for word in ("-u", name)]
        assigned = [f"{name}={value}" for name, value in self.environment.items()
                    if value is not None]
        prefix = ["env", *unset, *assigned] if unset or assigned else []
        return shlex.join(prefix + self.argv)

    def run(self):
        environment = os.environ | {name: value for name, value in self.environment.items()
                                    if value is not None}
        for name, value in self.environment.items():
            if value is None:
                environment.pop(name, None)
        load = ForeignLoad()
        try:
            done = subprocess.run(self.argv, env=environment, cwd=ROOT, text=True, check=False,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except OSError as error:
            die(f"{self.name}: cannot run {self.argv[0]} in {ROOT}: {error.strerror}")
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            die(f"{self.name}: exit {done.returncode}: {reason}")
        try:
            result = last_json(done.stdout)
            median = float(result["median_ms"])
            scale = float(result[self.field]) / median
            for name in ("median_ms", "p10_ms", "p90_ms"):
                result[name] = scale * float(result.get(name, median))
        except (json.JSONDecodeError, TypeError, KeyError, ValueError, ZeroDivisionError):
            wanted = " and ".join(dict.fromkeys(("median_ms", self.field)))
            die(f"{self.name}: expected a JSON object with {wanted} in the last line of output")
        result["foreign_load"] = load.stop()
        return result


def run_rounds(commands, rounds):
    """Per command the results of all rounds; the order turns by one from round to round."""
    results = {command.name: [] for command in commands}
    for index in range(rounds):
        turn = index % len(commands)
        for command in commands[turn:] + commands[:turn]:
            result = command.run()
            results[command.name].append(result)
            print(f"round {index + 1}/{rounds}  {command.name:28} {result['median_ms']:10.2f} ms"
                  f"  foreign load {result['foreign_load']:.2f}", file=sys.stderr)
    return results


def compare(commands, results):
    """A row per command: the median of its rounds' medians, and its ratio to the first command.

    The ratio is the median over rounds of (this command / first command in the same round), with
    the smallest and the largest beside it: more than 1 is slower than the first.
    """
    base = [result["median_ms"] for result in results[commands[0].name]]
    rows = []
    for command in commands:
        own = results[command.name]
        medians = [result["median_ms"] for result in own]
        ratios = [mine / theirs for mine, theirs in zip(medians, base)]
        rows.append({
            "name": command.name, "median_ms": round(statistics.median(medians), 3),
            "p10_ms": round(statistics.median(result["p10_ms"] for result in own), 3),
            "p90_ms": round(statistics.median(result["p90_ms"] for result in own), 3),
            "ratio": round(statistics.median(ratios), 3),
            "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
            "foreign_load": round(statistics.median(result["foreign_load"] for result in own), 3),
            "command": command.shown()})
    return rows


def print_table(rows):
    print(f"{'':28} {'median ms':>10} {'p10':>9} {'p90':>9} {'ratio':>7} {'range':>13} "
          f"{'foreign':>8}")
    for row in rows:
        low, high = row["ratio_range"]
        print(f"{row['name']:28} {row['median_ms']:10.2f} {row['p10_ms']:9.2f} "
              f"{row['p90_ms']:9.2f} {row['ratio']:7.2f} {f'{low:.2f}-{high:.2f}':>13} "
              f"{row['foreign_load']:8.2f}")


def write_result(result, out):
    """One line of JSON on standard output, or an indented file that appears whole or not at all."""
    if not out:
        print(json.dumps(result))
        return
    path = pathlib.Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)

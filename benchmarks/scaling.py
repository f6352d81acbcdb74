#!/usr/bin/env python3
"""Measure how the seconds and the memory of a meta-step grow with tasks, inner steps, filters,
image size and processes, and draw the curves.

Each curve changes one of these in a step of second-order MAML: 8 tasks, 5-way 1-shot with 15
queries, 5 inner steps, the strided network with 64 filters, 28 x 28 pixels, and a process for each
core.

examples:
  python benchmarks/scaling.py
  python benchmarks/scaling.py --only tasks filters --longest 2    short: curves end at 2 s a step
"""

import argparse
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import bench
from maml.config import Config
from maml.system import device, errors, files, launch

BASE = {"meta_batch_size": 8, "inner_steps": 5, "filters": 64}
CURVES = {  # by what changes: its values
    "tasks": [1, 2, 4, 8, 16, 32, 64, 128],
    "inner steps": [1, 2, 5, 10, 20],
    "filters": [32, 64, 128, 256],
    "image size": [28, 42, 56, 84, 105],
    "processes": [1, 2, 4],
}
SETTING = {"tasks": "meta_batch_size", "inner steps": "inner_steps", "filters": "filters"}


def command(curve: str, value: int, repeats: int) -> list[str]:
    """Return the command that measures a point of a curve."""
    own = {SETTING[curve]: value} if curve in SETTING else {}
    flags = ["--setting", json.dumps({**BASE, **own}), "--repeats", str(repeats)]
    if curve == "image size":
        flags += ["--size", str(value)]
    if curve == "processes":
        flags += ["--processes", str(value)]
    return [sys.executable, __file__, *flags]


def measured(curve: str, repeats: int, longest: float) -> list[dict]:
    """Return the points of a curve, up to the first whose step takes longer than `longest`."""
    points: list[dict] = []
    for value in CURVES[curve]:
        found = bench.run(command(curve, value, repeats))
        seconds, cpu, memory = (found[key] for key in ("seconds", "cpu", "memory"))
        points.append({"value": value, "seconds": seconds, "cpu": cpu, "bytes": memory})
        text = f"{curve} {value}: {seconds:.3f} s, {cpu:.3f} of all cores, {memory / 2**30:.2f} GiB"
        print(text, flush=True)
        if seconds > longest:
            break
    return points


def exponent(points: list[dict], of: str) -> float:
    """Return p of the law that `of` grows as the value to the power of p, at the curve's end."""
    import numpy as np

    end = points[-3:]
    return float(np.polyfit(np.log([p["value"] for p in end]), np.log([p[of] for p in end]), 1)[0])


def figure(curves: dict[str, list[dict]], title: str):
    """Return a figure with a column for each curve: seconds above, memory below."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(3 * len(curves), 5.5), layout="constrained")
    axes = drawn.subplots(2, len(curves), squeeze=False)
    for column, (name, points) in enumerate(curves.items()):
        for row, (key, label, unit) in enumerate(
            [("seconds", "seconds a step", 1), ("bytes", "memory, GiB", 2**30)]
        ):
            ax = axes[row, column]
            x, y = [p["value"] for p in points], [p[key] / unit for p in points]
            ax.loglog(x, y, "o-", base=2)
            ax.set_xticks(x, [str(value) for value in x])
            ax.yaxis.set_major_formatter("{x:g}")
            ax.set_xlabel(name)
            ax.grid(alpha=0.3)
            if column == 0:
                ax.set_ylabel(label)
    drawn.suptitle(title)
    return drawn


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=CURVES, default=list(CURVES))
    parser.add_argument(
        "--longest", type=float, default=60, help="seconds of a step at which a curve ends"
    )
    parser.add_argument("--repeats", type=int, default=5, help="steps of each (default: 5)")
    parser.add_argument("--out", type=Path, default=Path("scaling.json"), help="and .png beside it")
    parser.add_argument("--setting", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, default=28, help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.setting:
        config = Config(**arguments.setting)
        if launch.is_worker():
            bench.work("maml", config, arguments.repeats, arguments.size)
            return 0
        return launch.start(launch.choose_workers(arguments.processes, config.meta_batch_size))
    load = bench.busy()
    if load > bench.QUIET:
        print(f"warning: others keep {load:.1f} cores busy, so the seconds are too many")
    curves = {c: measured(c, arguments.repeats, arguments.longest) for c in arguments.only}
    laws = {
        c: {of: round(exponent(points, of), 2) for of in ("seconds", "cpu", "bytes")}
        for c, points in curves.items()
        if len(points) > 2
    }
    title = f"{device.machine()}, {time.strftime('%Y-%m-%d')}"
    found = {"machine": title, "busy cores": load, "curves": curves, "exponents": laws}
    drawn, text = figure(curves, title), json.dumps(found, indent=1) + "\n"
    files.write(
        {
            arguments.out: lambda file: file.write(text.encode()),
            arguments.out.with_suffix(".png"): lambda file: drawn.savefig(file, format="png"),
        }
    )
    for name, law in laws.items():
        powers = ", ".join(f"{of} ~ {name}^{power}" for of, power in law.items())
        print(f"at the end of the curve: {powers}")
    print(f"written: {arguments.out} and {arguments.out.with_suffix('.png')}")
    return 0


if __name__ == "__main__":
    errors.run(main)

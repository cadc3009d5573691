#!/usr/bin/env python
"""Rows a second of building training data offline: queries, the Crawler's sessions, the Selector's pairs; whole builds.

    python benchmarks/training_data.py --library L [--held_out dev.jsonl] [--workers 1 2] [--runs 3] [--json FILE]

Each build is the script that a user calls, in a process of its own, start-up and reading the library included. The
numbers of workers take turns; figures are medians over the runs. "CPU s" are those of all its processes: on a machine
that others keep busy they stretch less than the seconds by the clock, though they stretch, too. `load` is the mean
number of processes that wanted a processor before the build began: at more than a few tenths the clock tells nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUILDS = ("queries", "crawler", "selector")


def main() -> None:
    args = _parser().parse_args()
    rounds: list[dict[str, Any]] = []
    for _ in range(args.runs):
        for workers in args.workers:
            with tempfile.TemporaryDirectory() as folder:
                rounds += [build(name, workers, Path(folder), args) for name in BUILDS]
    rows = [summary(rounds, name, workers) for name in BUILDS for workers in args.workers]
    print("build      workers    rows   wall s   rows/s    CPU s rows/CPU s   load")
    for row in rows:
        print(
            f"{row['build']:10} {row['workers']:7} {row['rows']:7} {row['wall_s']:8.1f} {row['rows_a_second']:8.0f} "
            f"{row['cpu_s']:8.1f} {row['rows_a_cpu_second']:10.0f} {row['load']:6.1f}"
        )
    if args.json:
        args.json.write_text(json.dumps({"summary": rows, "rounds": rounds}, indent=1) + "\n")


def build(name: str, workers: int, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """One build with what it took."""
    load, cpu, started = os.getloadavg()[0], _children_cpu(), time.monotonic()
    done = subprocess.run(command(name, workers, folder, args), cwd=ROOT, capture_output=True, text=True)
    wall, cpu = time.monotonic() - started, _children_cpu() - cpu
    if done.returncode:
        raise SystemExit(done.stderr.splitlines()[-1])
    rows = sum(file["rows"] for file in json.loads(done.stdout)["files"].values())
    return {"build": name, "workers": workers, "rows": rows, "wall_s": wall, "cpu_s": cpu, "load": load}


def command(name: str, workers: int, folder: Path, args: argparse.Namespace) -> list[str]:
    """The command line of a build; the queries that the others are made from lie beside it."""
    script = "build_queries.py" if name == "queries" else f"build_sft_{name}.py"
    common = ["--library", args.library, "--output_folder", str(folder / name), "--workers", str(workers)]
    if name != "queries":
        return [sys.executable, f"scripts/{script}", *common, "--queries", str(folder / "queries")]
    more = ["--held_out", *args.held_out] if args.held_out else []
    return [sys.executable, f"scripts/{script}", *common, "--sections", args.sections, *more]


def summary(rounds: Sequence[dict[str, Any]], name: str, workers: int) -> dict[str, Any]:
    """Medians over the runs of one build."""
    runs = [run for run in rounds if (run["build"], run["workers"]) == (name, workers)]
    wall, cpu = (statistics.median(run[key] for run in runs) for key in ("wall_s", "cpu_s"))
    return {
        "build": name,
        "workers": workers,
        "rows": runs[0]["rows"],
        "wall_s": wall,
        "cpu_s": cpu,
        "rows_a_second": runs[0]["rows"] / wall,
        "rows_a_cpu_second": runs[0]["rows"] / cpu,
        "load": max(run["load"] for run in runs),
    }


def _children_cpu() -> float:
    """Processor seconds of all child processes that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--library", required=True, metavar="L", help="a built library with sections (scripts/build_library.py)")
    add("--held_out", nargs="*", default=[], metavar="FILE", help="as scripts/build_queries.py takes it; whole paths")
    add("--sections", choices=("review", "all"), default="review", help="which sections queries are made from")
    add("--workers", type=int, nargs="+", default=[1, 2], metavar="N", help="numbers of processes to compare")
    add("--runs", type=int, default=3)
    add("--json", type=Path, metavar="FILE", help="where all figures go")
    return parser


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""Curves of PPO runs, out of their metrics.jsonl: a file for each metric, a line for each run.

    python scripts/plot_ppo.py --runs results/ppo_small results/ppo_other --out figures
    python scripts/plot_ppo.py --runs results/ppo_small --out figures --metrics kl_reference entropy --mean_of 5

Every metric of docs/TRAINING.md may be named. A point is the mean of --mean_of steps; of metrics measured now and then,
eval/..., each is a point. A run is called by its folder, and by as much of the path before it as tells it from others.
TensorBoard and W&B show the same while a run goes on (--report_to).

Exit codes as run_paper_agent.py's: 0 done · 2 something to mend in the call
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.errors import ConfigError, PasaError
from pasa.evaluation.report_figures import Axis, Line, LineChart, to_svg
from pasa.flags import OneLineParser
from pasa.results import write_whole
from trl_ext.session_ppo.metrics_file import METRICS_FILE
from trl_ext.session_ppo.run_names import names_of

METRICS = ("reward_per_session", "actions_per_session", "kl_reference", "eval/crawler_recall")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    try:
        options = _parser().parse_args(argv)
        if options.mean_of < 1:
            raise ConfigError("--mean_of must be 1 or more")
        names = names_of(options.runs, "--runs")
        runs = {name: read_metrics(folder) for name, folder in zip(names, options.runs, strict=True)}
        for metric in options.metrics:
            path = options.out / f"{metric.replace('/', '-')}.svg"
            write_whole(path, to_svg(chart(runs, metric, options.mean_of)) + "\n")
            print(path)
    except PasaError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def read_metrics(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Metric -> (step, value) of every line that has it. Raises ConfigError."""
    path = folder / METRICS_FILE
    found: dict[str, list[tuple[float, float]]] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            for name, value in row.items():
                if name != "step" and isinstance(value, int | float):
                    found.setdefault(name, []).append((float(row["step"]), float(value)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): name the output_dir of a PPO run") from error
    return found


def chart(runs: dict[str, dict[str, list[tuple[float, float]]]], metric: str, mean_of: int) -> LineChart:
    """The metric's curves of all runs that have it. Raises ConfigError where none has."""
    lines = {name: smoothed(found[metric], mean_of) for name, found in runs.items() if metric in found}
    if not lines:
        known = sorted({name for found in runs.values() for name in found})
        raise ConfigError(f"no run has a metric {metric!r}; there are {', '.join(known)}")
    return LineChart(
        f"ppo-{metric.replace('/', '-')}",
        f"{metric} over the steps",
        f"The PPO metric {metric} of {', '.join(lines)} over the steps of training.",
        Axis("step"),
        Axis(metric),
        tuple(Line(name, points) for name, points in lines.items()),
    )


def smoothed(points: Sequence[tuple[float, float]], mean_of: int) -> tuple[tuple[float, float], ...]:
    """Means of so many neighbours, where the steps follow one another without a gap; else the points themselves."""
    steps = [step for step, _ in points]
    if any(later - step != 1 for step, later in pairwise(steps)):
        return tuple(points)
    parts = [points[at : at + mean_of] for at in range(0, len(points), mean_of)]
    return tuple((statistics.mean(s for s, _ in part), statistics.mean(v for _, v in part)) for part in parts)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--runs", type=Path, nargs="+", required=True, metavar="DIR", help="output_dir of each run")
    add("--out", type=Path, required=True, metavar="FOLDER", help="where the SVG files go")
    add("--metrics", nargs="+", default=METRICS, metavar="NAME", help=f"what is drawn (default: {' '.join(METRICS)})")
    add("--mean_of", type=int, default=4, metavar="N", help="steps a point (default: 4)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

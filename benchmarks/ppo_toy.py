#!/usr/bin/env python
"""Session PPO in the toy world, whole and with parts taken away: does it learn, and in the paper's order?

    python benchmarks/ppo_toy.py --json results/ppo_toy.json --figures docs/figures

Each variant is trained from the same first policy with several seeds; the first policy alone is "SFT only". Held-out
queries are crawled by sampling, all papers on the subject being answers, and every 8 steps. About 8 seconds of one CPU
core a run; --json is written after each, and a run that is in it already is not made again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

import torch

from pasa.evaluation.report_figures import Axis, Line, LineChart, to_svg
from pasa.results import write_json, write_whole
from trl_ext.session_ppo.metrics_file import METRICS_FILE
from trl_ext.session_ppo.run_settings import load_ppo_run
from trl_ext.session_ppo.toy import ToySelector, ToyWorld, write_toy_world
from trl_ext.session_ppo.training import train

FIRST = "SFT only"  # what every run measures before its first step
FULL = "PPO"
VARIANTS: dict[str, dict[str, Any]] = {
    FULL: {},
    "PPO without Selector reward": {"selector_reward": False},
    "PPO without Expand": {"rounds": 0, "eval_expand_layers": 0},
    "PPO, alpha 0.5": {"alpha": 0.5},
    "PPO, alpha 2": {"alpha": 2.0},
    "PPO, cost 0": {"search_cost": 0.0, "expand_cost": 0.0},
    "PPO, cost 1": {"search_cost": 1.0, "expand_cost": 1.0},
}
# The same where training knows of no answer but those that a search finds; the Selector still knows them all.
FEW_ANSWERS = ", few answers known"
VARIANTS |= {f"{name}{FEW_ANSWERS}": VARIANTS[name] for name in (FULL, "PPO without Selector reward")}
CURVES = (FULL, "PPO without Selector reward", "PPO without Expand", "PPO, cost 0")
SETTINGS: dict[str, Any] = {
    "search_sessions": 16,
    "expand_sessions": 16,
    "rounds": 1,
    "generation_batch": 32,
    "forward_batch": 32,
    "evaluation_batch": 64,
    "max_new_tokens": 12,
    "search_papers": 3,
    "value_warmup_steps": 8,
    "learning_rate": 2e-3,
    "value_learning_rate": 5e-3,
    "kl_coefficient": 0.01,
    "gradient_checkpointing": False,
    "device": "cpu",
    "save_steps": 1000,
    "eval_steps": 8,
    "eval_temperature": 1.0,
    "eval_expand_layers": 1,
}
HELD_OUT_A_SUBJECT = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what is missing in --json, and writes table and figures."""
    options = _parser().parse_args(argv)
    torch.set_num_threads(1)
    runs: dict[str, Any] = json.loads(options.json.read_text()) if options.json.is_file() else {}
    with tempfile.TemporaryDirectory(prefix="ppo-toy-") as folder:
        for seed in range(options.seeds):
            world = write_toy_world(Path(folder) / f"world-{seed}", seed, held_out_a_subject=HELD_OUT_A_SUBJECT)
            few = write_toy_world(Path(folder) / f"few-{seed}", seed, 4, HELD_OUT_A_SUBJECT, gold_among_cited=0.0)
            for name, changes in VARIANTS.items():
                if f"{name}/{seed}" not in runs:
                    output = Path(folder) / f"{name}-{seed}"
                    runs[f"{name}/{seed}"] = run(
                        few if name.endswith(FEW_ANSWERS) else world,
                        output,
                        {"steps": options.steps, "seed": seed, **changes},
                    )
                    write_json(options.json, runs)
                    print(f"{name}, seed {seed}: {_last(runs[f'{name}/{seed}'])}", file=sys.stderr, flush=True)
    print("\n".join(table(runs)))
    if options.figures:
        for chart in charts(runs):
            write_whole(options.figures / f"{chart.slug}.svg", to_svg(chart) + "\n")
    return 0


def run(world: ToyWorld, output: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """What was logged: step -> reward a session, step -> what held-out queries found."""
    paths = {
        "model_name_or_path": str(world.model),
        "library": str(world.library),
        "queries": str(world.queries),
        "eval_queries": str(world.held_out),
        "cache_dir": str(world.library.parent / "cache"),
        "output_dir": str(output),
    }
    started = time.process_time()
    train(load_ppo_run(None, SETTINGS | paths | changes), tell=lambda line: None, selector=ToySelector())
    lines = [json.loads(line) for line in (output / METRICS_FILE).read_text(encoding="utf-8").splitlines()]
    evaluations = {
        line["step"]: {name.removeprefix("eval/"): value for name, value in line.items() if name.startswith("eval/")}
        for line in lines
        if "eval/crawler_recall" in line
    }
    rewards = {line["step"]: line["reward_per_session"] for line in lines if "reward_per_session" in line}
    return {"rewards": rewards, "evaluations": evaluations, "cpu_seconds": round(time.process_time() - started, 1)}


def table(runs: dict[str, Any]) -> list[str]:
    """Markdown: means over seeds and their range, of the held-out queries after the last step."""
    rows = ["| variant | crawler recall | actions | papers found | matched | seeds |", "|---|---|---|---|---|---|"]
    for name in (FIRST, *VARIANTS):
        found = _evaluations(runs, name)
        if not found:
            continue
        cells = []
        for measure in ("crawler_recall", "actions", "papers", "matched"):
            values = [one[measure] for one in found]
            cells.append(f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})")
        rows.append(f"| {name} | {' | '.join(cells)} | {len(found)} |")
    return rows


def _evaluations(runs: dict[str, Any], variant: str) -> list[dict[str, float]]:
    """A variant's last evaluations, one a seed; of FIRST the first ones of the whole algorithm's runs."""
    name, place = (FULL, min) if variant == FIRST else (variant, max)
    found = [run["evaluations"] for key, run in runs.items() if key.rsplit("/", 1)[0] == name]
    return [evaluations[str(place(map(int, evaluations)))] if isinstance(next(iter(evaluations)), str)
            else evaluations[place(evaluations)] for evaluations in found]  # fmt: skip


def charts(runs: dict[str, Any]) -> list[LineChart]:
    """Curves of reward, recall and actions, means over seeds."""
    runs = json.loads(json.dumps(runs))  # steps as text, whether read or just made
    told = [
        ("ppo-toy-reward", "rewards", None, "Reward of a session in training", "reward a session, mean of 4 steps"),
        ("ppo-toy-recall", "evaluations", "crawler_recall", "Crawler recall on held-out queries", "crawler recall"),
        ("ppo-toy-actions", "evaluations", "actions", "Actions a held-out query", "actions a query"),
    ]
    return [
        LineChart(
            slug,
            f"{title}, toy world",
            f"{title} over the steps of session PPO in the toy world, for the whole algorithm and with parts left out.",
            Axis("step"),
            Axis(label, low=0.0),
            tuple(Line(name, tuple(_points(runs, name, part, measure))) for name in CURVES if _has(runs, name)),
        )
        for slug, part, measure, title, label in told
    ]


def _has(runs: dict[str, Any], name: str) -> bool:
    return any(key.rsplit("/", 1)[0] == name for key in runs)


def _points(runs: dict[str, Any], name: str, part: str, measure: str | None) -> list[tuple[float, float]]:
    """(step, mean over seeds); rewards as means of four steps."""
    found = [run[part] for key, run in runs.items() if key.rsplit("/", 1)[0] == name]
    steps = sorted(map(int, found[0]))
    values = [
        statistics.mean(one[str(step)][measure] if measure else one[str(step)] for one in found) for step in steps
    ]
    if measure:
        return [(float(step), value) for step, value in zip(steps, values, strict=True)]
    stretch = 4
    return [
        (statistics.mean(steps[i : i + stretch]), statistics.mean(values[i : i + stretch]))
        for i in range(0, len(steps), stretch)
    ]


def _last(run: dict[str, Any]) -> str:
    last = list(run["evaluations"].values())[-1]
    return ", ".join(f"{name} {last[name]:.2f}" for name in ("crawler_recall", "actions")) + f", {run['cpu_seconds']} s"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="what was measured; gone on with")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="curves as SVG")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=32)
    return parser


if __name__ == "__main__":
    sys.exit(main())

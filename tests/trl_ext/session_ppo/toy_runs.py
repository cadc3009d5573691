"""Runs of the trainer in the toy world, for tests in this process and in others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from trl_ext.session_ppo.run_settings import PpoRun, load_ppo_run
from trl_ext.session_ppo.toy import ToyWorld

STEPS = 6


def flags(world: ToyWorld, output: Path, **others: Any) -> dict[str, Any]:
    return {
        "model_name_or_path": str(world.model),
        "library": str(world.library),
        "queries": str(world.queries),
        "cache_dir": str(world.library.parent / "cache"),
        "output_dir": str(output),
        "selector": None,
        "max_new_tokens": 12,
        "search_papers": 3,
        "steps": STEPS,
        "eval_steps": 1000,
        "save_steps": 2,
        "learning_rate": 3e-3,
        "value_warmup_steps": 1,
        "gradient_checkpointing": False,
        "forward_batch": 16,
        "evaluation_batch": 64,
        "device": "cpu",
        **others,
    }


def settings(world: ToyWorld, output: Path, **others: Any) -> PpoRun:
    return load_ppo_run(None, flags(world, output, **others))


def words(world: ToyWorld, output: Path, **others: Any) -> list[str]:
    """The same as words of a command line."""
    given = {n: "null" if v is None else str(v).lower() if isinstance(v, bool) else str(v)
             for n, v in flags(world, output, **others).items()}  # fmt: skip
    return [word for name, value in given.items() for word in (f"--{name}", value)]


def metrics(output: Path) -> dict[int, dict[str, float]]:
    """Step -> what was logged of it, held-out queries aside."""
    lines = [json.loads(line) for line in (Path(output) / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line for line in lines if "rollout/sessions" in line}


def evaluations(output: Path) -> dict[int, dict[str, float]]:
    lines = [json.loads(line) for line in (Path(output) / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line for line in lines if "eval/crawler_recall" in line}


def learnt(output: Path) -> dict[int, dict[str, float]]:
    """What must be the same between two runs: all but times and counts of what was kept in memory."""
    return {
        step: {n: v for n, v in line.items() if "seconds" not in n and not n.startswith("asked/")}
        for step, line in metrics(output).items()
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of a policy that was kept."""
    return load_file(folder / "model.safetensors")


def quiet(line: str) -> None:
    """Takes what a run tells."""

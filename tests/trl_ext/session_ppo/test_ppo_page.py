"""docs/TRAINING.md tells of PPO what the code does and what the formulas give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trl_ext.estimates import GIGABYTE, H100_X8, QWEN_1_5B, QWEN_7B
from trl_ext.session_ppo.estimates import (
    StepShape,
    kept_logits_bytes,
    learning_bytes,
    step_seconds,
    writing_bytes,
)
from trl_ext.session_ppo.metrics import METRICS
from trl_ext.session_ppo.run_settings import flag_names

PAGE = (Path(__file__).parents[3] / "docs" / "TRAINING.md").read_text(encoding="utf-8")
PPO_PAGE = PAGE.split("\n## Session-level PPO of the Crawler\n")[1]
SHAPE, CHUNK, STEPS = StepShape(), 256, 250
# vocabulary; keys and values of a layer
WIDTHS = {QWEN_7B: (152_064, 2 * 4 * 128), QWEN_1_5B: (151_936, 2 * 2 * 128)}
SETUPS = [(8, 0.0), (16, 0.0), (1, 40e6)]
H100_MEMORY, NVLINK = 3.35e12, 450e9


def numbers_of(first_cell):
    line = next(line for line in PPO_PAGE.splitlines() if line.startswith(f"| {first_cell} |"))
    return [float(number) for number in re.findall(r"[\d.]+", line.split("|", 2)[2])]


@pytest.mark.parametrize("model", WIDTHS, ids=lambda model: model.name)
def test_the_page_tells_the_memory_that_the_formulas_give(model):
    vocabulary, key_values = WIDTHS[model]
    expected = [
        round(taken / GIGABYTE)
        for gpus, adapter in SETUPS
        for taken in (
            writing_bytes(model, gpus, SHAPE, key_values, adapter),
            learning_bytes(model, gpus, SHAPE, vocabulary, CHUNK, adapter),
        )
    ]
    assert numbers_of(model.name) == expected


@pytest.mark.parametrize("starts", [0, 128, 480])
def test_the_page_tells_the_seconds_that_the_formulas_give(starts):
    took = step_seconds(QWEN_7B, H100_X8, StepShape(starts=starts), H100_MEMORY, NVLINK)
    parts = (took.writing, took.evaluating, took.valuing, took.learning, took.sending, took.total)
    assert numbers_of(str(starts)) == [*(round(part) for part in parts), round(STEPS * took.total / 3600, 1)]


def test_logits_in_chunks_are_a_fraction_of_kept_ones():
    kept = kept_logits_bytes(SHAPE, WIDTHS[QWEN_7B][0])
    assert f"{kept / GIGABYTE:.1f} GB to a GPU" in PPO_PAGE
    whole, none = (learning_bytes(QWEN_7B, 8, SHAPE, WIDTHS[QWEN_7B][0], chunk, 0.0) for chunk in (CHUNK, 0))
    assert (whole - none) < kept / 10


def test_an_adapter_needs_no_second_model():
    alone, spread = (learning_bytes(QWEN_7B, 1, SHAPE, 0, 0, adapter) for adapter in (40e6, 0.0))
    assert alone < spread / 10


def test_the_page_names_every_metric():
    missing = [name for name in METRICS if f"`{name}`" not in PPO_PAGE]
    assert not missing


def test_the_flags_named_beside_upstreams_exist():
    table = PPO_PAGE.split("\n### Flags of upstream's command\n")[1].split("\n###")[0]
    ours = " ".join(line.split("|")[2] for line in table.splitlines() if line.startswith("| `"))
    named = set(re.findall(r"--([a-z_0-9]+)", ours))
    assert len(named) > 15
    assert named <= set(flag_names())

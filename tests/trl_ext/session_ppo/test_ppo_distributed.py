"""PPO steps of several processes are those of one with the same sessions (make test-distributed)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("step_on_processes.py")
# What a number may differ by: the order in which sums are taken, over several steps of learning.
RELATIVE, ABSOLUTE = 5e-3, 2e-4
FRACTION = 0.06  # a token or two of 40 that lies on a bound of the clip
FORMS = {"own copy": {}, "LoRA, shared layers": {"lora_rank": 2, "value_body": "shared"}}
# The paper's, whose first epoch evaluates, too; upstream's, which evaluates before.
WAYS = {"paper": {}, "upstream": {"whiten": True, "lam": 0.95}}


def metrics_of(out, *launcher, form, way, model):
    """The metrics of each step, by processes that `launcher` starts."""
    environment = {
        **os.environ,
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, *launcher, str(SCRIPT), model, json.dumps(form), json.dumps(way), str(out)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.distributed
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("config", ["zero3", "zero2"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_two_processes_give_the_numbers_of_one(tiny_model, tmp_path, way, form, config):
    file = str(ROOT / "configs" / "accelerate" / f"{config}.yaml")
    launcher = ("-m", "accelerate.commands.accelerate_cli", "launch", "--config_file", file, "--num_processes", "2")
    alone = metrics_of(tmp_path / "one.jsonl", form=form, way=way, model=tiny_model)
    together = metrics_of(tmp_path / "two.jsonl", *launcher, form=form, way=way, model=tiny_model)
    assert len(alone) == len(together) == 4
    for one, two in zip(alone, together, strict=True):
        assert two.pop("missing_sessions") == 1  # five sessions on two processes
        assert one.pop("missing_sessions") == 0
        for name, value in one.items():
            at_a_bound = FRACTION if name.endswith("clip_fraction") else ABSOLUTE
            assert two[name] == pytest.approx(value, rel=RELATIVE, abs=at_a_bound), name


@pytest.mark.distributed
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_compiled_layers_give_the_numbers_of_plain_ones(tiny_model, tmp_path, form):
    plain = metrics_of(tmp_path / "plain.jsonl", form=form, way={}, model=tiny_model)
    compiled = metrics_of(tmp_path / "compiled.jsonl", form=form | {"compile": True}, way={}, model=tiny_model)
    for one, other in zip(plain, compiled, strict=True):
        for name, value in one.items():
            at_a_bound = FRACTION if name.endswith("clip_fraction") else ABSOLUTE
            assert other[name] == pytest.approx(value, rel=RELATIVE, abs=at_a_bound), name

"""benchmarks/ppo_step.py compares like with like: both ways take the same step."""

from __future__ import annotations

import argparse

import pytest
import torch

from benchmarks import ppo_step

pytestmark = pytest.mark.timeout(600)  # two steps of a few CPU seconds, which a busy machine stretches


@pytest.fixture(scope="module")
def outcomes(tiny_model, tmp_path_factory):
    library = str(ppo_step.write_library(tmp_path_factory.mktemp("library") / "papers.jsonl"))
    told = {"model": tiny_model, "library": library, "searches": 1, "expansions": 1}
    told |= {"call_seconds": 0.0, "valued_papers": 1, "compile": False, "rollout_alone": False}
    return {way: ppo_step.run(argparse.Namespace(way=way, **told)) for way in ppo_step.WAYS}


def test_both_ways_have_the_same_losses(outcomes):
    naive, ours = outcomes["naive"], outcomes["ours"]
    for name in ppo_step.LOSSES:
        assert ours[name] == pytest.approx(naive[name], abs=1e-4), name
    assert naive["value_loss"] > 1e-3  # there is something to compare


def test_both_ways_learn_from_as_much(outcomes):
    for name in ("sessions", "tokens", "starts"):
        assert outcomes["ours"][name] == outcomes["naive"][name]
    assert outcomes["ours"]["sessions"] == 3
    assert outcomes["ours"]["starts"] > 0


def test_a_step_is_measured_in_parts(outcomes):
    for figures in outcomes.values():
        assert figures["seconds"] == pytest.approx(figures["rollout_seconds"] + figures["learning_seconds"])


def test_memory_that_a_step_takes_is_measured():
    meter = ppo_step.Meter(torch.device("cpu"))
    taken = torch.ones(50_000_000)  # 200 MB, given back before the step ends
    del taken
    meter.end_rollout()
    meter.end()
    assert 190 < meter.figures["rollout_mb"] <= meter.figures["step_mb"] < 400


def test_the_rollout_alone_is_measured_where_memory_is(outcomes, tiny_model, tmp_path):
    library = str(ppo_step.write_library(tmp_path / "papers.jsonl"))
    told = {"model": tiny_model, "library": library, "searches": 1, "expansions": 1, "call_seconds": 0.0}
    told |= {"valued_papers": 1, "compile": False, "rollout_alone": True}
    for way in ppo_step.WAYS:
        with pytest.raises(ppo_step.RolloutMeasured) as measured:
            ppo_step.run(argparse.Namespace(way=way, **told))
        assert set(measured.value.figures) == {"rollout_mb", "rollout_seconds"}


def test_both_ways_wait_for_the_environment(outcomes):
    assert 0 < outcomes["ours"]["calls"] <= outcomes["naive"]["calls"]


def test_a_model_that_is_not_there_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["ppo_step.py", "--model", "/nope"])
    with pytest.raises(SystemExit) as ended:
        ppo_step.main()
    assert ended.value.code == 2
    assert "no checkpoint at '/nope'" in capsys.readouterr().err.splitlines()[-1]

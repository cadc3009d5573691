"""Runs in which gradients do not fit into memory."""

import pytest
import torch

from tests.trl_ext.session_ppo.toy_runs import learnt, metrics, quiet, settings, weights
from trl_ext.session_ppo import policy
from trl_ext.session_ppo.checkpoints import newest_slot
from trl_ext.session_ppo.policy import SessionPolicy
from trl_ext.session_ppo.trainer import TrainingStopped
from trl_ext.session_ppo.training import train


class GradientsTooLarge(SessionPolicy):
    """Fails in the steps of `at`, counted by the passes in which gradients are kept."""

    at = (2,)
    counted = 0

    def forward(self, *args, **kwargs):
        if torch.is_grad_enabled():
            GradientsTooLarge.counted += 1
            if GradientsTooLarge.counted in self.at:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(*args, **kwargs)


@pytest.fixture
def gradients_too_large(monkeypatch):
    monkeypatch.setattr(GradientsTooLarge, "counted", 0)
    monkeypatch.setattr(GradientsTooLarge, "at", (2,))
    monkeypatch.setattr(policy, "SessionPolicy", GradientsTooLarge)
    return GradientsTooLarge


def test_a_step_whose_gradients_do_not_fit_into_memory_ends_and_the_run_goes_on(toy, tmp_path, gradients_too_large):
    told = []
    train(settings(toy, tmp_path / "out", steps=3, save_steps=3, epochs=1), tell=told.append)
    assert any(line.startswith("step 2, process 0: out of memory (CUDA out of memory)") for line in told)
    log = metrics(tmp_path / "out")
    assert ["policy_loss" in log[step] for step in (1, 2, 3)] == [True, False, True]
    assert all(weight.isfinite().all() for weight in weights(tmp_path / "out" / "policy").values())
    assert newest_slot(tmp_path / "out")[1]["state"]["step"] == 3


def test_a_step_that_ends_for_lack_of_memory_leaves_no_gradient_to_the_next(toy, tmp_path, gradients_too_large):
    """Whether it ends in its first pass or after gradients of some sessions were gathered."""
    after = []
    for name, passes_before in (("a", 0), ("b", 3)):
        run = settings(toy, tmp_path / name, steps=3, epochs=1, forward_batch=1)
        gradients_too_large.counted, gradients_too_large.at = 0, (run.rollouts.sessions + 1 + passes_before,)
        train(run, tell=quiet)
        after.append(learnt(tmp_path / name))
    assert "policy_loss" not in after[0][2]
    assert after[1] == after[0]


def test_a_lack_of_memory_stops_the_run_where_that_is_set_or_it_stays(toy, tmp_path, monkeypatch, gradients_too_large):
    with pytest.raises(TrainingStopped, match=r"step 2, process 0: out of memory .* lower --forward_batch"):
        train(settings(toy, tmp_path / "a", epochs=1, on_failure="stop"), tell=quiet)
    monkeypatch.setattr(gradients_too_large, "at", range(1000))
    with pytest.raises(TrainingStopped, match="2 steps in a row taught nothing"):
        train(settings(toy, tmp_path / "b", max_empty_steps=2), tell=quiet)

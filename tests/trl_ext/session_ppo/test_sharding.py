"""Weights that an engine may have spread."""

import contextlib

import deepspeed
import pytest
import torch

from pasa.errors import ConfigError
from tests.trl_ext.session_ppo.test_fitting import rows_of
from tests.trl_ext.session_ppo.test_ppo_policy import policy_of
from trl_ext.session_ppo.sharding import ShardedPolicy


def test_every_pass_is_a_sign_of_life(tiny_model):
    """Learning from many sessions takes longer than a watchdog waits; so may papers that one process values alone."""
    policy, signs = policy_of(tiny_model), []
    sharded = ShardedPolicy(policy, policy, False, lambda: signs.append(torch.is_grad_enabled()))
    sharded(**rows_of(3, 2), parts=("policy",))
    with torch.no_grad(), sharded.whole(("value",)):
        sharded(**rows_of(3, 2), parts=("value",))
    assert signs == [True, False]


def test_a_model_that_cannot_be_gathered_for_want_of_memory_is_told_with_what_helps(tiny_model, monkeypatch):
    @contextlib.contextmanager
    def no_room(_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.03 GiB")
        yield

    monkeypatch.setattr(deepspeed.zero, "GatheredParameters", no_room)
    policy = policy_of(tiny_model)
    with (
        pytest.raises(ConfigError, match=r"out of memory: .* with more GPUs, .* \(CUDA out of memory"),
        ShardedPolicy(policy, policy, True).whole(("value",)),
    ):
        pass

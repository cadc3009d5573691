"""The clipped losses: equal to loops over tokens; who shares a batch or a process changes nothing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_ext.session_ppo.kl import moved_too_far, next_kl_coefficient
from trl_ext.session_ppo.losses import policy_loss, token_weights, value_loss
from trl_ext.session_ppo.processes import SingleProcess
from trl_ext.session_ppo.settings import ppo_settings

ALONE = SingleProcess()
CLIP = 0.2


class Together:
    """This process and another, which has `others` to add."""

    count = 2

    def __init__(self, others):
        self._others = others

    def sum(self, values):
        return values + self._others


def numbers(seed, lengths):
    """Masked random log-probabilities, advantages, values, returns [S, R]."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(1, *lengths))
    mask = torch.arange(shape[1])[None] < torch.tensor(lengths)[:, None]
    made = [torch.randn(shape, generator=generator) * mask for _ in range(6)]
    return mask, made


lengths_of_sessions = st.lists(st.integers(0, 6), min_size=1, max_size=5)


def slow_weight(lengths, row, normalization):
    if normalization == "tokens":
        return 1 / max(1, sum(lengths))
    return 1 / (lengths[row] * sum(n > 0 for n in lengths))


@given(st.integers(0, 9999), lengths_of_sessions, st.sampled_from(["tokens", "sessions"]))
@settings(max_examples=40, deadline=None)
def test_policy_loss_equals_a_loop_over_tokens(seed, lengths, normalization):
    mask, (new, old, advantages, *_) = numbers(seed, lengths)
    loss = policy_loss(new, old, advantages, token_weights(mask, normalization, ALONE), CLIP)
    total = clipped = kl = 0.0
    for row, n in enumerate(lengths):
        for t in range(n):
            weight = slow_weight(lengths, row, normalization)
            ratio = math.exp(new[row, t] - old[row, t])
            a = float(advantages[row, t])
            held = min(max(ratio, 1 - CLIP), 1 + CLIP)
            total -= weight * min(ratio * a, held * a)
            clipped += weight * (held * a < ratio * a)
            kl += weight * (ratio - 1 - math.log(ratio))
    assert loss.loss.item() == pytest.approx(total, rel=1e-4, abs=1e-5)
    assert loss.clip_fraction.item() == pytest.approx(clipped, abs=1e-5)
    assert loss.kl.item() == pytest.approx(kl, rel=1e-4, abs=1e-5)


@given(st.integers(0, 9999), lengths_of_sessions, st.sampled_from(["tokens", "sessions"]))
@settings(max_examples=40, deadline=None)
def test_value_loss_equals_a_loop_over_tokens(seed, lengths, normalization):
    mask, (*_, new, old, returns) = numbers(seed, lengths)
    loss = value_loss(new, old, returns, token_weights(mask, normalization, ALONE), CLIP)
    total = 0.0
    for row, n in enumerate(lengths):
        for t in range(n):
            v, v_old, r = float(new[row, t]), float(old[row, t]), float(returns[row, t])
            near = min(max(v, v_old - CLIP), v_old + CLIP)
            total += slow_weight(lengths, row, normalization) * max((r - v) ** 2, (r - near) ** 2)
    assert loss.loss.item() == pytest.approx(total, rel=1e-4, abs=1e-5)


def test_the_loss_of_a_first_pass_is_the_mean_advantage():
    mask, (log_probs, _, advantages, *_) = numbers(1, [3, 5])
    loss = policy_loss(log_probs, log_probs, advantages, token_weights(mask, "tokens", ALONE), CLIP)
    assert loss.loss.item() == pytest.approx(-advantages[mask].mean().item(), abs=1e-6)
    assert loss.clip_fraction.item() == loss.kl.item() == 0


def test_beyond_the_clip_there_is_no_gradient():
    """A good token that is already 1.5 times likelier is left alone, a bad one is pushed back."""
    new = torch.tensor([[1.5, 1.5]]).log().requires_grad_()
    loss = policy_loss(new, torch.zeros(1, 2), torch.tensor([[1.0, -1.0]]), torch.full((1, 2), 0.5), CLIP)
    loss.loss.backward()
    assert new.grad[0, 0] == 0
    assert new.grad[0, 1] > 0


@pytest.mark.parametrize("normalization", ["tokens", "sessions"])
def test_microbatches_add_up_to_the_loss_of_all(normalization):
    mask, (new, old, advantages, *_) = numbers(2, [3, 0, 6, 1])
    weights = token_weights(mask, normalization, ALONE)
    whole = policy_loss(new, old, advantages, weights, CLIP).loss
    parts = [policy_loss(new[i : i + 1], old[i : i + 1], advantages[i : i + 1], weights[i : i + 1], CLIP).loss
             for i in range(4)]  # fmt: skip
    torch.testing.assert_close(sum(parts), whole)


def test_a_session_elsewhere_takes_its_share_of_the_weights():
    mask, _ = numbers(3, [2, 3])
    assert token_weights(mask, "tokens", Together(torch.tensor(5.0))).sum().item() == pytest.approx(0.5)
    assert token_weights(mask, "sessions", Together(torch.tensor(1.0))).sum().item() == pytest.approx(2 / 3)


def test_tokens_or_sessions_count_the_same():
    mask, _ = numbers(4, [1, 3, 0])
    assert token_weights(mask, "tokens", ALONE)[:, 0].tolist() == [0.25, 0.25, 0]
    by_session = token_weights(mask, "sessions", ALONE)
    torch.testing.assert_close(by_session.sum(1), torch.tensor([0.5, 0.5, 0.0]))


@pytest.mark.parametrize("normalization", ["tokens", "sessions"])
def test_what_is_masked_changes_nothing(normalization):
    """Whatever stands behind a reply or in a row without a session, infinities of padding aside."""
    mask, made = numbers(5, [2, 4])
    weights = token_weights(mask, normalization, ALONE)
    padded = [torch.cat([x.masked_fill(~mask, 50.0), torch.full((1, 4), 50.0)]) for x in made]
    wide = torch.cat([mask, torch.zeros(1, 4, dtype=torch.bool)])
    more = token_weights(wide, normalization, ALONE)
    new, old, advantages, v, v_old, returns = made
    new_p, old_p, advantages_p, v_p, v_old_p, returns_p = padded
    assert policy_loss(new_p, old_p - 30, advantages_p, more, CLIP).loss.isfinite()
    torch.testing.assert_close(
        policy_loss(new_p, old_p, advantages_p, more, CLIP).loss, policy_loss(new, old, advantages, weights, CLIP).loss
    )
    torch.testing.assert_close(
        value_loss(v_p, v_old_p, returns_p, more, CLIP).loss, value_loss(v, v_old, returns, weights, CLIP).loss
    )


def test_a_fixed_coefficient_stays():
    assert next_kl_coefficient(0.1, 100.0, 16, ppo_settings({})) == 0.1


def test_an_adaptive_coefficient_rises_above_the_target_and_falls_below_it():
    some = ppo_settings({"kl_control": "adaptive", "kl_target": 6.0, "kl_horizon": 1000})
    assert next_kl_coefficient(0.1, 6.0, 100, some) == pytest.approx(0.1)
    assert next_kl_coefficient(0.1, 6.6, 100, some) == pytest.approx(0.1 * (1 + 0.1 * 0.1))
    assert next_kl_coefficient(0.1, 60.0, 100, some) == pytest.approx(0.1 * (1 + 0.2 * 0.1))  # one step's error is held
    assert next_kl_coefficient(0.1, 0.0, 100, some) == pytest.approx(0.1 * (1 - 0.2 * 0.1))


def test_epochs_stop_above_the_limit_only_where_one_is_set():
    assert not moved_too_far(99.0, ppo_settings({}))
    assert moved_too_far(0.02, ppo_settings({"stop_kl": 0.01}))
    assert not moved_too_far(0.01, ppo_settings({"stop_kl": 0.01}))

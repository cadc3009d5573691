"""Rewards -> returns and advantages: equal to slow, obvious sums; what is not there changes nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trl_ext.session_ppo.sessions import (
    action,
    decode,
    random_step,
    session,
    slow_earned,
    slow_gae,
    slow_returns,
    step_of,
)
from trl_ext.session_ppo.advantages import whitened
from trl_ext.session_ppo.batch import batch_of, deepest_first_rows, like_length_rows, select_rows
from trl_ext.session_ppo.processes import SingleProcess
from trl_ext.session_ppo.returns import advantages_and_returns, discounted_sums, later_values, token_rewards

GAMMA1, BETA = 0.1, 0.1


def computed(step, gamma0, lam, seed=0):
    """(batch, advantages, returns, values, start values, log ratio) with random values and log ratios."""
    batch = batch_of(step, decode, 0)
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(batch.rewards.shape, generator=generator)
    log_ratio = torch.randn(batch.rewards.shape, generator=generator)
    starts = torch.randn(len(step.starts), generator=generator)
    earned = token_rewards(batch.rewards, later_values(batch, starts), log_ratio, batch.reply_mask, GAMMA1, BETA)
    advantages, returns = advantages_and_returns(earned, values, batch.reply_mask, gamma0, lam)
    return batch, advantages, returns, values, starts, log_ratio


@given(st.integers(0, 10_000), st.sampled_from([1.0, 0.9, 0.0]))
@settings(max_examples=40, deadline=None)
def test_monte_carlo_equals_the_sum_written_out(seed, gamma0):
    step = random_step(seed)
    _, advantages, returns, values, starts, log_ratio = computed(step, gamma0, 1.0, seed)
    for row, record in enumerate(step.sessions):
        n = len(record.reply_ids)
        earned = slow_earned(record, starts.tolist(), log_ratio[row, :n].tolist(), GAMMA1, BETA)
        expected = slow_returns(earned, gamma0)
        torch.testing.assert_close(returns[row, :n], torch.tensor(expected), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(advantages[row, :n], torch.tensor(expected) - values[row, :n], rtol=1e-5, atol=1e-5)
        assert not returns[row, n:].any()
        assert not advantages[row, n:].any()


@given(st.integers(0, 10_000), st.sampled_from([1.0, 0.9]), st.sampled_from([0.95, 0.5, 0.0]))
@settings(max_examples=40, deadline=None)
def test_gae_equals_its_recursion(seed, gamma0, lam):
    step = random_step(seed)
    _, advantages, returns, values, starts, log_ratio = computed(step, gamma0, lam, seed)
    for row, record in enumerate(step.sessions):
        n = len(record.reply_ids)
        earned = slow_earned(record, starts.tolist(), log_ratio[row, :n].tolist(), GAMMA1, BETA)
        expected = torch.tensor(slow_gae(earned, values[row, :n].tolist(), gamma0, lam))
        torch.testing.assert_close(advantages[row, :n], expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(returns[row, :n], expected + values[row, :n], rtol=1e-5, atol=1e-5)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_gae_at_lam_1_is_monte_carlo(seed):
    step = random_step(seed)
    _, exact, *_ = computed(step, 1.0, 1.0, seed)
    _, telescoped, *_ = computed(step, 1.0, 1.0 - 1e-9, seed)
    torch.testing.assert_close(exact, telescoped, rtol=1e-4, atol=1e-4)


def test_discounted_sums_discount_what_comes_later():
    sums = discounted_sums(torch.tensor([[1.0, 2.0, 4.0]]), 0.5)
    assert sums.tolist() == [[3.0, 4.0, 4.0]]


def test_the_value_of_every_paper_found_counts_and_no_other():
    step = step_of(session([1, 2, 3], [action(1, 1.0, [0, 2]), action(2, 1.0, [2])]), starts=3)
    later = later_values(batch_of(step, decode, 0), torch.tensor([0.5, 100.0, 0.25]))
    assert later.tolist() == [[0.0, 0.75, 0.25]]


def test_two_actions_that_one_token_ended_are_both_rewarded():
    step = step_of(session([1, 2, 3], [action(1, 1.0), action(1, 0.5)]))
    assert batch_of(step, decode, 0).rewards.tolist() == [[0.0, 1.5, 0.0]]


@given(st.integers(0, 10_000), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_missing_sessions_change_no_number(seed, missing):
    full, short = random_step(seed), random_step(seed, size=3 + missing)
    a, b = batch_of(full, decode, 0), batch_of(short, decode, 0)
    assert b.is_session.tolist() == [True] * 3 + [False] * missing
    values, starts = torch.randn(a.rewards.shape), torch.randn(len(full.starts))
    more = torch.cat([values, torch.full((missing, values.shape[1]), 9.0)])
    for whiten in (False, True):
        outcomes = []
        for batch, v in ((a, values), (b, more)):
            earned = token_rewards(batch.rewards, later_values(batch, starts), v, batch.reply_mask, GAMMA1, BETA)
            advantages, returns = advantages_and_returns(earned, v, batch.reply_mask, 1.0, 0.95)
            if whiten:
                advantages = whitened(advantages, batch.reply_mask, SingleProcess())
            outcomes.append((advantages, returns))
        for before, after in zip(*outcomes, strict=True):
            torch.testing.assert_close(after[:3], before)
            assert not after[3:].any()


def test_whitened_advantages_have_mean_0_and_variance_1():
    mask = torch.tensor([[True, True, False], [True, True, True]])
    white = whitened(torch.tensor([[1.0, 2.0, 99.0], [3.0, 4.0, 10.0]]), mask, SingleProcess())
    kept = white[mask]
    assert kept.mean().item() == pytest.approx(0, abs=1e-6)
    assert kept.var(unbiased=False).item() == pytest.approx(1, abs=1e-5)
    assert white[0, 2] == 0


class Split(SingleProcess):
    """One of two processes: what each sums is met by what the other, asked the same, has summed."""

    count = 2

    def __init__(self, others):
        self._others = iter(others)

    def sum(self, values):
        return values + next(self._others)


def test_tokens_of_other_processes_count_in_whitening():
    whole = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    mask = torch.ones(2, 3, dtype=torch.bool)
    expected = whitened(whole, mask, SingleProcess())
    mean = whole.mean().double()
    other = whole[1].double()
    others = [torch.stack([torch.tensor(3.0).double(), other.sum()]), ((other - mean) ** 2).sum()]
    torch.testing.assert_close(whitened(whole[:1], mask[:1], Split(others)), expected[:1])


def test_a_batch_says_where_replies_begin():
    step = step_of(session([1, 2], prompt=(7, 8, 9)), session([3], prompt=(7,)), size=3)
    batch = batch_of(step, decode, 0)
    assert batch.input_ids.tolist() == [[7, 8, 9, 1, 2], [7, 3, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert batch.attention_mask.sum(1).tolist() == [5, 2, 1]
    assert batch.prompt_lengths.tolist() == [3, 1, 1]
    assert batch.reply_ids.tolist() == [[1, 2], [3, 0], [0, 0]]
    assert batch.reply_mask.tolist() == [[True, True], [True, False], [False, False]]


def test_a_step_without_any_session_is_a_batch_too():
    batch = batch_of(step_of(size=2), decode, 0)
    assert batch.reply_mask.shape == (2, 1)
    assert not batch.reply_mask.any()


def test_sessions_on_papers_come_before_those_that_found_them():
    step = step_of(session([1] * 9), session([1] * 2, kind="expand"), session([1]), session([1] * 3, kind="expand"))
    batch = batch_of(step, decode, 0)
    assert [rows.tolist() for rows in deepest_first_rows(batch, 3)] == [[3, 1, 0], [2]]


def test_what_goes_through_a_model_together_is_of_like_length_and_cut():
    step = step_of(session([1], prompt=(1,)), session([1] * 5), session([1] * 2), session([1] * 4))
    batch = batch_of(step, decode, 0)
    turns = list(like_length_rows(batch, 2))
    assert [rows.tolist() for rows in turns] == [[1, 3], [2, 0]]
    some = select_rows(batch, turns[1])
    assert some.input_ids.shape == (2, 5)
    assert some.reply_ids.shape == (2, 2)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (step_of(session([1]), session([1]), size=1), "2 sessions in a step of 1"),
        (step_of(session([])), "no tokens of a reply"),
        (step_of(session([1], prompt=())), "no tokens of a prompt"),
        (step_of(session([1], [action(1, 0.0, [3])]), starts=3), "not among 3"),
        (step_of(session([1], kind="expand", start=0)), "not among 0"),
        (
            step_of(session([1], [action(1, 0.0, [0])], kind="expand", start=0), starts=1),
            "start 0 is expanded in layer 1, but found in 1",
        ),
    ],
)
def test_sessions_that_cannot_be_right_are_refused(step, message):
    with pytest.raises(ValueError, match=message):
        batch_of(step, decode, 0)

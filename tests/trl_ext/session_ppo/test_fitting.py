"""What does not fit into memory: in halves, alone, and not at all."""

from dataclasses import replace

import pytest
import torch

from tests.trl_ext.session_ppo.sessions import action, decode, random_step, session, start_prompt, step_of
from tests.trl_ext.session_ppo.test_ppo_policy import policy_of, randomize
from tests.trl_ext.session_ppo.test_ppo_step import LEARNT, take
from trl_ext.session_ppo.batch import batch_of
from trl_ext.session_ppo.evaluation import evaluate, start_values
from trl_ext.session_ppo.fitting import TOO_LARGE, FittingModel
from trl_ext.session_ppo.learner import PlainLearner
from trl_ext.session_ppo.processes import SingleProcess
from trl_ext.session_ppo.settings import ppo_settings
from trl_ext.session_ppo.step import first_state, ppo_step

FITS = 30  # tokens of a row


class LittleMemory:
    """A model that has room for so many rows, of so many tokens each; `parameters` for the optimizer."""

    def __init__(self, model, rows=100, tokens=FITS):
        self._model, self._rows, self._tokens = model, rows, tokens
        self.parameters, self.passes, self.whole = model.parameters, model.passes, model.whole

    def __call__(self, **given):
        count, tokens = given["input_ids"].shape
        if not torch.is_grad_enabled() and (count > self._rows or tokens > self._tokens):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self._model(**given)


class Fitting(FittingModel):
    """With an optimizer's parameters."""

    def parameters(self):
        return self.model.parameters()


def rows_of(*lengths):
    """Rows of a token of a reply each, right behind the prompt."""
    ids = torch.ones(len(lengths), max(lengths), dtype=torch.long)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    one = torch.ones(len(lengths), 1, dtype=torch.long)
    prompts = torch.tensor(lengths) - 1
    return {"input_ids": ids, "attention_mask": mask, "prompt_lengths": prompts, "reply_ids": one,
            "reply_mask": one.bool()}  # fmt: skip


def test_what_is_too_much_for_the_memory_goes_through_in_halves(tiny_model):
    policy, rows = randomize(policy_of(tiny_model)), rows_of(9, 7, 5, 4, 3)
    fitting = FittingModel(LittleMemory(policy, rows=2), leaves_out=True)
    with torch.no_grad():
        expected, said = policy(**rows, parts=("value",)), fitting(**rows, parts=("value",))
    torch.testing.assert_close(said["values"], expected["values"])
    assert not said[TOO_LARGE].any()
    assert (fitting.times_halved, fitting.rows_left_out) == (2, 0)


def test_nothing_is_halved_where_gradients_are_kept():
    def model(**_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        FittingModel(model, leaves_out=True)(**rows_of(9, 7), parts=("value",))


@torch.no_grad()
def test_a_row_that_does_not_fit_alone_is_left_out_or_raises(tiny_model):
    policy, rows = randomize(policy_of(tiny_model)), rows_of(9, FITS + 1, 5)
    fitting = FittingModel(LittleMemory(policy), leaves_out=True)
    said = fitting(**rows, parts=("policy", "reference", "value"))
    expected = policy(**rows, parts=("policy", "reference", "value"))
    assert said[TOO_LARGE].tolist() == [False, True, False]
    assert fitting.rows_left_out == 1
    for name, values in expected.items():
        torch.testing.assert_close(said[name][[0, 2]], values[[0, 2]])
        assert said[name][1].tolist() == [0.0], name
    with pytest.raises(torch.OutOfMemoryError):
        FittingModel(LittleMemory(policy))(**rows, parts=("value",))


@torch.no_grad()
def test_another_error_is_no_lack_of_memory():
    def model(**_):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        FittingModel(model, leaves_out=True)(**rows_of(9, 7), parts=("value",))


@pytest.mark.parametrize("how", [{"whiten": True}, {"value_warmup_steps": 9}, {"whiten": True, "stop_kl": 10.0}])
def test_what_others_teach_is_the_same_without_a_session_that_does_not_fit(tiny_model, how):
    """A session that found a paper, as if it had never been; a row without a session stands in its place."""
    step = random_step(3, sessions=4, vocabulary=300)
    large = session([40, 41], [action(2, 1.5, starts=[0])], prompt=[7] * FITS)
    with_it = replace(step, sessions=(step.sessions[0], large, *step.sessions[1:]), size=5)
    with_little, with_much = (randomize(policy_of(tiny_model)) for _ in range(2))
    expected, _ = take(with_much, replace(step, size=5), **how)
    metrics, _ = take(Fitting(LittleMemory(with_little), leaves_out=True), with_it, **how)
    assert metrics["sessions"] == 4
    for name in LEARNT:
        assert metrics[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-6), name
    for a, b in zip(with_little.parameters(), with_much.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("how", [{"whiten": True}, {"value_warmup_steps": 9}])
def test_a_step_in_which_no_session_fits_moves_no_weight(tiny_model, how):
    """Nor does the optimizer, which would let weights decay."""
    policy = randomize(policy_of(tiny_model))
    before = [p.detach().clone() for p in policy.parameters()]
    large = session([40, 41], [action(2, 1.5)], prompt=[7] * FITS)
    chosen = ppo_settings({"value_warmup_steps": 0, **how})
    learner = PlainLearner(policy, torch.optim.AdamW(policy.parameters(), lr=1e-3, weight_decay=0.5), 1.0)
    batch, fitting = batch_of(step_of(large, large), decode, 0), FittingModel(LittleMemory(policy), leaves_out=True)
    metrics, state = ppo_step(batch, [], fitting, learner, chosen, first_state(chosen), SingleProcess())
    assert (metrics["sessions"], state.step) == (0, 1)
    assert "policy_loss" not in metrics
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), before, strict=True))


def test_a_paper_found_whose_prompt_does_not_fit_counts_for_nothing(tiny_model):
    policy = randomize(policy_of(tiny_model))
    starts = [start_prompt(0), [7] * (FITS + 1), start_prompt(1)]
    unknown = torch.full((3,), torch.nan)
    fitting = FittingModel(LittleMemory(policy), leaves_out=True)
    values = start_values(fitting, starts, unknown, 8)
    expected = start_values(policy, starts, unknown, 8)
    assert values[1] == 0
    torch.testing.assert_close(values[[0, 2]], expected[[0, 2]])
    assert fitting.rows_left_out == 1


def test_a_session_is_left_out_once_whatever_is_asked_of_it(tiny_model):
    """Policy, reference and value are asked one after the other; what did not fit for one is not asked of the next."""
    large = session([40, 41], [action(2, 1.5)], prompt=[7] * FITS)
    batch = batch_of(step_of(large, session([50])), decode, 0)
    fitting = FittingModel(LittleMemory(randomize(policy_of(tiny_model))), leaves_out=True)
    assert evaluate(fitting, batch, 2).too_large.tolist() == [True, False]
    assert fitting.rows_left_out == 1

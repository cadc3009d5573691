"""A whole step: what it learns, and what does not matter to it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from pasa.errors import ConfigError
from tests.trl_ext.session_ppo.sessions import action, decode, random_step, session, start_prompt, step_of
from tests.trl_ext.session_ppo.test_ppo_policy import policy_of, randomize
from trl_ext.session_ppo import step as ppo
from trl_ext.session_ppo.batch import batch_of
from trl_ext.session_ppo.evaluation import evaluate, known_start_values, start_values
from trl_ext.session_ppo.learner import PlainLearner
from trl_ext.session_ppo.metrics import METRICS, session_counts, session_metrics, summed
from trl_ext.session_ppo.policy import arguments_of
from trl_ext.session_ppo.processes import SingleProcess
from trl_ext.session_ppo.settings import policy_settings, ppo_settings
from trl_ext.session_ppo.step import first_state, ppo_step

ALONE = SingleProcess()
LEARNT = ("policy_loss", "value_loss", "gradient_norm", "kl_reference", "explained_variance", "return_mean")


def take(policy, step, rate=1e-3, steps=1, first=None, **settings):
    """(metrics of the last of `steps` steps, the state after it) on the same sessions."""
    chosen = ppo_settings({"value_warmup_steps": 0, **settings})
    learner = PlainLearner(policy, torch.optim.AdamW(policy.parameters(), lr=rate, weight_decay=0.0), 1.0)
    state = first or first_state(chosen)
    prompts = [start.prompt_ids for start in step.starts]
    for _ in range(steps):
        metrics, state = ppo_step(batch_of(step, decode, 0), prompts, policy, learner, chosen, state, ALONE)
    return metrics, state


def weights(policy):
    return {name: p.detach().clone() for name, p in policy.named_parameters()}


def changed(policy, before):
    return {name for name, p in policy.named_parameters() if not torch.equal(p, before[name])}


@pytest.mark.parametrize(
    "how", [{"forward_batch": 1}, {"forward_batch": 3, "evaluation_batch": 1}, {"evaluation_batch": 2}]
)
@pytest.mark.parametrize("normalization", ["tokens", "sessions"])
def test_how_many_go_through_the_model_at_once_changes_no_number(tiny_model, how, normalization):
    step = random_step(3, vocabulary=300)
    expected, _ = take(randomize(policy_of(tiny_model)), step, forward_batch=2, normalization=normalization)
    metrics, _ = take(randomize(policy_of(tiny_model)), step, normalization=normalization, **how)
    for name in LEARNT:
        assert metrics[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("form", [{}, {"lora_rank": 2, "value_body": "shared"}, {"value_body": "shared"}])
@pytest.mark.parametrize("how", [{}, {"forward_batch": 3}, {"lam": 0.9, "gamma1": 1.0}, {"value_warmup_steps": 9}])
def test_evaluating_as_it_learns_changes_no_number_and_no_weight(tiny_model, monkeypatch, form, how):
    step = random_step(7, sessions=5, vocabulary=300)
    found_before_expanded = replace(step.sessions[0], actions=(action(1, 0.5, starts=(0, 0)),))
    step = replace(step, sessions=(found_before_expanded, *step.sessions[1:]), size=6)
    at_once, apart = (randomize(policy_of(tiny_model, **form)) for _ in range(2))
    metrics, _ = take(at_once, step, **how)
    monkeypatch.setattr(ppo, "can_evaluate_as_it_learns", lambda _: False)
    expected, _ = take(apart, step, **how)
    assert metrics == pytest.approx(expected, rel=1e-3, abs=1e-5)
    for a, b in zip(at_once.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize(
    ("how", "passes"),
    [
        ({}, {"policy": 2, "value": 2, "reference": 1}),  # two epochs
        ({"value_warmup_steps": 9}, {"policy": 1, "value": 2, "reference": 1}),
        ({"mini_batches": 2}, {"policy": 3, "value": 3, "reference": 1}),
        ({"whiten": True}, {"policy": 3, "value": 3, "reference": 1}),
    ],
)
def test_the_first_epoch_evaluates_where_it_can(tiny_model, how, passes):
    """Sessions times passes of each part; no start is valued in passes of its own where a session began in it."""
    policy, sessions = policy_of(tiny_model), Counter()
    policy.register_forward_pre_hook(
        lambda _, __, given: sessions.update(dict.fromkeys(given["parts"], len(given["input_ids"]))), with_kwargs=True
    )
    found = session([40, 41], [action(2, 1.0, starts=[0])])
    take(policy, step_of(found, session([50], prompt=start_prompt(0), kind="expand", start=0), starts=1), **how)
    assert sessions == {part: 2 * count for part, count in passes.items()}


@pytest.mark.parametrize("warmup", [0, 9])
def test_a_policy_that_is_the_reference_has_no_kl_at_all(tiny_model, warmup):
    """To the last bit, whatever goes through the models together: both are asked in the same passes."""
    step = random_step(7, sessions=5, vocabulary=300)
    metrics, _ = take(policy_of(tiny_model), step, value_warmup_steps=warmup, forward_batch=1, evaluation_batch=3)
    assert metrics["kl_reference"] == 0


def test_rows_without_a_session_change_no_number_and_no_weight(tiny_model):
    step = random_step(3, vocabulary=300)
    full, short = randomize(policy_of(tiny_model)), randomize(policy_of(tiny_model))
    expected, _ = take(full, step)
    metrics, _ = take(short, replace(step, size=6))
    for name in LEARNT:
        assert metrics[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-6), name
    for a, b in zip(full.parameters(), short.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-4)


def test_a_step_without_any_session_moves_nothing(tiny_model):
    policy = randomize(policy_of(tiny_model))
    learner = PlainLearner(policy, torch.optim.AdamW(policy.parameters(), lr=0.1, weight_decay=0.0), 1.0)
    some = ppo_settings({"value_warmup_steps": 0})
    step = random_step(1, vocabulary=300)
    starts = [s.prompt_ids for s in step.starts]
    _, state = ppo_step(batch_of(step, decode, 0), starts, policy, learner, some, first_state(some), ALONE)
    before = weights(policy)
    metrics, state = ppo_step(batch_of(step_of(size=3), decode, 0), [], policy, learner, some, state, ALONE)
    assert metrics["sessions"] == 0
    assert state.step == 2
    assert not changed(policy, before)


@pytest.mark.parametrize("form", [{}, {"lora_rank": 2, "value_body": "shared"}, {"value_body": "shared"}])
def test_in_warm_up_only_the_value_learns(tiny_model, form):
    policy = randomize(policy_of(tiny_model, **form))
    before = weights(policy)
    values = {id(p) for p in policy.value_parameters()}
    _, state = take(policy, random_step(3, vocabulary=300), steps=2, value_warmup_steps=2)
    moved = changed(policy, before)
    named = dict(policy.named_parameters())
    assert moved
    assert {id(named[name]) for name in moved} <= values
    take(policy, random_step(3, vocabulary=300), first=state, value_warmup_steps=2)
    assert any(id(named[name]) not in values for name in changed(policy, before))


def test_the_policy_learns_the_action_that_pays(tiny_model):
    """Of two replies to one prompt the one with a reward becomes likelier, the other less likely."""
    good, bad = session([40, 41], [action(2, 1.0)]), session([50, 51], [action(2, -1.0)])
    step = step_of(good, bad)
    policy = policy_of(tiny_model)
    some = arguments_of(batch_of(step, decode, 0))
    before = policy(**some, parts=("policy",))["log_probs"].sum(1)
    take(policy, step, rate=1e-3, steps=5, kl_coefficient=0.0)
    after = policy(**some, parts=("policy",))["log_probs"].sum(1)
    assert after[0] > before[0] + 0.1
    assert after[1] < before[1] - 0.1


def test_the_value_learns_to_foretell_the_return(tiny_model):
    step = step_of(session([40, 41], [action(2, 1.0)]), session([50, 51], [action(2, -1.0)], prompt=(9, 9)))
    policy = policy_of(tiny_model)
    first, _ = take(policy, step, rate=0.0)
    last, _ = take(policy, step, rate=3e-3, steps=25, kl_coefficient=0.0, value_warmup_steps=99)
    assert first["explained_variance"] == pytest.approx(0.0, abs=1e-6)
    assert last["explained_variance"] > 0.5
    assert last["value_loss"] < first["value_loss"] / 2


def test_the_penalty_holds_the_policy_near_the_reference(tiny_model):
    step = step_of(session([40, 41], [action(2, 1.0)]), session([50, 51], [action(2, -1.0)]))
    free, held = ({"kl_coefficient": c} for c in (0.0, 5.0))
    far, _ = take(policy_of(tiny_model), step, steps=8, **free)
    near, _ = take(policy_of(tiny_model), step, steps=8, **held)
    assert abs(near["kl_reference"]) < abs(far["kl_reference"])


def test_epochs_stop_when_the_policy_has_moved_too_far(tiny_model):
    step = random_step(3, vocabulary=300)
    assert take(policy_of(tiny_model), step, rate=1e-2, epochs=4)[0]["epochs"] == 4
    assert take(policy_of(tiny_model), step, rate=1e-2, epochs=4, stop_kl=1e-6)[0]["epochs"] == 1


def test_mini_batches_are_optimizer_steps_of_their_own(tiny_model):
    step = random_step(3, sessions=4, vocabulary=300)
    policy = policy_of(tiny_model)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-4)
    some = ppo_settings({"mini_batches": 2, "epochs": 3, "value_warmup_steps": 0})
    taken = []
    learner = PlainLearner(policy, optimizer, 1.0)
    inner = learner.step
    learner.step = lambda: taken.append(1) or inner()
    starts = [s.prompt_ids for s in step.starts]
    ppo_step(batch_of(step, decode, 0), starts, policy, learner, some, first_state(some), ALONE)
    assert len(taken) == 6


def test_an_adaptive_coefficient_is_handed_to_the_next_step(tiny_model):
    step = random_step(3, vocabulary=300)
    _, state = take(policy_of(tiny_model), step, kl_control="adaptive", kl_horizon=10)
    assert state.kl_coefficient < 0.1  # the policy is still the reference: below the target
    assert take(policy_of(tiny_model), step, first=state)[0]["kl_coefficient"] == state.kl_coefficient


def test_a_start_has_the_value_of_the_session_that_begins_in_it(tiny_model):
    """The state before a reply is the same whether the session was sampled or not."""
    policy = randomize(policy_of(tiny_model))
    prompt = (5, 8, 9)
    step = step_of(session([40, 41], prompt=prompt, kind="expand", start=0), session([50]), starts=2)
    batch = batch_of(step, decode, 0)
    values = evaluate(policy, batch, 2).values
    known = known_start_values(batch, values, 2)
    assert not known[0].isnan()
    assert known[1].isnan()
    computed = start_values(policy, [prompt, (1, 2, 3, 4)], torch.full((2,), math.nan), 1)
    torch.testing.assert_close(known[0], computed[0], rtol=1e-4, atol=1e-5)
    filled = start_values(policy, [prompt, (1, 2, 3, 4)], known, 2)
    torch.testing.assert_close(filled, computed, rtol=1e-4, atol=1e-5)


def test_papers_found_are_not_valued_where_their_value_counts_nothing(tiny_model):
    policy, calls = policy_of(tiny_model), []
    policy.register_forward_pre_hook(lambda _, __, given: calls.append(given["parts"]), with_kwargs=True)
    step = step_of(session([50]), starts=2)
    for gamma1, passes in ((0.1, 1), (0.0, 0)):
        calls.clear()
        take(policy, step, gamma1=gamma1)
        assert calls.count(("value",)) == passes


def test_a_mini_batch_without_a_session_moves_nothing(tiny_model):
    """Its gradients are 0, but an optimizer's momentum is not."""
    policy = randomize(policy_of(tiny_model))
    chosen = ppo_settings({"value_warmup_steps": 0, "mini_batches": 4, "epochs": 2})
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    step = replace(step_of(session([50, 41], [action(1, 1.5)]), session([40])), size=4)
    learner = PlainLearner(policy, optimizer, 1.0)
    ppo_step(batch_of(step, decode, 0), [], policy, learner, chosen, first_state(chosen), ALONE)
    assert {int(state["step"]) for state in optimizer.state.values()} == {2 * 2}


def test_every_number_logged_is_documented(tiny_model):
    step = random_step(3, vocabulary=300)
    logged = take(policy_of(tiny_model), step)[0] | session_metrics(summed(session_counts(step), ALONE))
    assert set(logged) == set(METRICS)
    assert all(isinstance(value, int | float) and math.isfinite(value) for value in logged.values())


def test_session_metrics_count_what_sessions_did():
    searched = session(
        [1, 2, 3], [action(1, 1.4, found=10, new=8, matched=1, cost=0.1), action(2, -0.1, found=5, new=0, cost=0.1)]
    )
    searched.problems.update({"repeated": 1, "prose": 4})
    stopped = session([4], [action(1, 0.0, kind="stop")], kind="expand")
    numbers = session_metrics(session_counts(step_of(searched, stopped, size=5)))
    assert numbers["missing_sessions"] == 3
    assert numbers["actions_per_session"] == 1
    assert numbers["found_per_action"] == 7.5
    assert numbers["repeated_per_action"] == 3.5
    assert numbers["matched_per_action"] == 0.5
    assert numbers["reward_per_action"] == pytest.approx(0.65)
    assert numbers["reward_matches"] == pytest.approx(0.75)
    assert numbers["reward_cost"] == pytest.approx(-0.1)
    assert numbers["reward_per_session"] == pytest.approx(0.65)
    assert numbers["valid_share"] == pytest.approx(2 / 3)
    assert numbers["stop_stopped"] == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gama0": 1.0}, "did you mean 'gamma0'"),
        ({"gamma0": 1.5}, "between 0 and 1"),
        ({"epochs": 0}, "at least 1"),
        ({"clip_range": 0.0}, "above 0"),
        ({"kl_control": "none"}, "fixed, adaptive"),
    ],
)
def test_settings_that_cannot_be_used_are_told_in_a_line(values, message):
    with pytest.raises(ConfigError, match=message):
        ppo_settings(values)


def test_defaults_are_the_papers():
    some = ppo_settings({})
    paper = (1.0, 0.1, 0.1, 0.2, 10.0, 2, 50, 1.0)
    assert paper == (
        some.gamma0, some.gamma1, some.kl_coefficient, some.clip_range, some.value_weight, some.epochs,
        some.value_warmup_steps, some.lam,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="model_name_or_path is missing"):
        policy_settings({})

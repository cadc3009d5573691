"""docs/PPO_TABLES.md, number by number: what a reader checks with a pencil is what the code computes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from pasa.actions import read_reply
from pasa.crawler import ActionOutcome, Session
from pasa.models.base import Reply
from pasa.paper import Paper
from pasa.prompts import search_request
from trl_ext.session_ppo.batch import batch_of
from trl_ext.session_ppo.losses import policy_loss, token_weights, value_loss
from trl_ext.session_ppo.processes import SingleProcess
from trl_ext.session_ppo.records import ActionReward, PaperStart, SessionRecord, StepSessions
from trl_ext.session_ppo.returns import advantages_and_returns, later_values, token_rewards
from trl_ext.session_ppo.rewards import RewardSettings, earned
from trl_ext.session_ppo.settings import ppo_settings

PAGE = (Path(__file__).parents[3] / "docs" / "PPO_TABLES.md").read_text(encoding="utf-8")
TOKENS = ["[Search]", " trees", "\n", "[Search]", " graph", " kernels", "\n", "[StopSearch]", ""]
REPLY = "".join(TOKENS)
PAPER = ppo_settings({})
ALONE = SingleProcess()
A, B, C, D = (Paper(name) for name in ("Alpha", "Beta", "Gamma", "Delta"))
VALUES = {"Alpha": 0.5, "Beta": 0.3, "Delta": 0.2}


def table(number):
    """The table under heading `number`: column name -> its cells."""
    section = PAGE.split(f"\n## {number}. ")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return {name: [row[i] for row in rows[2:]] for i, name in enumerate(rows[0])}


def numbers(cells):
    return torch.tensor([[float(cell) for cell in cells]])


def same(found, cells):
    torch.testing.assert_close(found, numbers(cells), rtol=0, atol=1e-6)


def decode(ids):
    return "".join(TOKENS[i] for i in ids)


@pytest.fixture(scope="module")
def earnings():
    parsed = read_reply(REPLY, "search")
    first, second = parsed.moves
    outcomes = (ActionOutcome(first, (A, B, C), (A, B)), ActionOutcome(second, (A, D), (D,)))
    reply = Reply(REPLY, reply_ids=tuple(range(9)))
    session = Session("search", 0, 0, search_request("q"), reply, parsed, outcomes)
    return earned(session, {A.key: 1.0, B.key: 0.2, C.key: 0.9, D.key: 0.1}, RewardSettings())


@pytest.fixture(scope="module")
def batch(earnings):
    """The session with the rewards of table 1, its papers' starts in the order A, B, D."""
    places = {"Alpha": 0, "Beta": 1, "Delta": 2}
    actions = tuple(
        ActionReward(e.action.kind, e.action.start, e.action.end, e.reward, tuple(places[p.title] for p in e.new))
        for e in earnings
    )
    record = SessionRecord(
        "search", "q", 0, (0,), tuple(range(9)), REPLY, actions, read_reply(REPLY, "search").stop, problems=Counter()
    )
    starts = tuple(PaperStart("q", name, (0,)) for name in places)
    return batch_of(StepSessions((record,), starts, 1), decode, 0)


def test_rewards(earnings):
    shown = table(1)
    for name in ("found", "matched", "cost"):
        assert [getattr(e, name) for e in earnings] == [float(cell) for cell in shown[name]]
    assert [len(e.new) for e in earnings] == [float(cell) for cell in shown["new"]]
    rewards = [float(cell) for cell in shown["reward = 1.5 * matched - cost"]]
    assert [e.reward for e in earnings] == pytest.approx(rewards)
    assert [REPLY[e.action.start : e.action.end] for e in earnings] == shown["action"]


def test_credit(batch):
    shown = table(2)
    assert [cell.strip("`").replace("\\n", "\n") for cell in shown["token"]][:8] == TOKENS[:8]
    same(batch.rewards, shown["r"])
    later = later_values(batch, torch.tensor([VALUES[n] for n in ("Alpha", "Beta", "Delta")]))
    same(later, shown["sum of V of new papers"])
    log_ratio = numbers(shown["log(pi / pi_sft)"])
    got = token_rewards(batch.rewards, later, log_ratio, batch.reply_mask, PAPER.gamma1, PAPER.kl_coefficient)
    same(got, shown["earned = r + 0.1 * V - 0.1 * log"])


@pytest.mark.parametrize(("lam", "column"), [(1.0, "A, lam 1"), (0.5, "A, lam 0.5")])
def test_returns_and_advantages(lam, column):
    shown = table(3)
    values, mask = numbers(shown["V"]), torch.ones(1, 9, dtype=torch.bool)
    got, returns = advantages_and_returns(numbers(shown["earned"]), values, mask, PAPER.gamma0, lam)
    same(got, shown[column])
    if lam == 1.0:
        same(returns, shown["R"])
        assert shown["earned"] == table(2)["earned = r + 0.1 * V - 0.1 * log"]
    after = torch.cat([values[:, 1:], torch.zeros(1, 1)], 1)
    same(numbers(shown["earned"]) + after - values, shown["error"])


def policys_loss(shown, weights):
    new, old = numbers(shown["ratio"]).log(), torch.zeros(1, 9)
    return policy_loss(new, old, numbers(shown["A"]), weights, PAPER.clip_range)


def test_the_policys_loss():
    shown = table(4)
    loss = policys_loss(shown, torch.full((1, 9), 1 / 9))
    ratio, advantage = numbers(shown["ratio"]), numbers(shown["A"])
    same(ratio * advantage, shown["ratio * A"])
    same(ratio.clamp(0.8, 1.2) * advantage, shown["clipped * A"])
    assert sum(float(cell) for cell in shown["counts"]) == pytest.approx(0.529)
    assert loss.loss.item() == pytest.approx(-0.529 / 9, abs=1e-6)
    assert loss.clip_fraction.item() == pytest.approx(2 / 9)
    assert shown["A"] == table(3)["A, lam 1"]


def test_the_values_loss():
    shown = table(5)
    weights = torch.full((1, 9), 1 / 9)
    returns, old, new = (numbers(shown[name]) for name in ("R", "old V", "V"))
    loss = value_loss(new, old, returns, weights, PAPER.value_clip_range).loss.item()
    assert sum(float(cell) for cell in shown["counts"]) == pytest.approx(0.4994)
    assert loss == pytest.approx(0.4994 / 9, abs=1e-6)
    clipped = numbers(shown["clipped V"])
    torch.testing.assert_close(old + (new - old).clamp(-0.2, 0.2), clipped)
    same((returns - new) ** 2, shown["(R - V)^2"])
    same((returns - clipped) ** 2, shown["(R - clipped V)^2"])
    whole = policys_loss(table(4), weights).loss.item() + PAPER.value_weight * loss
    assert whole == pytest.approx(0.496111, abs=1e-5)
    assert shown["R"] == table(3)["R"]
    assert shown["old V"] == table(3)["V"]


@pytest.mark.parametrize("row", [0, 1])
def test_how_much_a_session_counts(row):
    shown = table(6)
    mask = torch.arange(9)[None] < torch.tensor([[9], [3]])
    weights = token_weights(mask, shown["`normalization`"][row], ALONE)
    first, second = shown["weight of a token of the first"][row], shown["of the second"][row]
    assert weights[0, 0].item() == pytest.approx(1 / int(first.removeprefix("1/")))
    assert weights[1, 0].item() == pytest.approx(1 / int(second.removeprefix("1/")))
    four = table(4)
    new, old = torch.zeros(2, 9), torch.zeros(2, 9)
    new[0] = numbers(four["ratio"]).log()
    advantages = torch.cat([numbers(four["A"]), torch.full((1, 9), -0.3)])
    loss = policy_loss(new, old, advantages, weights, PAPER.clip_range).loss.item()
    assert loss == pytest.approx(float(shown["policy loss"][row].split("= ")[1]), abs=1e-6)

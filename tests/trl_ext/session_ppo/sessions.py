"""Sessions to learn from, made up; and the slow obvious sums that the tensors must equal."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from pasa.actions import StopReason
from trl_ext.session_ppo.records import ActionReward, PaperStart, SessionRecord, StepSessions


def decode(ids):
    """Of token ids that are code points."""
    return "".join(chr(i) for i in ids)


def session(reply_ids, actions=(), prompt=(5, 6, 7), kind="search", start=None, stop=StopReason.STOPPED):
    return SessionRecord(
        kind,
        "q1",
        0 if kind == "search" else 1,
        tuple(prompt),
        tuple(reply_ids),
        decode(reply_ids),
        tuple(actions),
        stop,
        start,
    )


def action(end, reward, starts=(), kind="search", **others):
    return ActionReward(kind, 0, end, reward, tuple(starts), **others)


def start_prompt(number):
    return (5, 8 + number)


def step_of(*sessions, starts=0, size=None):
    papers = tuple(PaperStart("q1", f"p{i}", start_prompt(i)) for i in range(starts))
    return StepSessions(tuple(sessions), papers, len(sessions) if size is None else size)


def random_step(seed, sessions=3, size=None, vocabulary=50, longest_reply=9):
    """Sessions of random lengths, actions, rewards and found papers."""
    some = random.Random(seed)
    starts = some.randint(1, 4)
    made = []
    for _ in range(sessions):
        reply = [some.randrange(vocabulary) for _ in range(some.randint(1, longest_reply))]
        ends = sorted(some.sample(range(1, len(reply) + 1), some.randint(0, min(3, len(reply)))))
        actions = [
            action(
                end, round(some.uniform(-1, 3), 2), [some.randrange(starts) for _ in range(some.randint(0, 2))], new=2
            )
            for end in ends
        ]
        prompt = [some.randrange(vocabulary) for _ in range(some.randint(1, 6))]
        made.append(session(reply, actions, prompt))
    if sessions > 1:
        others = [replace(act, starts=tuple(start for start in act.starts if start)) for act in made[-1].actions]
        made[-1] = session(made[-1].reply_ids, others, start_prompt(0), "expand", start=0)
    return step_of(*made, starts=starts, size=size)


def slow_returns(earned, gamma0):
    """R_t of one session's tokens, each a sum of its own."""
    return [sum(gamma0 ** (k - t) * earned[k] for k in range(t, len(earned))) for t in range(len(earned))]


def slow_earned(record, start_values, log_ratio, gamma1, beta):
    """What each token of a session earned, action by action; a character is a token here."""
    earned = [-beta * ratio for ratio in log_ratio]
    for act in record.actions:
        token = min(act.end, len(record.reply_ids) - 1)
        earned[token] += act.reward
        for start in act.starts:
            earned[token] += gamma1 * start_values[start]
    return earned


def slow_gae(earned, values, gamma, lam):
    """GAE's advantages of one session by its recursion, last token first."""
    advantages, after, next_value = [0.0] * len(earned), 0.0, 0.0
    for t in reversed(range(len(earned))):
        after = earned[t] + gamma * next_value - values[t] + gamma * lam * after
        advantages[t], next_value = after, values[t]
    return advantages


def problems(**counts):
    return Counter(counts)

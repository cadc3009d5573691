"""The reward of an action: alpha for each new paper that matches the query, less the action's cost.

A paper matches when it is an answer of the query, or when the Selector selects it (PAPER.md, "Reward and return").
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pasa.actions import Action
from pasa.crawler import ActionOutcome, Session
from pasa.models.base import Scorer, SelectRequest, SideBySide
from pasa.paper import Paper, title_key
from trl_ext.session_ppo.queries import TrainingQuery

GOLD_SCORE = 1.0  # of an answer: it matches whatever the Selector would say
_KEPT_SCORES = 1_000_000  # (query, paper) pairs; 164 MB by tracemalloc
_PAIR_BYTES = 16  # the chance that two of a million pairs share them is below 1e-26


@dataclass(frozen=True)
class RewardSettings:
    """What papers and actions are worth; defaults are the paper's."""

    alpha: float = 1.5  # of a new paper that matches
    search_cost: float = 0.1
    expand_cost: float = 0.1
    stop_cost: float = 0.0  # upstream's code rewards a stop: -0.1
    selector_reward: bool = True  # false: only answers match ("without Selector as reward")


class MatchScorer:
    """A Scorer for rollouts: 1 for an answer of the query, else what the Selector says; each pair is asked for once.

    Without a Selector everything else has 0, so that "selected" means "matches" in every case.
    """

    def __init__(self, selector: Scorer | None, queries: Sequence[TrainingQuery] = ()) -> None:
        self.name = f"answers, then {selector.name}" if selector else "answers"
        self._selector = selector
        self._golds: dict[str, frozenset[str]] = {}
        for query in queries:  # the same question may stand in two rows
            self._golds[query.query.text] = self._golds.get(query.query.text, frozenset()) | query.golds
        self._kept: OrderedDict[bytes, float] = OrderedDict()  # of the Selector, by pair
        self._lock = threading.Lock()
        self.asked: Counter[str] = Counter()  # "gold", "kept", "new"

    def score(self, requests: Sequence[SelectRequest]) -> list[float]:
        """The scores, in order. Raises ModelError where the Selector fails."""
        pairs = [(_pair(request), request) for request in requests]
        with self._lock:
            scores = {key: score for key, request in pairs if (score := self._known(key, request)) is not None}
            new = {key: request for key, request in pairs if key not in scores}
            self.asked["new"] += len(new)
        if self._selector is None:
            scores |= dict.fromkeys(new, 0.0)
        elif new:
            asked = self._selector.score(list(new.values()))
            fresh = {key: float(score) for key, score in zip(new, asked, strict=True)}
            with self._lock:
                self._kept.update(fresh)
                while len(self._kept) > _KEPT_SCORES:
                    self._kept.popitem(last=False)
            scores |= fresh
        return [scores[key] for key, _ in pairs]

    def _known(self, key: bytes, request: SelectRequest) -> float | None:
        if title_key(request.title) in self._golds.get(request.query, ()):
            self.asked["gold"] += 1
            return GOLD_SCORE
        if key in self._kept:
            self.asked["kept"] += 1
            return self._kept[key]
        return None


def _pair(request: SelectRequest) -> bytes:
    """What stands for query and paper: an abstract is kilobytes, of which a million would fill the memory."""
    said = repr((request.query, request.title, request.abstract)).encode()
    return hashlib.blake2b(said, digest_size=_PAIR_BYTES).digest()


class ServedMatchScorer(MatchScorer):
    """The same over a server's Selector, which is asked by many threads at once."""

    def __init__(self, selector: Scorer, queries: Sequence[TrainingQuery], requests_at_once: int) -> None:
        super().__init__(selector, queries)
        self.requests_at_once = requests_at_once


def match_scorer(selector: Scorer | None, queries: Sequence[TrainingQuery]) -> MatchScorer:
    """The scorer of rollouts over this Selector, in the way that the Selector is best asked."""
    if selector is not None and isinstance(selector, SideBySide):
        return ServedMatchScorer(selector, queries, selector.requests_at_once)
    return MatchScorer(selector, queries)


@dataclass(frozen=True, slots=True)
class Earned:
    """What one action of a session led to and what it is worth."""

    action: Action
    is_carried_out: bool  # False: written, and dropped
    found: int  # distinct papers it led to, met before or not
    new: tuple[Paper, ...]  # those that entered the queue because of it
    matched: int  # of the new
    cost: float
    reward: float


def earned(
    session: Session, scores: Mapping[str, float], settings: RewardSettings, threshold: float = 0.5
) -> tuple[Earned, ...]:
    """What each action of the session earned, in order, a stop included.

    One that was written and not carried out, as it repeats another or is one too many, leads to nothing and costs what
    it would have cost: a policy that is not charged for it learns to go on writing.

    `scores`: by the papers' keys; a paper matches above `threshold`. What is new follows from the defined order of the
    crawl (pasa/crawl.py): layer by layer, sessions as their papers were chosen, actions as written, papers as found.
    """
    outcomes: dict[int, ActionOutcome] = {outcome.action.start: outcome for outcome in session.outcomes}
    written = [(action, True) for action in session.parsed.actions]
    written += [(action, False) for action in session.parsed.dropped]
    return tuple(
        _earned(action, is_carried_out, outcomes.get(action.start), scores, settings, threshold)
        for action, is_carried_out in sorted(written, key=lambda one: one[0].start)
    )


def _earned(
    action: Action,
    is_carried_out: bool,
    outcome: ActionOutcome | None,
    scores: Mapping[str, float],
    settings: RewardSettings,
    threshold: float,
) -> Earned:
    cost = {"search": settings.search_cost, "expand": settings.expand_cost, "stop": settings.stop_cost}[action.kind]
    new = outcome.new if outcome else ()
    matched = sum(scores.get(paper.key, 0.0) > threshold for paper in new)
    return Earned(
        action,
        is_carried_out,
        len(outcome.found) if outcome else 0,
        new,
        matched,
        cost,
        settings.alpha * matched - cost,
    )

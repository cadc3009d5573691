"""Which papers the next expand sessions are held on: drawn among all that the crawls of a step have found. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

ChoiceOrder = Literal["paper", "upstream"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A paper that an expand session may be held on."""

    crawl: int  # of the step, from 0
    place: int  # in the crawl's queue
    score: float
    matches: bool


def order_candidates(
    candidates: Sequence[Candidate], order: ChoiceOrder, match_weight: float, rng: random.Random
) -> list[Candidate]:
    """The candidates, each once, those to expand first at the beginning.

    "paper": drawn one after the other without putting back, a match `match_weight` times as likely as another paper.
    "upstream": best score first, ties in the order given.
    """
    if order == "upstream":
        return sorted(candidates, key=lambda candidate: -candidate.score)
    # Efraimidis and Spirakis, 2006: the order of u^(1/w) is that of drawing by weight without putting back
    keys = [rng.random() ** (1 / (match_weight if c.matches else 1.0)) for c in candidates]
    return [candidates[i] for i in sorted(range(len(candidates)), key=lambda i: -keys[i])]

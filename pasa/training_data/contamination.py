"""Keeps what a held-out benchmark asks out of training data. Pure.

A query is too near to a benchmark's when their subject words, stemmed and with abbreviations spelled out, have a
Jaccard similarity of at least SAME_WORDS, or when their answers have one of at least SAME_ANSWERS.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

from pasa.models.abbreviations import spelled_out
from pasa.models.text import stems, subject_words
from pasa.paper import title_key
from pasa.query import Query

SAME_WORDS = 0.6
SAME_ANSWERS = 0.5

Nearness = Literal["words", "answers"]


def question_words(question: str) -> frozenset[str]:
    """The question's subject words, stemmed, abbreviations spelled out."""
    return frozenset(stems(" ".join(subject_words(spelled_out(question)))))


class HeldOut:
    """The questions and answers of benchmarks that no training data may be near to."""

    def __init__(
        self, queries: Iterable[Query], same_words: float = SAME_WORDS, same_answers: float = SAME_ANSWERS
    ) -> None:
        self._words = _Sets(same_words)
        self._answers = _Sets(same_answers)
        for query in queries:
            self._words.add(question_words(query.text))
            self._answers.add(frozenset(map(title_key, query.answer or ())) - {""})

    def nearness(self, question: str, answers: Iterable[str]) -> Nearness | None:
        """What makes a question with these answers (titles) too near to a held-out one; None where nothing does."""
        if self._words.has_similar(question_words(question)):
            return "words"
        return "answers" if self._answers.has_similar(frozenset(map(title_key, answers)) - {""}) else None


class _Sets:
    """Sets that are looked up by Jaccard similarity, exactly, through the rarest of their members."""

    def __init__(self, at_least: float) -> None:
        self._at_least = at_least
        self._sets: list[frozenset[str]] = []
        self._holders: dict[str, list[int]] = defaultdict(list)

    def add(self, members: frozenset[str]) -> None:
        for member in members:
            self._holders[member].append(len(self._sets))
        self._sets.append(members)

    def has_similar(self, members: frozenset[str]) -> bool:
        """Whether a set is similar: it shares `at_least` of the members, so one of any that are more than the rest."""
        holders = sorted((self._holders.get(member, []) for member in members), key=len)
        rest = len(members) - math.ceil(self._at_least * len(members) - 1e-9)
        near = {at for held in holders[: rest + 1] for at in held}
        return any(_jaccard(members, self._sets[at]) >= self._at_least for at in near)


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)

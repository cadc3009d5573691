"""How much of what a question asks for a paper holds, by words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from pasa.models.abbreviations import spelled_out
from pasa.models.text import stems, subject_words, tokens
from pasa.paper import Paper
from pasa.training_data.memo import Memo
from pasa.training_data.phrases import word_weight


@lru_cache(maxsize=10_000)
def question_weights(question: str) -> dict[str, float]:
    """The question's subject words, stemmed and spelled out, and how much each says (nats)."""
    return {stem: word_weight(word) for word in subject_words(spelled_out(question)) for stem in stems(word)[:1]}


def coverage(words: Mapping[str, float], paper: Paper) -> float:
    """The share of the question's words, by weight, that the paper's title or abstract holds; in [0, 1]."""
    held = stems_held(paper)
    total = sum(words.values())
    return sum(weight for word, weight in words.items() if word in held) / total if total else 0.0


def stems_held(paper: Paper) -> frozenset[str]:
    """The stems of the paper's title and abstract."""
    return _stems(f"{paper.title} {paper.abstract}")


@lru_cache(maxsize=50_000)
def _stems(text: str) -> frozenset[str]:
    return frozenset(map(_STEM.__getitem__, set(tokens(text)))) - {""}


def _stem(word: str) -> str:
    return next(iter(stems(word)), "")


_STEM = Memo(_stem)  # "" for broken text; abstracts have few words that no other had, and stemming takes long

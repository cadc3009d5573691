"""Small judges of (query, paper) pairs, and how they learn from verdicts: a logistic curve over what they read.

A judge that reads gives a score in [0, 1] that ranks pairs; where it says yes must be learnt, once for each judge (its
own score alone) and once for a student that sees what all of them read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pasa.models.base import SelectRequest
from pasa.models.embedding import SentenceEmbedder
from pasa.models.rules_features import lexical_features, subject_of
from pasa.models.rules_selector import ABSTRACT_TOKENS, QUESTION_TOKENS, cosines, paper_text
from pasa.models.term_statistics import common_words

Floats = NDArray[np.float64]

_RIDGE = 0.01  # of the mean loss, on weights of standardized features; none on the intercept
_STEPS = 50
_LEAST_CHANGE = 1e-8
_SMALLEST = 1e-6  # a score nearer to 0 or 1 counts as this far from it


class WordsJudge:
    """The share of the question's words, by weight, that the paper's title and abstract hold."""

    name = "words"

    def score(self, requests: Sequence[SelectRequest]) -> list[float]:
        """One score in [0, 1] a request, in order."""
        subjects = {r.query: subject_of(r.query, common_words()) for r in requests}
        return [lexical_features(subjects[r.query], r.title, r.abstract)["coverage"] for r in requests]


class CosineJudge:
    """How near question and paper are to an encoder: (1 + cosine) / 2."""

    def __init__(self, name: str, embedder: SentenceEmbedder) -> None:
        self.name = f"cosine:{name}"
        self._embedder = embedder

    def score(self, requests: Sequence[SelectRequest]) -> list[float]:
        """One score in [0, 1] a request, in order."""
        subjects = [subject_of(r.query, common_words()).text for r in requests]
        papers = [paper_text(r.title, r.abstract) for r in requests]
        questions = self._embedder.embed(subjects, QUESTION_TOKENS)
        found = cosines(questions, self._embedder.embed(papers, ABSTRACT_TOKENS))
        return [(1 + cosine) / 2 for cosine in found]


@dataclass(frozen=True, slots=True)
class LogisticCurve:
    """The chance that a pair is an answer, from the log odds of some scores."""

    mean: Floats  # [features]
    scale: Floats  # [features]
    weights: Floats  # [features]
    intercept: float

    def probability(self, scores: Floats) -> Floats:
        """scores [pairs, features] in [0, 1] -> [pairs] in (0, 1)."""
        logits = (log_odds(scores) - self.mean) / self.scale @ self.weights + self.intercept
        return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))


def log_odds(scores: Floats) -> Floats:
    """ln(p / (1 - p)), of scores kept off 0 and 1."""
    p = np.clip(scores, _SMALLEST, 1 - _SMALLEST)
    return np.log(p / (1 - p))


def fit_curve(scores: Floats, is_answer: NDArray[np.bool_]) -> LogisticCurve:
    """The curve of the least log loss with a small ridge, by Newton's method; scores [pairs, features], labels [pairs].

    Raises ValueError for no pair.
    """
    if not len(scores):
        raise ValueError("no verdict to learn from")
    x = log_odds(scores)
    mean, scale = x.mean(0), np.maximum(x.std(0), 1e-3)
    x = np.column_stack([(x - mean) / scale, np.ones(len(x))])
    ridge = np.diag([_RIDGE] * (x.shape[1] - 1) + [1e-6])  # all labels alike would move the intercept for ever
    w = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        gradient = x.T @ (p - is_answer) / len(x) + ridge @ w
        hessian = (x * (p * (1 - p))[:, None]).T @ x / len(x) + ridge
        step = np.linalg.solve(hessian, gradient)
        w = w - step
        if np.abs(step).max() < _LEAST_CHANGE:
            break
    return LogisticCurve(mean, scale, w[:-1], float(w[-1]))


def area_under_curve(scores: Sequence[float] | Floats, is_answer: Sequence[bool] | NDArray[np.bool_]) -> float:
    """The chance that an answer is scored above another pair, ties counting half; nan without both kinds."""
    values, labels = np.asarray(scores, float), np.asarray(is_answer, bool)
    if labels.all() or not labels.any():
        return float("nan")
    gaps = values[labels][:, None] - values[~labels][None]
    return float(np.mean((gaps > 0) + 0.5 * (gaps == 0)))

"""The Selector without a language model: sentence embeddings and shared words, calibrated to a probability."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pasa.models.base import SelectRequest
from pasa.models.embedding import SentenceEmbedder, Vectors
from pasa.models.rules_features import Subject, lexical_features, subject_of
from pasa.models.rules_weights import RulesWeights, read_weights
from pasa.models.term_statistics import TermStatistics, common_words

# Titles are short; an abstract's first sentences say what it is about. Embedding time is in proportion.
QUESTION_TOKENS, TITLE_TOKENS, ABSTRACT_TOKENS = 128, 32, 128


class RulesScorer:
    """Gives each (question, paper) pair the probability that the paper answers the question; over 0.5 is selected.

    Every title is embedded, an abstract only where words and title leave a chance: it takes ten times as long.
    `statistics` say which words discriminate; None takes the committed table. One thread at a time.
    """

    name = "rules"

    def __init__(
        self,
        statistics: TermStatistics | None = None,
        embedder: SentenceEmbedder | None = None,
        weights: RulesWeights | None = None,
    ) -> None:
        self._statistics = statistics
        self._embedder = embedder or SentenceEmbedder()
        self._weights = weights
        self._subjects: dict[str, Subject] = {}

    @property
    def embedder(self) -> SentenceEmbedder:
        """What it reads with: who ranks what it scored finds the vectors there."""
        return self._embedder

    def score(self, requests: Sequence[SelectRequest]) -> list[float]:
        """One score in [0, 1] a request, in order; each depends on its own request alone. 0 for an empty question."""
        if not requests:
            return []
        weights = self._weights or read_weights()
        subjects = [self._subject(r.query) for r in requests]
        questions = self._embedder.embed([s.text for s in subjects], QUESTION_TOKENS)
        titles = self._embedder.embed([r.title for r in requests], TITLE_TOKENS)
        title_cosines = cosines(questions, titles)
        features = [lexical_features(s, r.title, r.abstract) for s, r in zip(subjects, requests, strict=True)]
        scores: list[float] = []
        for row, cosine in zip(features, title_cosines, strict=True):
            row["title_cosine"] = cosine
        for request, subject, row in zip(requests, subjects, features, strict=True):
            model = weights.quick if request.abstract.strip() else weights.title
            scores.append(model.probability(row) if subject.weights else 0.0)
        chosen = [
            i for i, r in enumerate(requests) if r.abstract.strip() and subjects[i].weights
            and scores[i] >= weights.quick_at_least
        ]  # fmt: skip
        texts = [paper_text(requests[i].title, requests[i].abstract) for i in chosen]
        for i, cosine in zip(
            chosen, cosines(questions[chosen], self._embedder.embed(texts, ABSTRACT_TOKENS)), strict=True
        ):
            scores[i] = weights.full.probability({**features[i], "abstract_cosine": cosine})
        return scores

    def _subject(self, question: str) -> Subject:
        if question not in self._subjects:
            if len(self._subjects) >= _SUBJECTS_KEPT:
                self._subjects.clear()
            self._subjects[question] = subject_of(question, self._statistics or common_words())
        return self._subjects[question]


_SUBJECTS_KEPT = 1000  # questions whose words are remembered


def paper_text(title: str, abstract: str) -> str:
    """What is embedded of a paper that has an abstract."""
    return f"{title}. {abstract}"


def cosines(a: Vectors, b: Vectors) -> list[float]:
    """The cosine of each row of `a` with the same row of `b`, both [rows, DIMENSION] of length 1."""
    return [float(x) for x in np.einsum("nd,nd->n", a, b)]

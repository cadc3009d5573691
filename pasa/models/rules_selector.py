"""The Selector without a language model: sentence embeddings and shared words, calibrated to a probability."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pasa.models.base import SelectRequest
from pasa.models.embedding import SentenceEmbedder
from pasa.models.term_statistics import TermStatistics, common_words, inverse_document_frequency
from pasa.models.text import stem, stems, subject_words

_WEIGHTS = Path(__file__).with_name("rules_weights.json")
FEATURES = ("cosine", "title_coverage", "bm25")
_K1, _B, _MEAN_LENGTH = 1.2, 0.75, 180.0  # BM25's usual constants; words of a title and abstract


class RulesScorer:
    """Gives each (query, paper) pair the probability that the paper answers the query; above 0.5 is selected.

    `statistics` say which words discriminate; None takes the committed table.
    """

    name = "rules"

    def __init__(self, statistics: TermStatistics | None = None, embedder: SentenceEmbedder | None = None) -> None:
        self._statistics = statistics
        self._embedder = embedder or SentenceEmbedder()
        self._weights: dict[str, float] | None = None

    def score(self, requests: Sequence[SelectRequest]) -> list[float]:
        """One score in [0, 1] a request, in order."""
        if not requests:
            return []
        if self._weights is None:
            self._weights = json.loads(_WEIGHTS.read_text("utf-8"))["weights"]
        statistics = self._statistics or common_words()
        queries = self._embedder.embed([r.query for r in requests])
        papers = self._embedder.embed([f"{r.title}. {r.abstract}" for r in requests])
        cosines = np.einsum("nd,nd->n", queries, papers)
        weighted = {q: query_weights(q, statistics) for q in {r.query for r in requests}}
        scores = []
        for request, cosine in zip(requests, cosines, strict=True):
            lexical = lexical_features(weighted[request.query], request.title, request.abstract)
            total = self._weights["intercept"] + self._weights["cosine"] * float(cosine)
            total += sum(self._weights[name] * value for name, value in lexical.items())
            scores.append(1.0 / (1.0 + math.exp(-total)))
        return scores


def query_weights(query: str, statistics: TermStatistics) -> dict[str, float]:
    """The stems of the query's subject words and their weights, which sum to 1."""
    weights: dict[str, float] = {}
    for word in subject_words(query):
        weight = inverse_document_frequency(statistics, word)
        weights[stem(word)] = max(weight, weights.get(stem(word), 0.0))
    total = sum(weights.values())
    return {s: w / total for s, w in weights.items()} if total > 0 else {}


def lexical_features(weights: dict[str, float], title: str, abstract: str) -> dict[str, float]:
    """`title_coverage` and `bm25`, each in [0, 1): how much of the query's weight the paper's words carry."""
    title_stems = stems(title)
    counts = Counter(title_stems + stems(abstract))
    length = sum(counts.values())
    norm = _K1 * (1 - _B + _B * length / _MEAN_LENGTH)
    return {
        "title_coverage": sum(weights.get(s, 0.0) for s in set(title_stems)),
        "bm25": sum(w * counts[s] / (counts[s] + norm) for s, w in weights.items()),
    }

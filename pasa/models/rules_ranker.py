"""The last word on a finished crawl's ranking: what the whole crawl tells about each paper, as one linear score.

The Selector sees one paper at a time. At the end it is also known where the first search placed a paper, which papers
cite it, how much the library cites it, and what the best papers of the crawl are like.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pasa.errors import CheckpointError
from pasa.models.base import FoundPapers
from pasa.models.embedding import SentenceEmbedder, Vectors
from pasa.models.rules_features import Subject, lexical_features, subject_of
from pasa.models.rules_reranker import citation_evidence
from pasa.models.rules_selector import ABSTRACT_TOKENS, QUESTION_TOKENS, TITLE_TOKENS, paper_text
from pasa.models.rules_weights import Logistic, log_odds
from pasa.models.term_statistics import TermStatistics, common_words
from pasa.paper import Paper

RANKER_FILE = Path(__file__).with_name("ranker_weights.json")
_BEST = (5, 20)  # so many of the best papers show what an answer is like
# By measurement: all abstracts give recall@50/100 .003 higher on the dev questions; 600 a question more are read.
READ_PAPERS = 300
_LAST_PLACE = 400  # of a paper that the first search did not find, or found further down
_EVIDENCE_SHARPNESS, _EVIDENCE_SCALE = 0.35, 3.0  # as scripts/calibrate_rules.py has them
_LIKE = tuple(f"like_best_{count}" for count in _BEST)
FEATURES = ("cosine", "bm25", "evidence", *_LIKE, "place", "times_cited")
UNCOUNTED_FEATURES = FEATURES[:-1]  # where nobody knows how often a paper is cited

Floats = NDArray[np.float64]
TimesCited = Callable[[Sequence[Paper]], Sequence[int]]


@dataclass(frozen=True, slots=True)
class RankerWeights:
    """What scripts/train_ranker.py fitted."""

    weights: Mapping[str, float]  # of features by name
    level: Logistic  # over `score` and `best`, the crawl's best score: the probability


@dataclass(frozen=True, slots=True)
class RankerModels:
    """The ranker where it is known how often papers are cited, and where it is not."""

    counted: RankerWeights
    uncounted: RankerWeights


@lru_cache(maxsize=4)
def read_ranker(path: Path = RANKER_FILE) -> RankerModels:
    """The weights in `path`. Raises CheckpointError when it is unreadable."""
    try:
        row = json.loads(path.read_text("utf-8"))
        return RankerModels(_weights(row["counted"], FEATURES), _weights(row["uncounted"], UNCOUNTED_FEATURES))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} holds no ranker ({error}): run scripts/train_ranker.py") from error


def _weights(row: Mapping[str, Any], names: Sequence[str]) -> RankerWeights:
    return RankerWeights({name: float(row["weights"][name]) for name in names}, Logistic.from_json(row["level"]))


class RulesRanker:
    """Gives the papers of a crawl their final scores. The scores it starts from are RulesScorer's.

    `times_cited` tells how many papers of the library cite each of some papers; None = nobody knows.
    """

    def __init__(
        self,
        embedder: SentenceEmbedder,
        times_cited: TimesCited | None = None,
        statistics: TermStatistics | None = None,
        models: RankerModels | None = None,
    ) -> None:
        self._embedder = embedder
        self._times_cited = times_cited
        self._statistics = statistics
        self._models = models

    def __call__(self, found: FoundPapers) -> list[float]:
        """Scores in [0, 1], one a paper, in order; those it starts from where the question holds no word.

        Abstracts are read of the papers that rank best by their titles; reading takes ten times as long as the rest.
        """
        models = self._models or read_ranker()
        weights = models.counted if self._times_cited else models.uncounted
        features = self.features(found, weights.weights)
        if not features:
            return list(found.scores)
        scores = linear_scores(features, weights.weights)
        best = float(scores.max())
        return [weights.level.probability({"score": float(score), "best": best}) for score in scores]

    def features(self, found: FoundPapers, by_titles: Mapping[str, float] | None = None) -> dict[str, Floats]:
        """FEATURES, each [papers]; {} where there is no paper or the question holds no word.

        `by_titles`: weights by which READ_PAPERS are chosen whose abstracts are read; None = all are.
        """
        subject = subject_of(found.question, self._statistics or common_words())
        if not subject.weights or not found.papers:
            return {}
        question = self._embedder.embed([subject.text], QUESTION_TOKENS)[0]
        cited = self._times_cited(found.papers) if self._times_cited else [0] * len(found.papers)
        known = _known_features(found, subject, cited)
        vectors = self._embedder.embed([paper.title for paper in found.papers], TITLE_TOKENS)
        read = list(range(len(found.papers)))
        if by_titles:
            scores = linear_scores(known | _vector_features(found, question, vectors), by_titles)
            read = np.argsort(-scores, kind="stable")[:READ_PAPERS].tolist()
        read = [at for at in read if found.papers[at].abstract.strip()]
        texts = [paper_text(found.papers[at].title, found.papers[at].abstract) for at in read]
        vectors[read] = self._embedder.embed(texts, ABSTRACT_TOKENS)
        return known | _vector_features(found, question, vectors)


def _known_features(found: FoundPapers, subject: Subject, times_cited: Sequence[int]) -> dict[str, Floats]:
    """The features that take no vectors, each [papers]."""
    evidence = citation_evidence([log_odds(score) for score in found.scores], found.citations, _EVIDENCE_SHARPNESS)
    places = [_LAST_PLACE if place is None else min(place, _LAST_PLACE) for place in found.hit_places]
    return {
        "bm25": np.array([lexical_features(subject, p.title, p.abstract)["bm25"] for p in found.papers], np.float64),
        "evidence": np.log1p(np.array(evidence, np.float64) / _EVIDENCE_SCALE),
        "place": np.log1p(np.array(places, np.float64)),
        "times_cited": np.log1p(np.array(times_cited, np.float64)),
    }


def _vector_features(found: FoundPapers, question: Vectors, vectors: Vectors) -> dict[str, Floats]:
    """The features that compare vectors, each [papers]; `question` [dimension] and `vectors` [papers, dimension]."""
    best_first = np.argsort(-np.array(found.scores), kind="stable")
    features = {"cosine": vectors @ question}
    for name, count in zip(_LIKE, _BEST, strict=True):
        features[name] = vectors @ vectors[best_first[:count]].mean(axis=0)
    return {name: np.asarray(values, np.float64) for name, values in features.items()}


def linear_scores(features: Mapping[str, Floats], weights: Mapping[str, float]) -> Floats:
    """The weighted sum of the features [papers]."""
    return np.sum([weight * features[name] for name, weight in weights.items()], axis=0)

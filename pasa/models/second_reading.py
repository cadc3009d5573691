"""The best papers of a ranking, read again by another Selector: a slow one for a few where a fast one scored all."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from pasa.models.base import FoundPapers, Scorer
from pasa.models.rules_weights import log_odds
from pasa.prompts import PromptSet, select_request

# Of depths 20 and 30 and shares 0 to 1 the safest for pasa-selector-135m, on 16 questions only (docs/RESULTS.md).
PAPERS = 30
SHARE = 0.25


class SecondReading:
    """Gives the papers of a crawl their final scores: the best of a first ranking change places among themselves.

    They are ordered by `share` of the second Selector's log-odds and 1 - `share` of the first's, each standardised over
    these papers. The scores they had stay and are dealt out anew in that order, so that as many pass a threshold.
    """

    def __init__(
        self,
        scorer: Scorer,
        first: Callable[[FoundPapers], list[float]] | None = None,
        prompts: PromptSet = "pasa",
        papers: int = PAPERS,
        share: float = SHARE,
    ) -> None:
        """`first` gives the scores to start from, None = the Selector's own; `papers`: how many are read again."""
        self._scorer = scorer
        self._first = first
        self._prompts = prompts
        self._papers = papers
        self._share = share

    def __call__(self, found: FoundPapers) -> list[float]:
        """Scores in [0, 1], one a paper, in order. Raises ModelError."""
        scores = list(self._first(found) if self._first else found.scores)
        best = sorted(range(len(scores)), key=lambda i: -scores[i])[: self._papers]
        papers = [found.papers[i] for i in best]
        requests = [select_request(found.question, paper.title, paper.abstract, self._prompts) for paper in papers]
        if not requests or not found.question:
            return scores
        again = self._scorer.score(requests)
        merits = merged([scores[i] for i in best], again, self._share)
        order = sorted(range(len(best)), key=lambda rank: -merits[rank])
        kept = [scores[i] for i in best]  # best first
        for rank, place in enumerate(order):
            scores[best[place]] = kept[rank]
        return scores


def merged(first: Sequence[float], second: Sequence[float], share: float) -> list[float]:
    """1 - `share` of the standardised log-odds of `first` and `share` of those of `second`."""
    pairs = zip(_standardised(first), _standardised(second), strict=True)
    return [(1 - share) * one + share * other for one, other in pairs]


def _standardised(scores: Sequence[float]) -> list[float]:
    """Log-odds less their mean, over their standard deviation; zeros where all are alike."""
    odds = [log_odds(score) for score in scores]
    mean, spread = statistics.fmean(odds), statistics.pstdev(odds)
    return [(value - mean) / spread if spread else 0.0 for value in odds]

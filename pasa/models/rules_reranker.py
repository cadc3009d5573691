"""A ranking by citations alone: papers that relevant papers cite move up. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from pasa.models.rules_weights import RulesWeights, log_odds, read_weights, sigmoid


def rerank(
    scores: Sequence[float], citations: Iterable[tuple[int, int]], weights: RulesWeights | None = None
) -> list[float]:
    """New scores in [0, 1], in order, for the papers of one crawl, from their scores and who cites whom.

    `citations` holds (citing, cited) positions in `scores`; a pair counts once and a paper never for itself. Without
    any citation the scores come back as they are. Use it where scores come from RulesScorer, whose log-odds the
    weights belong to.
    """
    weights = weights or read_weights()
    pairs = {(citing, cited) for citing, cited in citations if citing != cited}
    if not pairs:
        return list(scores)
    evidence = citation_evidence([log_odds(s) for s in scores], pairs, weights.evidence_sharpness)
    model = weights.rerank
    return [
        sigmoid(
            model.intercept
            + model.weights["score"] * log_odds(score)
            + model.weights["evidence"] * math.log1p(found / weights.evidence_scale)
        )
        for score, found in zip(scores, evidence, strict=True)
    ]


def citation_evidence(logits: Sequence[float], pairs: Iterable[tuple[int, int]], sharpness: float) -> list[float]:
    """For each paper the sum over the papers citing it of exp(sharpness * (its log-odds - the crawl's best)).

    So the best paper's citation counts 1 and a worse one's less. `pairs` are distinct (citing, cited).
    """
    best = max(logits, default=0.0)
    evidence = [0.0] * len(logits)
    for citing, cited in sorted(pairs):
        evidence[cited] += math.exp(sharpness * (logits[citing] - best))
    return evidence

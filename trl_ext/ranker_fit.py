"""Fits the ranker of crawls: weights by which answers come before the other papers, and a probability. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]
RIDGE = 0.03  # of the weights of features at unit spread; keeps those of a few hundred questions small
RECALL_WEIGHT = 2.0  # of the F-measure: a paper missed costs more than one too many to read
RECALL_AT = (20, 50, 100)


@dataclass(frozen=True, slots=True)
class RankedCrawl:
    """The papers one crawl found."""

    features: Mapping[str, Floats]  # name -> [papers]
    is_answer: NDArray[np.bool_]  # [papers]
    answers: int  # of the question, found or not; above 0

    def rows(self, names: Sequence[str]) -> Floats:
        """The features [papers, names]."""
        return np.stack([self.features[name] for name in names], 1)


def fit_weights(crawls: Sequence[RankedCrawl], names: Sequence[str], ridge: float = RIDGE) -> dict[str, float]:
    """The weights under which each found answer is likeliest to come before all its crawl's other papers.

    The loss is a question's mean over its answers of the cross-entropy of the answer among it and all papers that are
    no answer. Every weight is kept at the sign that helps: `place` at or below 0, the others at or above. Raises
    ValueError where no crawl found an answer.
    """
    used = [crawl for crawl in crawls if crawl.is_answer.any() and not crawl.is_answer.all()]
    if not used:
        raise ValueError("no crawl found an answer among other papers")
    x = np.concatenate([crawl.rows(names) for crawl in used])
    spread = x.std(0) + 1e-9
    parts = [(rows, crawl.is_answer) for rows, crawl in zip(_split(x / spread, used), used, strict=True)]

    def loss(weights: Floats) -> tuple[float, Floats]:
        losses, slopes = zip(*(_question_loss(rows, is_answer, weights) for rows, is_answer in parts), strict=True)
        value = float(np.mean(losses)) + ridge / 2 * float(weights @ weights)
        return value, np.mean(slopes, 0) + ridge * weights

    bounds = [(None, 0.0) if name == "place" else (0.0, None) for name in names]
    best = minimize(loss, np.zeros(len(names)), jac=True, method="L-BFGS-B", bounds=bounds).x
    return {name: float(weight) for name, weight in zip(names, best / spread, strict=True)}


def _split(x: Floats, crawls: Sequence[RankedCrawl]) -> list[Floats]:
    return np.split(x, np.cumsum([len(crawl.is_answer) for crawl in crawls])[:-1])


def _question_loss(rows: Floats, is_answer: NDArray[np.bool_], weights: Floats) -> tuple[float, Floats]:
    """The mean over answers of log(1 + sum over others of exp(score of other - score of answer)), and its slope."""
    scores = rows @ weights
    others = scores[~is_answer]
    top = others.max()
    share = np.exp(others - top)
    others_logit = top + np.log(share.sum())
    gap = others_logit - scores[is_answer]  # [answers]
    pull = 1 / (1 + np.exp(-gap))  # chance that an answer loses
    mean_other = (share / share.sum()) @ rows[~is_answer]
    slope = pull.mean() * mean_other - (pull[:, None] * rows[is_answer]).mean(0)
    return float(np.logaddexp(0, gap).mean()), slope


def fit_level(scores: Sequence[Floats], is_answer: Sequence[NDArray[np.bool_]]) -> tuple[dict[str, float], float]:
    """(weights of `score` and `best`, intercept) of the log-odds that a paper is an answer, shifted to select best.

    `scores` and `is_answer` are [papers] of each crawl. Answers are few of the relevant papers, so that the plain
    probability hardly passes 0.5: the shift gives what is above 0.5 the best F-measure over all papers.
    """
    x = np.concatenate([np.stack([s, np.full(len(s), s.max())], 1) for s in scores])
    y = np.concatenate(is_answer).astype(float)
    centre, spread = x.mean(0), x.std(0) + 1e-9
    z = (x - centre) / spread

    def loss(p: Floats) -> tuple[float, Floats]:
        logit = p[0] + z @ p[1:]
        residual = 1 / (1 + np.exp(-logit)) - y
        value = float(np.mean(np.logaddexp(0, logit) - y * logit))
        return value, np.concatenate([[residual.mean()], z.T @ residual / len(y)])

    best = minimize(loss, np.zeros(3), jac=True, method="L-BFGS-B", bounds=[(None, None), (0, None), (None, None)]).x
    weights = best[1:] / spread
    intercept = float(best[0] - weights @ centre)
    shift = best_shift(intercept + x @ weights, y)
    return {"score": float(weights[0]), "best": float(weights[1])}, intercept + shift


def best_shift(logits: Floats, y: Floats, recall_weight: float = RECALL_WEIGHT) -> float:
    """What to add to the log-odds so that those above 0 have the best F-measure against `y`, 1 for an answer."""
    order = np.argsort(-logits, kind="stable")
    hits = np.cumsum(y[order])
    weight = recall_weight**2
    f_measure = (1 + weight) * hits / (np.arange(1, len(y) + 1) + weight * y.sum())
    return 1e-6 - float(logits[order[int(np.argmax(f_measure))]])


def recalls(crawls: Sequence[RankedCrawl], scores: Sequence[Floats]) -> dict[str, float]:
    """recall@20/50/100 over the crawls, and `crawler_recall`, what all their papers hold; means over questions."""
    found: dict[str, list[float]] = {name: [] for name in (*(f"recall@{k}" for k in RECALL_AT), "crawler_recall")}
    for crawl, score in zip(crawls, scores, strict=True):
        hits = crawl.is_answer[np.argsort(-score, kind="stable")]
        for k in RECALL_AT:
            found[f"recall@{k}"].append(hits[:k].sum() / crawl.answers)
        found["crawler_recall"].append(hits.sum() / crawl.answers)
    return {name: float(np.mean(values)) for name, values in found.items()}


def selected(scores: Sequence[Floats], crawls: Sequence[RankedCrawl]) -> dict[str, float]:
    """Precision and recall of the log-odds `scores` above 0, means over questions; precision 0 where none is."""
    precision, recall = [], []
    for crawl, score in zip(crawls, scores, strict=True):
        chosen = score > 0
        hits = int((chosen & crawl.is_answer).sum())
        precision.append(hits / max(1, int(chosen.sum())))
        recall.append(hits / crawl.answers)
    return {"precision": float(np.mean(precision)), "recall": float(np.mean(recall))}

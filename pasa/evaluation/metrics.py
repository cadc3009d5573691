"""The paper's metrics, read off result trees (PAPER.md, metrics); they equal upstream's metrics.py to the last digit.

A tree is upstream's JSON form. Titles are compared by their letters. Each metric is macro-averaged over queries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from pasa.paper import title_key

SELECT_THRESHOLD = 0.5
SELECTED_CHILD_SCORE, ACTION_COST = 1.0, 0.1  # of the crawl score


@dataclass(frozen=True)
class QueryMetrics:
    """One query's numbers, each in [0, 1] but `actions` and `score`."""

    crawler_recall: float  # golds among all crawled titles
    precision: float  # of the titles scored above the threshold; 0 when there is none
    recall: float
    recall_at_20: float  # golds among the 20 best-scored distinct crawled titles
    recall_at_50: float
    recall_at_100: float
    actions: float  # search queries and sections that led to a paper, or were searched
    score: float  # +1 a selected child, -0.1 an action, averaged over nodes


def query_metrics(tree: dict[str, Any], golds: Sequence[str] | None = None) -> QueryMetrics:
    """The metrics of one result tree against `golds` (titles), by default the tree's own `extra.answer`.

    Raises KeyError when there are neither.
    """
    gold_keys = {title_key(g) for g in (tree["extra"]["answer"] if golds is None else golds)}
    nodes = list(_walk(tree))
    best: dict[str, float] = {}  # title key -> the score under which it was met first
    selected = set()
    for node in nodes[1:]:
        key = title_key(node["title"])
        best.setdefault(key, node["select_score"])
        if node["select_score"] > SELECT_THRESHOLD:
            selected.add(key)
    ranked = sorted(best, key=lambda key: -best[key])

    def recall(found: set[str]) -> float:
        return len(found & gold_keys) / len(gold_keys) if gold_keys else 0.0

    return QueryMetrics(
        crawler_recall=recall(set(best)),
        precision=len(selected & gold_keys) / len(selected) if selected and gold_keys else 0.0,
        recall=recall(selected),
        recall_at_20=recall(set(ranked[:20])),
        recall_at_50=recall(set(ranked[:50])),
        recall_at_100=recall(set(ranked[:100])),
        actions=float(sum(len(node["child"]) for node in nodes)),
        score=sum(_crawl_score(node) for node in nodes) / len(nodes),
    )


def macro_average(metrics: Sequence[QueryMetrics]) -> dict[str, float]:
    """The mean of each metric over queries, by upstream's names ("recall@20"). Raises ValueError when there is none."""
    if not metrics:
        raise ValueError("no query to average over")
    return {
        field.name.replace("_at_", "@"): sum(getattr(m, field.name) for m in metrics) / len(metrics)
        for field in fields(QueryMetrics)
    }


def _walk(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The root and every node below it, breadth first."""
    level = [tree]
    while level:
        yield from level
        level = [kid for node in level for kids in node["child"].values() for kid in kids]


def _crawl_score(node: dict[str, Any]) -> float:
    selected = sum(kid["select_score"] > SELECT_THRESHOLD for kids in node["child"].values() for kid in kids)
    return SELECTED_CHILD_SCORE * selected - ACTION_COST * len(node["child"])

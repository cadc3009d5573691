"""The last word on a finished crawl's scores: a model may look at who cites whom among all the papers found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from pasa.crawler import Session
from pasa.paper import Paper
from pasa.result_tree import Node

# (scores, citations as (citing, cited) places in them) -> scores in [0, 1], in the same order
Rerank = Callable[[Sequence[float], Collection[tuple[int, int]]], list[float]]


def rerank_nodes(nodes: Sequence[Node], sessions: Sequence[Session], rerank: Rerank) -> None:
    """Gives each node of a crawl its final score."""
    scores = rerank([node.score for node in nodes], citations(nodes, sessions))
    for node, score in zip(nodes, scores, strict=True):
        node.score = score


def citations(nodes: Sequence[Node], sessions: Sequence[Session]) -> list[tuple[int, int]]:
    """The distinct (citing, cited) places in `nodes` that the expanded sections show, sorted."""
    places: dict[str, int] = {}
    for place, node in enumerate(nodes):
        for name in _names(node.paper):
            places.setdefault(name, place)
    pairs = set()
    for session in sessions:
        citing = _place(session.paper, places) if session.paper else None
        if citing is None:
            continue
        found = [paper for outcome in session.outcomes for paper in outcome.found]
        pairs |= {(citing, cited) for paper in found if (cited := _place(paper, places)) is not None}
    return sorted(pair for pair in pairs if pair[0] != pair[1])


def _names(paper: Paper) -> list[str]:
    return [paper.key, f"title:{paper.title_key}"] if paper.title_key else [paper.key]


def _place(paper: Paper, places: dict[str, int]) -> int | None:
    return next((places[name] for name in _names(paper) if name in places), None)

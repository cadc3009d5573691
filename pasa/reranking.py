"""The last word on a finished crawl's scores: a model may look at all the papers found and at who cites whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pasa.crawler import Session
from pasa.models.base import FoundPapers
from pasa.paper import Paper
from pasa.result_tree import Node

Rerank = Callable[[FoundPapers], list[float]]  # scores in [0, 1], one a paper, in order


def rerank_nodes(nodes: Sequence[Node], sessions: Sequence[Session], rerank: Rerank) -> None:
    """Gives each node of a crawl its final score."""
    scores = rerank(found_papers(nodes, sessions))
    for node, score in zip(nodes, scores, strict=True):
        node.score = score


def found_papers(nodes: Sequence[Node], sessions: Sequence[Session]) -> FoundPapers:
    """What a crawl found, a paper a node, in order."""
    search = next((session for session in sessions if session.kind == "search"), None)
    return FoundPapers(
        sessions[0].request.query if sessions else "",
        tuple(node.paper for node in nodes),
        tuple(node.score for node in nodes),
        tuple(citations(nodes, sessions)),
        tuple(_hit_places(nodes, search)),
    )


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


def _hit_places(nodes: Sequence[Node], search: Session | None) -> list[int | None]:
    """Each node's place among the results of the session's first query."""
    hits = search.outcomes[0].found if search and search.outcomes else ()
    places: dict[str, int] = {}
    for place, paper in enumerate(hits):
        for name in _names(paper):
            places.setdefault(name, place)
    return [_place(node.paper, places) for node in nodes]


def _names(paper: Paper) -> list[str]:
    return [paper.key, f"title:{paper.title_key}"] if paper.title_key else [paper.key]


def _place(paper: Paper, places: dict[str, int]) -> int | None:
    return next((places[name] for name in _names(paper) if name in places), None)

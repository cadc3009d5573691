"""The crawl as a tree, in upstream's JSON form, and the ranking read off it.

Form (PAPER.md, file formats): `title, arxiv_id, depth, child, abstract, sections, source, select_score, extra`; `child`
maps a search query or section name to nodes; the root's title is the query and its depth -1. Beside them "[Seed] ID" or
"[Seed] TITLE" at the root leads to a paper that the user started from, CITED_BY at a paper to papers that cite it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from pasa.paper import Paper, sections_to_titles

SEED_BRANCH = "[Seed] "  # begins the child key, before the seed as it was named
CITED_BY = "Cited by"  # child key
SourceWord = Literal["Search", "Expand", "Seed"]  # begins a node's `source`


@dataclass(slots=True)
class Node:
    """A paper in the crawl, or the root (`paper.title` = the query, depth -1)."""

    paper: Paper
    depth: int = -1
    source: str = "Root"  # "Search ...", "Expand ..." or "Seed ..."
    score: float = 0.0
    children: dict[str, list[Node]] = field(default_factory=dict)  # query or section name -> nodes
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def is_seed(self) -> bool:
        """Whether the user named this paper to start from."""
        return self.source.split(" ", 1)[0] == "Seed"

    def walk(self) -> Iterator[Node]:
        """Every node below this one, breadth first, as metrics read it."""
        level = [self]
        while level:
            below = [kid for node in level for kids in node.children.values() for kid in kids]
            yield from below
            level = below

    def to_dict(self) -> dict[str, Any]:
        """Upstream's JSON form; a node whose sections were not read has "" there."""
        return {
            "title": self.paper.title,
            "arxiv_id": self.paper.arxiv_id or "",
            "depth": self.depth,
            "child": {name: [kid.to_dict() for kid in kids] for name, kids in self.children.items()},
            "abstract": self.paper.abstract,
            "sections": sections_to_titles(self.paper.sections) if self.paper.sections else "",
            "source": self.source,
            "select_score": self.score,
            "extra": self.extra,
        }


@dataclass(frozen=True, slots=True)
class RankedPaper:
    """A found paper with its place in the ranking and the way the crawl came to it."""

    rank: int  # from 1
    paper: Paper
    score: float
    selected: bool
    depth: int
    path: tuple[str, ...]  # query, title, section, title, section ... up to what led to this paper
    is_seed: bool = False
    reason: str = ""  # why the Selector decided so, where it said


def rank(root: Node, threshold: float) -> list[RankedPaper]:
    """The distinct papers of a tree, best score first; ties keep the order in which they were found."""
    found: list[tuple[Node, tuple[str, ...]]] = []
    level: list[tuple[Node, tuple[str, ...]]] = [(root, ())]
    while level:
        below = [
            (kid, (*path, name) if node is root else (*path, node.paper.title, name))
            for node, path in level
            for name, kids in node.children.items()
            for kid in kids
        ]
        found += below
        level = below
    found.sort(key=lambda item: -item[0].score)
    ranked: list[RankedPaper] = []
    seen: set[str] = set()
    for node, path in found:
        key = node.paper.title_key or node.paper.key
        if key not in seen:
            seen.add(key)
            selected = node.score > threshold
            place = len(ranked) + 1
            reason = str(node.extra.get("reason") or "")
            ranked.append(RankedPaper(place, node.paper, node.score, selected, node.depth, path, node.is_seed, reason))
    return ranked


def unite(first: Node, second: Node) -> Node:
    """`first` with what only `second` found hung in where `second` found it (the paper's ensemble).

    A paper both found keeps its place and score in `first`. Both trees are used up.
    """
    places = {node.paper.key: node for node in first.walk()}
    _hang(first, second, places)
    if "touch_ids" in second.extra:
        first.extra["touch_ids"] = list(dict.fromkeys([*first.extra.get("touch_ids", ()), *second.extra["touch_ids"]]))
    return first


def _hang(target: Node, other: Node, places: dict[str, Node]) -> None:
    for name, kids in other.children.items():
        branch = target.children.setdefault(name, []) if target.depth < 0 else target.children.get(name, [])
        for kid in kids:
            place = places.get(kid.paper.key)
            if place is None:
                place = Node(kid.paper, kid.depth, kid.source, kid.score, {}, kid.extra)
                places[kid.paper.key] = place
                branch.append(place)
                target.children[name] = branch
            elif kid.paper.sections and not place.paper.sections:  # only `second` read its page
                place.paper, place.extra = kid.paper, kid.extra
            _hang(place, kid, places)

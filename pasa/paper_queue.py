"""The paper queue: which papers of a crawl have been met, in which order."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from pasa.paper import Paper
from pasa.result_tree import Node


class PaperQueue:
    """Papers in the order in which the crawl met them; each is let in once."""

    def __init__(self, same_paper: Literal["id_or_title", "id"] = "id_or_title") -> None:
        self._by_title = same_paper == "id_or_title"
        self._met: set[str] = set()
        self.touched_ids: list[str] = []  # arXiv ids asked for or met, upstream's `touch_ids`
        self.nodes: list[Node] = []

    def __len__(self) -> int:
        return len(self.nodes)

    def has_met(self, paper: Paper) -> bool:
        """Whether the same paper (same arXiv id, or same title key) was met before."""
        return not self._met.isdisjoint(self._keys(paper))

    def meet(self, paper: Paper) -> bool:
        """Notes the paper; True if it is new to the crawl."""
        new = not self.has_met(paper)
        if new and paper.arxiv_id:
            self.touched_ids.append(paper.arxiv_id)
        self._met.update(self._keys(paper))
        return new

    def append(self, node: Node) -> None:
        """Queues a scored paper."""
        self.nodes.append(node)

    def _keys(self, paper: Paper) -> list[str]:
        keys = [paper.key]
        if self._by_title and paper.arxiv_id and paper.title_key:
            keys.append(f"title:{paper.title_key}")
        return keys


def too_late(paper: Paper, end_date: dt.date | None, undated: Literal["drop", "keep"]) -> str | None:
    """Why the paper may not be returned under this end date ("after_end_date", "undated"), else None.

    A date that names only a month or year counts as its last day: a paper is kept only if it surely is not later.
    """
    if end_date is None:
        return None
    day = paper.last_possible_day()
    if day is None:
        return "undated" if undated == "drop" else None
    return "after_end_date" if day > end_date else None


def next_to_expand(nodes: list[Node], limit: int | None) -> list[Node]:
    """The nodes of the last layer to expand: best score first, ties in queue order, at most `limit`."""
    return sorted(nodes, key=lambda node: -node.score)[:limit]

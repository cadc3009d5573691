"""What the agent asks of the outside world: a SearchEngine finds, a PaperSource describes."""

from __future__ import annotations

import datetime as dt
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pasa.paper import Paper, Reference, Section


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One search result: the paper itself where the engine has it, else its arXiv id to look up."""

    arxiv_id: str | None = None
    title: str = ""
    paper: Paper | None = None
    score: float | None = None  # the engine's own, where it tells; comparable within one query only
    engines: tuple[str, ...] = ()  # the names of those that found it, where several were asked as one


@runtime_checkable
class SearchEngine(Protocol):
    """Finds papers by words. Safe to call from many threads."""

    name: str

    def search(self, query: str, limit: int, end_date: dt.date | None = None) -> list[SearchHit]:
        """At most `limit` hits in the engine's order, none later than `end_date` if the engine can tell.

        Raises ToolError when the engine does not answer usably; no hit is an empty list.
        """
        ...


@runtime_checkable
class PaperSource(Protocol):
    """Describes papers. Safe to call from many threads. Each method raises ToolError when the source is broken."""

    name: str

    def papers_by_id(self, arxiv_ids: Sequence[str]) -> dict[str, Paper]:
        """The papers with these arXiv ids (no versions); an id the source does not know is absent."""
        ...

    def sections(self, paper: Paper) -> tuple[Section, ...] | None:
        """The paper's sections and what each cites, in the paper's order; None where there is no full text."""
        ...

    def papers_by_reference(self, references: Sequence[Reference]) -> list[Paper | None]:
        """The paper that each reference means, in order; None where the source cannot tell."""
        ...


@runtime_checkable
class CitationSource(Protocol):
    """Knows who cites a paper. Safe to call from many threads."""

    name: str

    def citing_papers(self, paper: Paper, limit: int) -> list[Paper]:
        """At most `limit` papers that cite `paper`, each once, in the service's order.

        A paper that the service does not know has none. Raises ToolError when the service does not answer usably.
        """
        ...


_of_thread = threading.local()


def lost_items() -> int:
    """Items that engines and sources could not look up so far in calls of this thread: a caller sees its own alone."""
    return int(getattr(_of_thread, "lost", 0))


class FailureCount:
    """Items that a source was asked for and could not look up, by reason; what is counted here is not "not found"."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, reason: str, items: int, is_lost: bool = True) -> None:
        """`is_lost`: asking again may find them; False for those that the source never asks for."""
        with self._lock:
            self._counts[reason] += items
        if is_lost:
            _of_thread.lost = lost_items() + items

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)

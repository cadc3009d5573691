"""A paper library as search engine and as paper source: no network."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import TypeVar

from pasa.errors import LibraryError, ToolError
from pasa.library import Library
from pasa.library.index import Undated
from pasa.paper import Paper, Reference, Section
from pasa.tools.base import SearchHit

_Answer = TypeVar("_Answer")


class LibrarySearch:
    """Searches a library by words (BM25). Safe from many threads."""

    name = "local"

    def __init__(self, library: Library, undated: Undated = "drop") -> None:
        """`undated`: what a search with an end date does with papers of unknown date."""
        self._library = library
        self._undated = undated

    def search(self, query: str, limit: int, end_date: dt.date | None = None) -> list[SearchHit]:
        """At most `limit` hits, best first, each with its paper and BM25 score; none later than `end_date`."""
        found = _answer(lambda: self._library.search(query, limit, end_date, self._undated))
        return [SearchHit(hit.paper.arxiv_id, hit.paper.title, hit.paper, hit.score) for hit in found]


class LibrarySource:
    """Describes papers from a library. Safe from many threads."""

    name = "local"

    def __init__(self, library: Library) -> None:
        self._library = library

    def papers_by_id(self, arxiv_ids: Sequence[str]) -> dict[str, Paper]:
        """The library's papers with these arXiv ids; an unknown id is absent."""
        return _answer(lambda: self._library.papers_by_id(arxiv_ids))

    def sections(self, paper: Paper) -> tuple[Section, ...] | None:
        """The sections the library has of this paper, found by arXiv id, else by title; None where it has none."""
        known = _answer(
            lambda: (
                (self._library.paper(paper.arxiv_id) if paper.arxiv_id else None)
                or self._library.paper_by_title(paper.title)
            )
        )
        return known.sections if known else None

    def papers_by_reference(self, references: Sequence[Reference]) -> list[Paper | None]:
        """The library's paper for each reference, by arXiv id, else by the letters of the title."""
        return _answer(lambda: self._library.papers_by_reference(references))


def _answer(ask: Callable[[], _Answer]) -> _Answer:
    try:
        return ask()
    except LibraryError as error:
        raise ToolError(str(error)) from error

"""Who cites a paper, within a library: its papers' sections read backwards."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pasa.library.store import PaperStore
from pasa.paper import Paper

Numbers = NDArray[np.intc]  # [citations], record numbers


class Citations:
    """The citations among a library's papers, by title key. Safe from any number of threads.

    They are read when first asked for, all sections once, and kept: 8 bytes each, and 4 a paper.
    """

    def __init__(self, store: PaperStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._links: tuple[Numbers, Numbers, Numbers] | None = None

    def citing(self, paper: Paper, limit: int) -> list[Paper]:
        """At most `limit` papers whose sections cite the paper, those first that the library itself cites most.

        Equally cited ones stand in record order. [] for a paper that the library does not have.
        """
        number = self._store.number_of(paper)
        if number is None or limit <= 0:
            return []
        cited, citing, times_cited = self._read()
        first, end = np.searchsorted(cited, [number, number + 1])
        numbers = citing[first:end]
        best = np.argsort(-times_cited[numbers], kind="stable")[:limit]
        return self._store.by_number(map(int, numbers[best]))

    def times_cited(self, papers: Sequence[Paper]) -> list[int]:
        """How many of the library's papers cite each; 0 for a paper that the library does not have."""
        counts = self._read()[2]
        numbers = [self._store.number_of(paper) for paper in papers]
        return [int(counts[n]) if n is not None and n < len(counts) else 0 for n in numbers]

    def _read(self) -> tuple[Numbers, Numbers, Numbers]:
        """(cited, citing) by place, ordered by both; and by record number how often it is cited."""
        with self._lock:
            if self._links is None:
                self._links = _links(self._store)
            return self._links


def _links(store: PaperStore) -> tuple[Numbers, Numbers, Numbers]:
    cited_numbers, citing_numbers = array("i"), array("i")
    for number, titles in store.cited_titles():
        known = {cited for cited in store.numbers_by_title(titles) if cited is not None and cited != number}
        cited_numbers.extend(known)
        citing_numbers.extend([number] * len(known))
    cited, citing = np.array(cited_numbers, np.intc), np.array(citing_numbers, np.intc)
    order = np.lexsort((citing, cited))
    last = max(int(cited.max(initial=0)), int(citing.max(initial=0)))
    return cited[order], citing[order], np.bincount(cited, minlength=last + 1).astype(np.intc)

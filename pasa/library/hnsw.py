"""Nearest neighbours among millions of vectors, through usearch's HNSW graph (an optional package)."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pasa.errors import LibraryError

# Edges a vector keeps, and candidates looked at when it is added: usearch's own defaults.
_CONNECTIVITY, _EXPANSION_ADD = 16, 128
_EXPANSION_SEARCH = 256  # candidates looked at in a search, at the least and beyond those asked for
_ADDED_AT_ONCE = 10_000
_INSTALL = "pip install -r requirements-vectors.txt"


def require_usearch(papers: int) -> None:
    """Raises LibraryError when usearch, which so many papers need, is not installed."""
    if importlib.util.find_spec("usearch") is None:
        raise LibraryError(f"the vectors of {papers:,} papers are searched through usearch: {_INSTALL}")


def _new_index(dimension: int) -> Any:
    from usearch.index import Index

    return Index(ndim=dimension, metric="ip", dtype="f16", connectivity=_CONNECTIVITY, expansion_add=_EXPANSION_ADD)


def write_neighbours(path: Path, vectors: NDArray[np.float16], threads: int = 0) -> Iterator[int]:
    """Writes the graph of `vectors` [rows, dimension] to `path`; yields how many rows are in, last of all all.

    `threads` 0 = one a core, or one alone for few vectors; with 1 the same vectors give the same graph. Raises
    LibraryError.
    """
    require_usearch(len(vectors))
    threads = threads or (1 if len(vectors) < _ADDED_AT_ONCE else 0)
    index = _new_index(vectors.shape[1])
    for start in range(0, len(vectors), _ADDED_AT_ONCE):
        block = np.ascontiguousarray(vectors[start : start + _ADDED_AT_ONCE])
        index.add(np.arange(start, start + len(block), dtype=np.uint64), block, threads=threads)
        if start + len(block) < len(vectors):
            yield start + len(block)
    index.save(str(path))
    yield len(vectors)


class NearestNeighbours:
    """A graph opened for reading, memory-mapped. Safe from many threads; they take turns."""

    def __init__(self, index: Any, rows: int) -> None:
        self._index = index
        self._rows = rows
        self._lock = threading.Lock()  # the width of a search is set on the index

    @classmethod
    def open(cls, path: Path, dimension: int) -> NearestNeighbours:
        """The graph that `write_neighbours` wrote. Raises LibraryError when it is damaged."""
        require_usearch(0)
        index = _new_index(dimension)
        try:
            index.view(str(path))
        except (RuntimeError, ValueError, OSError) as error:
            raise LibraryError(f"{path} is damaged ({error}): embed the library again with --fresh") from error
        return cls(index, len(index))

    def search(self, vector: NDArray[np.float32], limit: int, first: int, end: int) -> NDArray[np.intp]:
        """About the `limit` rows from `first` to before `end` nearest to `vector`, in no order; more may come.

        The graph knows no filter, so it is asked for more until enough lie in the range.
        """
        wanted = min(limit, end - first)
        asked = min(self._rows, limit * self._rows // (end - first) + limit)
        while True:
            rows = self._nearest(vector, asked)
            rows = rows[(rows >= first) & (rows < end)]
            if len(rows) >= wanted or asked == self._rows:
                return rows
            asked = min(self._rows, 2 * asked)

    def _nearest(self, vector: NDArray[np.float32], count: int) -> NDArray[np.intp]:
        with self._lock:
            self._index.expansion_search = _EXPANSION_SEARCH + count
            found = self._index.search(vector.astype(np.float16), count, threads=1)
        return np.asarray(found.keys, dtype=np.intp)

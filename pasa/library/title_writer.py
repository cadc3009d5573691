"""Writes the title index of a library of any size in bounded memory: titles are read once, in chunks, and what must be
sorted by hash goes to runs on disk, of which one range of hashes at a time is put in order.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pasa.library.letters import Letters, Places, fold
from pasa.library.store import TitleRow
from pasa.library.title_index import (
    ANCHOR_LETTERS,
    COLUMNS,
    COMMON,
    LEAST_LETTERS,
    LONG_ANCHOR_LETTERS,
    PREFIX_LETTERS,
    TitleIndex,
    hash_parts,
    hash_words,
    head_letters,
    high,
)

MOST_LETTERS = 1000  # of a title that are kept; what is longer is no title
_MOST_ANCHORS = 255  # the last place in a title where an anchor may begin
_KNOWN_IN = 3  # titles that a word must be in to count as known: misspelt and coined words are in fewer
_CHUNK = 20_000  # titles folded at once
_RANGES = 64  # of hashes, sorted one after the other; at 2.5 million titles one takes some megabytes
_RANGE_SHIFT = np.uint32(32 - 6)
_CAPITAL = 0x20

_PART = np.dtype([("hash", "<u4"), ("title", "<u4"), ("letters", "<u2")])
_ANCHOR = np.dtype([("hash", "<u4"), ("title", "<u4"), ("place", "u1")])
_TWO_ANCHORS = np.dtype([("hash", "<u4"), ("long", "<u4"), ("title", "<u4"), ("place", "u1")])
_WORD = np.dtype([("hash", "<u4")])

Rows = NDArray[Any]  # of one of the kinds above, [N]


def write_title_index(rows: Iterable[TitleRow], folder: Path) -> None:
    """Writes the index of these titles into `folder`, which must not exist, for `TitleIndex.open`. Raises OSError."""
    folder.mkdir()
    with (
        _Columns(folder) as columns,
        _Runs(folder, _PART) as parts,
        _Runs(folder, _TWO_ANCHORS) as anchors,
        _Runs(folder, _WORD) as words,
    ):
        _read(rows, columns, parts, anchors, words)
        for part in parts.sorted():
            columns.add(part_hashes=part["hash"], part_titles=part["title"], part_letters=part["letters"])
        _write_anchors(anchors, columns, folder)
        for word in words.sorted():
            hashes, counts = np.unique(word["hash"], return_counts=True)
            known = counts >= _KNOWN_IN
            columns.add(word_hashes=hashes[known], word_counts=counts[known])


def index_titles(rows: Iterable[TitleRow]) -> TitleIndex:
    """The index of these titles, in files that are gone from the disk's folders already."""
    with tempfile.TemporaryDirectory(prefix="pasa-titles-", ignore_cleanup_errors=True) as folder:
        write_title_index(rows, Path(folder) / "titles")
        return TitleIndex.open(Path(folder) / "titles")


def _read(rows: Iterable[TitleRow], columns: _Columns, parts: _Runs, anchors: _Runs, words: _Runs) -> None:
    """Writes what stays in the titles' order to `columns`, the rest to runs."""
    titles = letters = 0
    columns.add(bounds=np.zeros(1))
    for rows_read in _chunks(rows):
        chunk = _Chunk.of(rows_read, titles)
        columns.add(letters=chunk.letters, papers=chunk.papers, years=chunk.years, heads=chunk.heads)
        columns.add(bounds=chunk.bounds[1:] + letters)
        parts.add(chunk.parts)
        anchors.add(chunk.anchors)
        words.add(chunk.words)
        titles += len(chunk.papers)
        letters += len(chunk.letters)


def _write_anchors(anchors: _Runs, columns: _Columns, folder: Path) -> None:
    """Anchors by their short hash, or by the long one where the short is a common phrase; those still common go."""
    with _Runs(folder, _ANCHOR) as chosen:
        for both in anchors.sorted():
            rare = _is_rare(both["hash"])
            chosen.add(_rows(_ANCHOR, both["hash"][rare], both["title"][rare], both["place"][rare]))
            chosen.add(_rows(_ANCHOR, both["long"][~rare], both["title"][~rare], both["place"][~rare]))
        for anchor in chosen.sorted():
            kept = anchor[_is_rare(anchor["hash"])]
            columns.add(anchor_hashes=kept["hash"], anchor_titles=kept["title"], anchor_places=kept["place"])


@dataclass(frozen=True, slots=True)
class _Chunk:
    """What some of the titles give, not yet sorted by hash."""

    letters: NDArray[np.uint8]
    bounds: Places
    papers: NDArray[np.uint32]
    years: NDArray[np.int16]
    heads: NDArray[np.uint16]
    parts: Rows
    anchors: Rows
    words: Rows  # a word as often as it occurs

    @classmethod
    def of(cls, rows: list[TitleRow], first: int) -> _Chunk:
        """`first` is the number of the first of these titles."""
        folded = [fold(row.title)[:MOST_LETTERS] for row in rows]
        texts = Letters.of(folded)
        lengths = np.diff(texts.bounds)
        heads = np.array([head_letters(title) for title in folded], dtype=np.int64)
        heads[(heads < LEAST_LETTERS) | (heads >= lengths)] = 0
        letters = texts.data.copy()
        letters[texts.begins_word & (letters < 0x80)] -= _CAPITAL
        return cls(
            letters,
            texts.bounds,
            np.array([row.number for row in rows], dtype=np.uint32),
            np.array([row.year for row in rows], dtype=np.int16),
            heads.astype(np.uint16),
            _parts(texts, heads, first),
            _anchors(texts, first),
            _rows(_WORD, hash_words(texts)),
        )


def _parts(texts: Letters, heads: Places, first: int) -> Rows:
    lengths = np.diff(texts.bounds)
    with_head = np.flatnonzero(heads)
    whole = np.flatnonzero(lengths >= LEAST_LETTERS)
    titles = np.concatenate((whole, with_head))
    letters = np.concatenate((lengths[whole], heads[with_head]))
    prefix = np.minimum(letters, PREFIX_LETTERS)
    hashes = hash_parts(texts.hashes(texts.bounds[titles], prefix), prefix)
    return _rows(_PART, hashes, titles + first, letters)


def _anchors(texts: Letters, first: int) -> Rows:
    starts = np.flatnonzero(texts.begins_word)
    titles = texts.text_of(starts)
    places = starts - texts.bounds[titles]
    rest = texts.bounds[titles + 1] - starts
    inside = np.flatnonzero((rest >= ANCHOR_LETTERS) & (places <= _MOST_ANCHORS))
    long = np.minimum(rest[inside], LONG_ANCHOR_LETTERS)  # shorter at a title's end, where it is not looked for
    return _rows(
        _TWO_ANCHORS,
        high(texts.hashes(starts[inside], ANCHOR_LETTERS)),
        high(texts.hashes(starts[inside], long)),
        titles[inside] + first,
        places[inside],
    )


def _rows(kind: np.dtype, *columns: NDArray[Any]) -> Rows:
    rows = np.empty(len(columns[0]), dtype=kind)
    for name, column in zip(kind.names or (), columns, strict=True):
        rows[name] = column
    return rows


def _chunks(rows: Iterable[TitleRow]) -> Iterator[list[TitleRow]]:
    remaining = iter(rows)
    while chunk := list(islice(remaining, _CHUNK)):
        yield chunk


def _is_rare(hashes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """True = few rows have it; `hashes` ascending."""
    first = np.searchsorted(hashes, hashes, side="left")
    return np.searchsorted(hashes, hashes, side="right") - first <= COMMON


class _Runs:
    """Rows put into the order of their hashes with little memory: added in runs, each sorted, then merged by ranges."""

    def __init__(self, folder: Path, kind: np.dtype) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115, closed by __exit__
        self._kind = kind
        self._rows = 0
        self._bounds: list[Places] = []  # of each run [_RANGES + 1]: where each range begins, in rows of the file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, rows: Rows) -> None:
        """A further run."""
        rows = rows[np.argsort(rows["hash"], kind="stable")]
        ranges = rows["hash"] >> _RANGE_SHIFT
        self._bounds.append(self._rows + np.searchsorted(ranges, np.arange(_RANGES + 1)))
        self._file.write(rows.tobytes())
        self._rows += len(rows)

    def sorted(self) -> Iterator[Rows]:
        """All rows by hash, then title and place, one range of hashes after the other."""
        keys = [name for name in ("place", "letters", "title", "hash") if name in (self._kind.names or ())]
        for number in range(_RANGES):
            pieces = [self._piece(bounds[number], bounds[number + 1]) for bounds in self._bounds]
            rows = np.concatenate([*pieces, np.empty(0, self._kind)])
            yield rows[np.lexsort([rows[key] for key in keys])]

    def _piece(self, start: int, end: int) -> Rows:
        self._file.seek(int(start) * self._kind.itemsize)
        return np.frombuffer(self._file.read(int(end - start) * self._kind.itemsize), dtype=self._kind)


@dataclass(slots=True)
class _Columns:
    """The index's files, each lengthened piece by piece."""

    folder: Path
    _files: dict[str, IO[bytes]] = field(default_factory=dict)
    _lengths: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> Self:
        for name in COLUMNS:
            self._files[name] = (self.folder / f"{name}.npy").open("wb")
            self._lengths[name] = 0
            self._write_header(name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, file in self._files.items():
            if error is None:
                file.seek(0)
                self._write_header(name)
            file.close()

    def add(self, **columns: NDArray[Any]) -> None:
        """Lengthens the columns of these names."""
        for name, column in columns.items():
            self._files[name].write(column.astype(COLUMNS[name], copy=False).tobytes())
            self._lengths[name] += len(column)

    def _write_header(self, name: str) -> None:
        """NumPy's header, which is as long for any length of the column (numpy.lib.format leaves room for it)."""
        kind = npy.dtype_to_descr(np.dtype(COLUMNS[name]))
        shape = (self._lengths[name],)
        npy.write_array_header_1_0(self._files[name], {"descr": kind, "fortran_order": False, "shape": shape})

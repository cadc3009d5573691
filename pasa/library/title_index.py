"""Which titles does a text hold? An index of all titles by their letters, small enough to stay on disk.

    letters.npy        the titles' folded letters one after the other, a capital where a word begins
    bounds.npy         title t is letters[bounds[t]:bounds[t + 1]]
    papers.npy years.npy   the record number of title t; the year its paper appeared, 0 = not known
    heads.npy          how many letters of title t stand before its colon, 0 = it has none
    part_*.npy         whole titles and their heads (what stands before a colon), by the hash of their first letters
    anchor_*.npy       the few letters at which a title's words begin, by their hash: for titles that are damaged
    word_*.npy         the words of several titles, by their hash: which letters are a word, and which are damage

The files are mapped into memory: opening reads nothing, a look-up touches a few pages. At 2.5 million papers they take
about .5 GB of disk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pasa.errors import LibraryError
from pasa.library.letters import Hashes, Letters, Places

PREFIX_LETTERS = 16  # of a part's first letters, by which it is found; shorter parts are found whole
LEAST_LETTERS = 3  # shorter titles and heads are not looked for
ANCHOR_LETTERS = 12
LONG_ANCHOR_LETTERS = 24  # where the short anchor is a common phrase
COMMON = 100  # titles; an anchor in more of them tells too little to be kept
_HEAD_END = re.compile(r"[:?]|\s-+\s|(?<!\bvs)\.\s")
_HIGH = np.uint64(32)
_LENGTH_SALT = np.uint64(0xD6E8FEB86659FD93)


COLUMNS: dict[str, type[np.generic]] = {  # and the types of their values, in the files' order
    "letters": np.uint8,
    "bounds": np.int64,
    "papers": np.uint32,
    "years": np.int16,
    "heads": np.uint16,
    "part_hashes": np.uint32,
    "part_titles": np.uint32,
    "part_letters": np.uint16,
    "anchor_hashes": np.uint32,
    "anchor_titles": np.uint32,
    "anchor_places": np.uint8,
    "word_hashes": np.uint32,
    "word_counts": np.uint32,
}


class Hits(NamedTuple):
    """Places in texts where a title, or a piece of one, may stand; four columns [H]."""

    start: Places  # in the texts' row of letters
    title: Places
    letters: Places  # of a part: how many; of an anchor: how far into the title it stands


@dataclass(frozen=True, slots=True)
class TitleIndex:
    """The index of T titles, P parts and A anchors. Safe from any number of threads."""

    letters: NDArray[np.uint8]
    bounds: NDArray[np.int64]  # [T + 1]
    papers: NDArray[np.uint32]  # [T]
    years: NDArray[np.int16]  # [T]
    heads: NDArray[np.uint16]  # [T]
    part_hashes: NDArray[np.uint32]  # [P], ascending
    part_titles: NDArray[np.uint32]  # [P]
    part_letters: NDArray[np.uint16]  # [P]
    anchor_hashes: NDArray[np.uint32]  # [A], ascending
    anchor_titles: NDArray[np.uint32]  # [A]
    anchor_places: NDArray[np.uint8]  # [A]
    word_hashes: NDArray[np.uint32]  # of known words, ascending
    word_counts: NDArray[np.uint32]  # how often each is used

    @classmethod
    def open(cls, folder: Path) -> TitleIndex:
        """The index that `title_writer` wrote. Raises LibraryError."""
        try:
            columns = [_map(folder / f"{name}.npy") for name in COLUMNS]
        except (OSError, ValueError, EOFError) as error:
            raise LibraryError(f"{folder} is damaged ({error}): build the library again with --fresh") from error
        return cls(**dict(zip(COLUMNS, columns, strict=True)))

    def title_letters(self, title: int) -> bytes:
        """The title's folded letters, a capital where a word begins."""
        return self.letters[self.bounds[title] : self.bounds[title + 1]].tobytes()

    def uses(self, words: Sequence[str]) -> list[int]:
        """How often each of these folded words is used in titles; 0 for one that hardly ever is."""
        hashes = hash_words(Letters.of([" ".join(words)]))
        if not len(self.word_hashes):
            return [0] * len(hashes)
        at = np.minimum(np.searchsorted(self.word_hashes, hashes), len(self.word_hashes) - 1)
        return np.where(self.word_hashes[at] == hashes, self.word_counts[at], 0).tolist()

    def knows(self, words: Sequence[str]) -> bool:
        """Whether each of these folded words is a word that several titles use."""
        return 0 not in self.uses(words)

    def sharing_head(self, title: int) -> int:
        """How many titles are called, or begin before their colon, as this one begins before its own."""
        head = (
            self.letters[self.bounds[title] : self.bounds[title] + self.heads[title]]
            .tobytes()
            .decode("utf-8", "replace")
        )
        texts = Letters.of([head.lower()])
        here = np.zeros(1, dtype=np.int64)
        hits = self.stand(texts, self._parts(texts, here, min(PREFIX_LETTERS, len(texts.data))))
        return int((hits.letters == len(texts.data)).sum())

    def parts(self, texts: Letters, starts: Places, short_starts: Places) -> Hits:
        """Where in `texts` whole titles or heads stand, letter by letter; where they end is not looked at.

        Looked for from each of `starts`, parts of fewer than PREFIX_LETTERS letters only from `short_starts`.
        """
        found = [self._parts(texts, starts, PREFIX_LETTERS)]
        found += [self._parts(texts, short_starts, length) for length in range(LEAST_LETTERS, PREFIX_LETTERS)]
        return Hits(*(np.concatenate(column) for column in zip(*found, strict=True)))

    def stand(self, texts: Letters, hits: Hits) -> Hits:
        """Those hits whose letters stand in the texts one by one."""
        row, letters = texts.data.tobytes(), self.letters
        columns = (hits.start.tolist(), self.bounds[hits.title].tolist(), hits.letters.tolist())
        same = [
            letters[begin : begin + count].tobytes().lower() == row[start : start + count]
            for start, begin, count in zip(*columns, strict=True)
        ]
        return Hits(*(column[np.array(same, dtype=bool)] for column in hits))

    def _parts(self, texts: Letters, starts: Places, length: int) -> Hits:
        """Candidates of one length of prefix; `length` below PREFIX_LETTERS: parts of just that length."""
        starts = starts[starts + length <= len(texts.data)]
        wanted = hash_parts(texts.hashes(starts, length), length)
        which, at = _matches(self.part_hashes, wanted, len(self.part_hashes))
        letters = self.part_letters[at].astype(np.int64)
        fits = letters >= length if length == PREFIX_LETTERS else letters == length
        return Hits(starts[which[fits]], self.part_titles[at[fits]].astype(np.int64), letters[fits])

    def anchors(self, texts: Letters, starts: Places) -> Hits:
        """Where in `texts` letters stand with which some title's word begins."""
        found = [self._anchors(texts, starts, letters) for letters in (ANCHOR_LETTERS, LONG_ANCHOR_LETTERS)]
        return Hits(*(np.concatenate(columns) for columns in zip(*found, strict=True)))

    def _anchors(self, texts: Letters, starts: Places, letters: int) -> Hits:
        starts = starts[starts + letters <= texts.bounds[texts.text_of(starts) + 1]]
        which, at = _matches(self.anchor_hashes, high(texts.hashes(starts, letters)), COMMON)
        return Hits(starts[which], self.anchor_titles[at].astype(np.int64), self.anchor_places[at].astype(np.int64))


def head_of(folded: str) -> str:
    """What stands before a folded title's first colon, question mark or dash; all of it without one."""
    match = _HEAD_END.search(folded)
    return folded[: match.start()] if match else folded


def head_letters(folded: str) -> int:
    """How many letters (bytes) a title's head has; 0 where it has none."""
    match = _HEAD_END.search(folded)
    return sum(len(c.encode()) for c in folded[: match.start()] if c.isalpha()) if match else 0


def high(hashes: Hashes) -> NDArray[np.uint32]:
    return (hashes >> _HIGH).astype(np.uint32)


def hash_parts(hashes: Hashes, prefix: int | Places) -> NDArray[np.uint32]:
    """Prefixes of different lengths fall apart, so that no short part is found by a long one's first letters."""
    return high(hashes + np.asarray(prefix).astype(np.uint64) * _LENGTH_SALT)


def hash_words(texts: Letters) -> NDArray[np.uint32]:
    starts = np.flatnonzero(texts.begins_word)
    return high(texts.hashes(starts, np.diff(np.append(starts, len(texts.data)))))


def _matches(table: NDArray[np.uint32], wanted: NDArray[np.uint32], most: int) -> tuple[Places, Places]:
    """Pairs (index of `wanted`, index of `table`) of equal hashes; hashes with more than `most` rows are left out."""
    first = np.searchsorted(table, wanted, side="left")
    counts = np.searchsorted(table, wanted, side="right") - first
    counts[counts > most] = 0
    which = np.repeat(np.arange(len(wanted)), counts)
    offsets = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    return which, first[which] + offsets


def _map(path: Path) -> NDArray[Any]:
    """The column, mapped where it is not empty (nothing cannot be mapped)."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)  # a memmap is slow to slice
    except ValueError:
        return np.load(path, allow_pickle=False)

"""How common words are: what separates a word that names a subject from one that most papers use.

A paper library counts its own words; `CommonWords` is the committed table for when there is no library.
"""

from __future__ import annotations

import gzip
import math
from functools import lru_cache
from pathlib import Path
from typing import Protocol, runtime_checkable

from pasa.models.text import stems

_TABLE = Path(__file__).with_name("common_words.tsv.gz")


@runtime_checkable
class TermStatistics(Protocol):
    """Counts over some collection of papers."""

    @property
    def num_papers(self) -> int:
        """How many papers the collection holds."""
        ...

    def document_frequency(self, term: str) -> int:
        """How many papers hold `term` (a word; its endings do not matter) in title or abstract; 0 if unknown."""
        ...


class CommonWords:
    """Document frequencies of common words, stemmed, from the committed table (scripts/calibrate_rules.py writes it).

    A word that is not in the table counts as held by `rare_frequency` papers: all that is known is that it is rare.
    """

    def __init__(self, path: Path = _TABLE) -> None:
        header, *rows = gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()
        papers, rare = header.split("\t")
        self._num_papers = int(papers)
        self.rare_frequency = int(rare)
        self._frequencies = {word: int(count) for word, count in (row.split("\t") for row in rows)}

    @property
    def num_papers(self) -> int:
        return self._num_papers

    def document_frequency(self, term: str) -> int:
        counts = [self._frequencies.get(word, self.rare_frequency) for word in stems(term)]
        return min(counts, default=0)


@lru_cache(maxsize=1)
def common_words() -> CommonWords:
    """The committed table, read once."""
    return CommonWords()


def inverse_document_frequency(statistics: TermStatistics, term: str) -> float:
    """BM25's weight of a term, in nats, above 0: log(1 + (N - df + 0.5) / (df + 0.5))."""
    papers = max(statistics.num_papers, 1)
    frequency = min(max(statistics.document_frequency(term), 0), papers)
    return math.log1p((papers - frequency + 0.5) / (frequency + 0.5))

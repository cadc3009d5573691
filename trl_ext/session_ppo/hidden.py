"""What a query's crawl may not meet: the paper that the query was made from, and whatever is nearly the same. Pure.

An answer of the query is cited there, so that expanding the source paper would teach to look for it and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pasa.paper import Paper, title_key
from pasa.tools.base import SearchHit

# Another version of a paper shares so much of the words of its title, or of the runs of words of its abstract.
SAME_TITLE = 0.8  # Jaccard
SAME_ABSTRACT = 0.5  # of the shorter one's runs
RUN_WORDS = 5
_LEAST_RUNS = 8  # an abstract with fewer says too little to compare

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class HiddenPapers:
    """The papers hidden from one query: a source paper known by title, id or abstract, and its near duplicates."""

    names: frozenset[str] = frozenset()  # title keys and arXiv ids
    title_words: frozenset[str] = frozenset()
    abstract_runs: frozenset[tuple[str, ...]] = field(default=frozenset(), repr=False)

    @property
    def any(self) -> bool:
        return bool(self.names)

    def hides(self, paper: Paper) -> bool:
        """Whether the paper is the source or nearly the same."""
        return self._is_named(paper.title, paper.arxiv_id) or (
            bool(self.abstract_runs) and overlap(self.abstract_runs, runs_of(paper.abstract)) >= SAME_ABSTRACT
        )

    def hides_hit(self, hit: SearchHit) -> bool:
        """The same of a search result, which may be no more than a title or an id."""
        return self.hides(hit.paper) if hit.paper else self._is_named(hit.title, hit.arxiv_id)

    def _is_named(self, title: str, arxiv_id: str | None) -> bool:
        if not self.names:
            return False
        if arxiv_id in self.names or (key := title_key(title)) in self.names:
            return True
        return bool(key) and jaccard(self.title_words, words_of(title)) >= SAME_TITLE


def hidden_papers(title: str, arxiv_id: str | None = None, abstract: str = "") -> HiddenPapers:
    """What to hide of a query that was made from this paper; nothing where neither title nor id is known."""
    names = frozenset(name for name in (title_key(title), arxiv_id) if name)
    return HiddenPapers(names, words_of(title), runs_of(abstract) if names else frozenset())


def words_of(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower()))


def runs_of(text: str) -> frozenset[tuple[str, ...]]:
    """Every run of RUN_WORDS words; none of a text that is too short to be compared."""
    words = _WORD.findall(text.lower())
    runs = frozenset(tuple(words[i : i + RUN_WORDS]) for i in range(len(words) - RUN_WORDS + 1))
    return runs if len(runs) >= _LEAST_RUNS else frozenset()


def jaccard(some: frozenset[str], others: frozenset[str]) -> float:
    return len(some & others) / len(some | others) if some or others else 0.0


def overlap(some: frozenset[tuple[str, ...]], others: frozenset[tuple[str, ...]]) -> float:
    """The share of the smaller set that both have."""
    smaller = min(len(some), len(others))
    return len(some & others) / smaller if smaller else 0.0

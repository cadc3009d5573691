"""Who cites whom among the papers of a library, by record number."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pasa.library import Library
from pasa.paper import references_by_section

_DRAWS = 200


class CitingSection(NamedTuple):
    """A section, and the papers of the library that it cites, each once, without its own paper."""

    name: str
    cited: tuple[int, ...]
    unknown: int  # references to papers that the library does not hold


@dataclass(frozen=True, slots=True)
class CitationGraph:
    """The papers with full text and what their sections cite; only papers of the library count, no paper itself."""

    sections: dict[int, tuple[CitingSection, ...]] = field(default_factory=dict)  # by source; of one name as one
    citing: dict[int, list[int]] = field(default_factory=dict)  # paper -> the sources that cite it, in order
    _sources: list[int] = field(default_factory=list)

    @classmethod
    def read(cls, library: Library) -> CitationGraph:
        """The graph of a library; a second for 100,000 citations. References count by arXiv id and by exact title."""
        sections: dict[int, tuple[CitingSection, ...]] = {}
        citing: dict[int, list[int]] = defaultdict(list)
        for source, paper in library.papers_with_sections():
            cited = references_by_section(paper.sections or ())
            numbers = iter(library.numbers_by_reference([r for references in cited.values() for r in references]))
            sections[source] = tuple(
                _section(source, name, [next(numbers) for _ in references]) for name, references in cited.items()
            )
            for number in dict.fromkeys(n for section in sections[source] for n in section.cited):
                citing[number].append(source)
        return cls(sections, dict(citing), list(sections))

    def cited_by(self, source: int | None) -> dict[int, None]:
        """All that a source cites, each once, in order; {} for a paper without full text."""
        return dict.fromkeys(n for section in self.sections.get(source or 0, ()) for n in section.cited)

    def cited_by_many(self, numbers: Iterable[int], limit: int, rng: random.Random) -> Iterator[int]:
        """What the first `limit` of these papers that have full text cite: each one's in random order."""
        for source in [number for number in numbers if number in self.sections][:limit]:
            cited = list(self.cited_by(source))
            yield from rng.sample(cited, len(cited))

    def cited_apart(self, papers: Sequence[int], source: int | None, rng: random.Random) -> Iterator[int]:
        """What others than `source` who cite one of the papers cite in sections that hold none of them.

        In random order, with repeats: of the same field, and seldom of the same subject.
        """
        citing = list(dict.fromkeys(n for paper in papers for n in self.citing.get(paper, ()) if n != source))
        for other in rng.sample(citing, len(citing)):
            apart = [n for s in self.sections[other] if set(s.cited).isdisjoint(papers) for n in s.cited]
            yield from rng.sample(apart, len(apart))

    def cited_anywhere(self, rng: random.Random) -> Iterator[int]:
        """Papers that some paper cites, drawn with repeats; at most _DRAWS: a small library may hold no fitting one."""
        for _ in range(_DRAWS if self._sources else 0):
            if cited := list(self.cited_by(rng.choice(self._sources))):
                yield rng.choice(cited)

    def sections_citing(self, source: int, papers: Sequence[int]) -> set[str]:
        """The names of the source's sections in which one of the papers is cited."""
        return {section.name for section in self.sections[source] if not set(section.cited).isdisjoint(papers)}


def _section(source: int, name: str, numbers: Sequence[int | None]) -> CitingSection:
    known = dict.fromkeys(number for number in numbers if number is not None and number != source)
    return CitingSection(name, tuple(known), numbers.count(None))

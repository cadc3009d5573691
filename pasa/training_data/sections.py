"""The sections of papers that review others' work: their topic, and the papers of the library that they cite."""

from __future__ import annotations

import html
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pasa.library import Library
from pasa.models.term_statistics import common_words, inverse_document_frequency
from pasa.models.text import subject_words
from pasa.paper import Paper
from pasa.training_data.citation_graph import CitationGraph, CitingSection

SectionChoice = Literal["review", "all"]

# A review by its heading; PDF headings hold both levels, "Related Work Video Generation" (shared/data/README.md).
_REVIEW = re.compile(
    r"\b(related (works?|studies|literature|research)|background|literature (review|survey)|"
    r"(prior|previous|existing) (works?|studies|literature))\b",
    re.I,
)
_GENERIC_WORDS = (
    r"introduction|related|works?|studies|literature|review|survey|research|backgrounds?|prior|previous|existing|"
    r"preliminar\w*|methods?|methodology|overview|motivations?|discussions?|conclusions?|appendix|and|our|the|on|of|in|"
    r"to|for|additional|extended|further|more|other|with|connections?|comparisons?|problem|setup|notations?|"
    r"definitions?|details?|formulation|statement|remarks?|summary|general|recent|advances?|progress|developments?|"
    r"between|state|art|analysis|foundations?|about|towards?|setting"
)
_GENERIC_LEAD = re.compile(rf"(?:[\W_\d]*\b(?:{_GENERIC_WORDS})\b)+[\W_]*", re.I)
_ASKS = re.compile(r"^(which|what|how|why|when|where|do|does|is|are|can)\b|\?", re.I)  # no subject to ask for
_TOPIC_SUBJECT_WORDS = (1, 9)
_MIN_TOPIC_LETTERS = 6
_LEAST_TOPIC_WEIGHT = 2.9  # nats, of its rarest word; "training methods" names no topic


@dataclass(frozen=True, slots=True)
class ReviewedSection:
    """A section of `source` and what it cites that the library holds: each paper once, `source` itself left out."""

    source: Paper
    name: str
    topic: str | None  # what the heading says the section is about; None for a bare "Related Work"
    papers: tuple[Paper, ...]
    unresolved: int = 0  # references that the library does not know
    elsewhere: tuple[tuple[str, tuple[int, ...]], ...] = ()  # topics other papers cite them under, places in `papers`


def is_review(name: str) -> bool:
    """Whether a section of this name reviews other people's work."""
    return bool(_REVIEW.search(html.unescape(name)))


def topic_of_heading(name: str) -> str | None:
    """What a review section is about by its heading, without the words that say it is a review; None for nothing.

    "Related Work Video Generation" gives "Video Generation"; "Background: Estimating CBS" gives "Estimating CBS".
    """
    topic = _mended(html.unescape(name))
    if lead := _GENERIC_LEAD.match(topic):
        topic = topic[lead.end() :]
    topic = topic.split(":", 1)[-1].strip(" .,:;&-–—")
    few, many = _TOPIC_SUBJECT_WORDS
    words = [word for word in subject_words(topic) if not re.fullmatch(_GENERIC_WORDS, word)]
    if not few <= len(words) <= many or sum(map(str.isalpha, topic)) < _MIN_TOPIC_LETTERS:
        return None
    if max(inverse_document_frequency(common_words(), word) for word in words) < _LEAST_TOPIC_WEIGHT:
        return None
    return None if _REVIEW.search(topic) or _ASKS.search(topic) else topic


def _mended(heading: str) -> str:
    """A heading whose words a PDF tore apart or joined: "vision- language", "OODDetection", "MLLMwith RL"."""
    text = re.sub(r"(?<=\w)- ", "-", " ".join(heading.split()))
    text = re.sub(r"\b([A-Z]{2,}s?)(with|in|for|of|and|on|via)\b", r"\1 \2", text)
    return re.sub(r"\b([A-Z]{2,})([A-Z][a-z]{3,})", r"\1 \2", text)


def sources_with_reviews(graph: CitationGraph, choice: SectionChoice = "review") -> list[int]:
    """The record numbers of the papers with a section to write queries from, in the library's order."""
    return [source for source, sections in graph.sections.items() if any(_is_chosen(s, choice) for s in sections)]


def _is_chosen(section: CitingSection, choice: SectionChoice) -> bool:
    return bool(section.cited or section.unknown) and (choice == "all" or is_review(section.name))


class SectionReader:
    """Reads the sections that queries are written from, with the papers they cite."""

    def __init__(self, library: Library, graph: CitationGraph, choice: SectionChoice = "review") -> None:
        self._library = library
        self._graph = graph
        self._choice = choice
        self._topics = _topics(graph)

    def read(self, sources: Sequence[int]) -> list[tuple[Paper, list[ReviewedSection]]]:
        """Each source and its sections, in order."""
        chosen = {
            source: [section for section in self._graph.sections[source] if _is_chosen(section, self._choice)]
            for source in sources
        }
        numbers = dict.fromkeys([*sources, *(n for found in chosen.values() for s in found for n in s.cited)])
        papers = dict(zip(numbers, self._library.papers_by_number(numbers), strict=True))
        return [
            (papers[source], [self._reviewed(source, section, papers) for section in sections])
            for source, sections in chosen.items()
        ]

    def _reviewed(self, source: int, section: CitingSection, papers: Mapping[int, Paper]) -> ReviewedSection:
        topic = topic_of_heading(section.name) if is_review(section.name) else None
        cited = tuple(papers[number] for number in section.cited)
        return ReviewedSection(
            papers[source], section.name, topic, cited, section.unknown, self._elsewhere(source, section)
        )

    def _elsewhere(self, source: int, section: CitingSection) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Topics under which other papers cite some of the section's: (topic, their places among its papers)."""
        found: dict[str, list[int]] = defaultdict(list)
        for at, number in enumerate(section.cited):
            for topic in dict.fromkeys(topic for topic, by in self._topics.get(number, ()) if by != source):
                found[topic].append(at)
        return tuple((topic, tuple(places)) for topic, places in found.items())


def _topics(graph: CitationGraph) -> dict[int, list[tuple[str, int]]]:
    """Paper -> the topics that review sections have by their headings and that it is cited under, and by whom."""
    topics: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for source, sections in graph.sections.items():
        for section in sections:
            if is_review(section.name) and (topic := topic_of_heading(section.name)):
                for number in section.cited:
                    topics[number].append((topic, source))
    return topics

"""What the tools answer: plain records, each bounded in size, in pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from pasa.events import RunStats
from pasa.export.evidence import evidence
from pasa.export.run_view import ExportedRun
from pasa.paper import Paper, Reference, Section
from pasa.result_tree import RankedPaper

MAX_PAGE = 50  # papers or references in one answer
MAX_SECTIONS = 100  # named in one answer
MAX_PROBLEMS = 10  # kinds of them in one answer
_LIST_ABSTRACT = 400  # characters of an abstract in a list,
_ABSTRACT = 4000  # and of a paper asked for by itself
_NAME = 400  # characters of a title or a section's name
_AUTHORS = 20  # names in one answer

T = TypeVar("T")


@dataclass(frozen=True)
class PaperRecord:
    """A paper."""

    title: str
    arxiv_id: str | None
    url: str | None
    date: str | None  # YYYY, YYYY-MM or YYYY-MM-DD
    authors: list[str]
    abstract: str


@dataclass(frozen=True)
class FoundPaper(PaperRecord):
    """A paper that a search found."""

    rank: int  # from 1
    score: float  # in [0, 1]: how well it answers the question
    selected: bool  # whether it answers the question
    found_by: list[str]  # the search query, or the papers and sections that led from it to this paper
    evidence: str  # what of the question it holds, how many papers read cite it, how many searches found it
    reason: str | None  # why the Selector decided so, where it said


@dataclass(frozen=True)
class FoundPage:
    """Papers of one finished search, best first."""

    run_id: str  # for get_results and export
    question: str
    papers: list[FoundPaper]
    papers_in_all: int
    selected_in_all: int
    next_offset: int | None  # for get_results; null = these were the last
    notes: list[str]  # how it was searched, what ended it early, what was skipped and how often


@dataclass(frozen=True)
class PaperPage:
    """Papers, best first."""

    papers: list[PaperRecord]
    next_offset: int | None


@dataclass(frozen=True)
class CitedPaper:
    """An entry of a bibliography; arxiv_id is null where it is not known."""

    section: str  # where it is cited
    title: str
    arxiv_id: str | None


@dataclass(frozen=True)
class SectionRecord:
    name: str
    references: int


@dataclass(frozen=True)
class ReferencePage:
    """What a paper cites, in the order of its sections."""

    title: str
    arxiv_id: str | None
    has_full_text: bool  # False: it is not known what the paper cites
    sections: list[SectionRecord]
    references: list[CitedPaper]
    references_in_all: int
    next_offset: int | None


@dataclass(frozen=True)
class ExportPage:
    """Papers in a file format."""

    format: str
    text: str
    papers: int  # in this text
    papers_in_all: int
    next_offset: int | None


def page(items: Sequence[T], offset: int, limit: int) -> tuple[list[T], int | None]:
    """`limit` items from `offset`, and where the next page begins; None after the last."""
    end = offset + limit
    return list(items[offset:end]), end if end < len(items) else None


def paper_record(paper: Paper, abstract_characters: int = _ABSTRACT) -> PaperRecord:
    return PaperRecord(
        cut(paper.title, _NAME),
        paper.arxiv_id,
        paper.url,
        paper.date,
        [cut(name, _NAME) for name in paper.authors[:_AUTHORS]],
        cut(paper.abstract, abstract_characters),
    )


def listed(papers: Sequence[Paper]) -> list[PaperRecord]:
    """The papers with the beginnings of their abstracts."""
    return [paper_record(paper, _LIST_ABSTRACT) for paper in papers]


def found_page(run_id: str, run: ExportedRun, notes: list[str], offset: int, limit: int) -> FoundPage:
    papers, next_offset = page(run.papers, offset, limit)
    told = evidence(run, papers)
    found = [_found(paper, told.get(paper.paper.key, "")) for paper in papers]
    return FoundPage(run_id, run.question, found, len(run.papers), len(run.selected), next_offset, notes)


def _found(ranked: RankedPaper, told: str) -> FoundPaper:
    paper = paper_record(ranked.paper, _LIST_ABSTRACT)
    path = [cut(step, _NAME) for step in ranked.path]
    return FoundPaper(
        **vars(paper),
        rank=ranked.rank,
        score=round(ranked.score, 4),
        selected=ranked.selected,
        found_by=path,
        evidence=cut(told, _LIST_ABSTRACT),
        reason=cut(ranked.reason, _LIST_ABSTRACT) or None,
    )


def run_notes(run: ExportedRun, stats: RunStats) -> list[str]:
    """How a run was made and what the reader should know of it, a line each."""
    made = f"searched {run.run['engine']}; Crawler {run.run['crawler']}, Selector {run.run['selector']}"
    ended = [f"ended early: {stats.budget_reached}; what was found so far is here"] if stats.budget_reached else []
    skipped = [f"{reason}: {times} times" for reason, times in stats.problems.most_common(MAX_PROBLEMS)]
    return [made, *ended, *skipped]


def cited_paper(section: str, reference: Reference, known: Paper | None) -> CitedPaper:
    """An entry; `known`: the paper that it means, where the source can tell."""
    arxiv_id = known.arxiv_id if known else reference.arxiv_id
    return CitedPaper(cut(section, _NAME), cut(reference.title, _NAME), arxiv_id)


def section_records(sections: Sequence[Section]) -> list[SectionRecord]:
    return [SectionRecord(cut(section.name, _NAME), len(section.references)) for section in sections[:MAX_SECTIONS]]


def cut(text: str, characters: int) -> str:
    """The text, shortened where it is longer."""
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"

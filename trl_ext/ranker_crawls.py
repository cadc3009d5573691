"""Crawls of questions with known answers, by the agent itself, to fit its ranker on: the source paper is hidden."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pasa.config import AgentSettings
from pasa.errors import ConfigError
from pasa.library import Library
from pasa.models.base import FoundPapers
from pasa.models.rules import RulesGenerator, RulesScorer
from pasa.models.rules_ranker import RulesRanker
from pasa.paper import Paper, Reference, Section, title_key
from pasa.query import query_from_row
from pasa.runtime import PaperAgent
from pasa.tools.base import SearchHit
from pasa.tools.local import LibrarySearch, LibrarySource
from trl_ext.ranker_fit import Floats, RankedCrawl

ONE_PAPER = "detail"  # writer of questions that tell what one paper does, in its own words


@dataclass(frozen=True, slots=True)
class RankerQuestion:
    """A question, its answers, and the paper it was made from."""

    text: str
    answers: frozenset[str]  # title keys
    source: str  # title


def ranker_questions(path: Path, most: int, seed: int) -> list[RankerQuestion]:
    """At most `most` questions of a file that scripts/build_queries.py wrote, in random order.

    Those that describe a single paper are left out: they are made of its own words, which finds it whatever else is
    known. Raises ConfigError for a file that cannot be read.
    """
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path} ({error}); build it with scripts/build_queries.py") from error
    random.Random(seed).shuffle(rows)
    questions: list[RankerQuestion] = []
    for row in rows:
        if len(questions) == most:
            break
        source = str((row.get("source_meta") or {}).get("title") or "")
        query = query_from_row(row, path.name)
        if source and query.answer and row.get("writer") != ONE_PAPER:
            questions.append(RankerQuestion(query.text, frozenset(map(title_key, query.answer)), source))
    return questions


class HidingLibrary:
    """A library as search engine and paper source, as if it did not hold the paper of title key `hidden`."""

    name = "local"

    def __init__(self, library: Library) -> None:
        self.hidden = ""
        self._search, self._source = LibrarySearch(library), LibrarySource(library)

    def search(self, query: str, limit: int, end_date: dt.date | None = None) -> list[SearchHit]:
        hits = self._search.search(query, limit + 1, end_date)
        return [hit for hit in hits if title_key(hit.title) != self.hidden][:limit]

    def papers_by_id(self, arxiv_ids: Sequence[str]) -> dict[str, Paper]:
        return {i: p for i, p in self._source.papers_by_id(arxiv_ids).items() if p.title_key != self.hidden}

    def sections(self, paper: Paper) -> tuple[Section, ...] | None:
        return self._source.sections(paper)

    def papers_by_reference(self, references: Sequence[Reference]) -> list[Paper | None]:
        found = self._source.papers_by_reference(references)
        return [None if paper is None or paper.title_key == self.hidden else paper for paper in found]


def ranked_crawls(
    questions: Sequence[RankerQuestion], library: Library, scorer: RulesScorer, settings: AgentSettings
) -> Iterator[RankedCrawl | None]:
    """The crawl of each question, with the ranker's features; None where the question holds no word.

    times_cited is without the hidden paper's citations.
    """
    hiding = HidingLibrary(library)
    ranker = RulesRanker(scorer.embedder, library.times_cited, library)
    kept: list[FoundPapers] = []

    def keep(found: FoundPapers) -> list[float]:
        kept.append(found)
        return list(found.scores)

    with PaperAgent(RulesGenerator(library), scorer, hiding, hiding, settings, rerank=keep) as agent:
        for question in questions:
            hiding.hidden = title_key(question.source)
            agent.run(question.text)
            found = kept.pop()
            yield _ranked(question, found, ranker.features(found), library)


def _ranked(
    question: RankerQuestion, found: FoundPapers, features: dict[str, Floats], library: Library
) -> RankedCrawl | None:
    if not features:
        return None
    times_cited = np.expm1(features["times_cited"]) - _cites(question.source, found, library)
    is_answer = np.array([paper.title_key in question.answers for paper in found.papers])
    return RankedCrawl({**features, "times_cited": np.log1p(times_cited)}, is_answer, len(question.answers))


def _cites(source: str, found: FoundPapers, library: Library) -> list[int]:
    """1 where the paper of title `source` cites the found paper, else 0."""
    paper = library.paper_by_title(source)
    references = [
        reference for section in (paper.sections if paper else None) or () for reference in section.references
    ]
    cited = {paper.title_key for paper in library.papers_by_reference(references, match="exact") if paper}
    return [int(paper.title_key in cited) for paper in found.papers]

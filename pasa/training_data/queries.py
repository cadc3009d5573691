"""Builds queries with known answers from the papers of a library: scripts/build_queries.py."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pasa.library import Library
from pasa.paper import Paper, last_day, title_key
from pasa.query import Query
from pasa.training_data.build import Build, Made, Row, file_checksum, rng_of, split_of
from pasa.training_data.citation_graph import CitationGraph
from pasa.training_data.contamination import SAME_ANSWERS, SAME_WORDS, HeldOut
from pasa.training_data.query_rows import WRITERS_OF_ONE
from pasa.training_data.query_writer import MAX_ANSWERS, WrittenQuery, names_an_answer, write_queries
from pasa.training_data.sections import ReviewedSection, SectionChoice, SectionReader, sources_with_reviews
from pasa.training_data.workers import mapped, rare_collections

# Writes the queries of many sections at once, one list a section, in order; counts what it does and drops.
Writer = Callable[[Sequence[ReviewedSection], Made], list[list[WrittenQuery]]]

SOURCES_AT_ONCE = 32  # whose sections a writer gets at once


@dataclass(frozen=True, slots=True)
class QuerySettings:
    """What the rows depend on, beside the library and the held-out benchmarks."""

    seed: int = 0
    sections: SectionChoice = "review"
    writer: str = "offline"  # or the name of the language model
    max_sources: int | None = None  # None = all of the library
    max_alike: int = 2  # questions with the same answers: a famous paper is cited everywhere and asked for alike


def offline_writer(seed: int) -> Writer:
    """A writer without a language model."""
    return partial(_write_offline, seed)


def _write_offline(seed: int, sections: Sequence[ReviewedSection], made: Made) -> list[list[WrittenQuery]]:
    return [write_queries(section, rng_of(seed, section.source.key, section.name)) for section in sections]


def build_queries(
    library: Library,
    folder: Path,
    settings: QuerySettings,
    writer: Writer,
    held_out: Sequence[Query] = (),
    held_out_files: Sequence[Path] = (),
    fresh: bool = False,
    progress: Callable[[Build], None] = lambda build: None,
    workers: int = 1,
) -> dict[str, Any]:
    """Writes the queries of the library's papers into `folder` and gives the manifest.

    With more than one worker `writer` travels between processes, as offline_writer's can. Raises ConfigError.
    """
    started = time.monotonic()
    info = library.info()
    sources = {
        "library": {"papers": info.papers, "built": info.built, "files": list(info.sources)},
        "held_out": {path.name: file_checksum(path) for path in held_out_files},
    }
    limits = {"max_answers": MAX_ANSWERS, "same_words": SAME_WORDS, "same_answers": SAME_ANSWERS}
    with rare_collections(), Build(folder, {**asdict(settings), **limits, **sources}, fresh) as build:
        rows = _Rows(build, HeldOut(held_out), settings.max_alike)
        graph = CitationGraph.read(library)
        numbers = sources_with_reviews(graph, settings.sections)[build.units : settings.max_sources]
        batches = [numbers[at : at + SOURCES_AT_ONCE] for at in range(0, len(numbers), SOURCES_AT_ONCE)]
        maker = partial(_BatchMaker, graph, settings, writer)
        for batch in mapped(library, maker, batches, workers):
            rows.write(batch)
            build.done(batch.sources)
            progress(build)
        return build.finish("build_queries", sources, time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class _Batch:
    """What was written from some source papers."""

    sources: int
    made: Made  # rows without qid
    splits: list[str]  # one a row


class _BatchMaker:
    """Writes the queries of one batch of source papers after the other."""

    def __init__(self, graph: CitationGraph, settings: QuerySettings, writer: Writer, library: Library) -> None:
        self._reader = SectionReader(library, graph, settings.sections)
        self._settings = settings
        self._writer = writer

    def __call__(self, numbers: Sequence[int]) -> _Batch:
        batch = _Batch(len(numbers), Made(), [])
        read = self._reader.read(numbers)
        written = iter(self._writer([section for _, sections in read for section in sections], batch.made))
        for source, sections in read:
            split = split_of(source.key, self._settings.seed)
            for section in sections:
                batch.made.counts["sections"] += 1
                batch.made.counts["citations resolved"] += len(section.papers)
                batch.made.drops["citation not in the library"] += section.unresolved
                for query in next(written):
                    if reason := why_not(query):
                        batch.made.drops[reason] += 1
                    else:
                        batch.made.rows.append(query_row(query, source))
                        batch.splits.append(split)
        return batch


def why_not(query: WrittenQuery) -> str | None:
    """What forbids the query by itself; None where nothing does."""
    if not query.answers:
        return "no answer that can be resolved"
    if len(query.answers) > MAX_ANSWERS:
        return "too many answers"
    return "question names an answer" if names_an_answer(query) else None


class _Rows:
    """Writes the queries that may be kept, each question once, and counts the others by reason."""

    def __init__(self, build: Build, held_out: HeldOut, max_alike: int) -> None:
        self._build = build
        self._max_alike = max_alike
        self._held_out = held_out
        self._asked: set[str] = set()  # letters of the questions there are
        self._alike: Counter[tuple[str, ...]] = Counter()  # questions of a manner with the same answers
        for row in build.rows_before() if build.went_on else ():
            self._note(row)

    def _note(self, row: Row) -> None:
        self._asked.add(title_key(row["question"]))
        self._alike[_manner_and_answers(row)] += 1

    def _why_not(self, row: Row) -> str | None:
        if title_key(row["question"]) in self._asked:
            return "question asked before"
        if self._alike[_manner_and_answers(row)] >= self._max_alike:
            return "answers asked for before"
        near = self._held_out.nearness(row["question"], row["answer"])
        return f"near a held-out question by its {near}" if near else None

    def write(self, batch: _Batch) -> None:
        build = self._build
        build.counts["source papers"] += batch.sources
        build.counts.update(batch.made.counts)
        for reason, times in batch.made.drops.items():
            build.drop(reason, times)
        for split, row in zip(batch.splits, batch.made.rows, strict=True):
            if unfit := self._why_not(row):
                build.drop(unfit)
                continue
            self._note(row)
            build.counts[f"{row['writer']} queries"] += 1
            build.counts["answers"] += len(row["answer"])
            build.write(split, {**row, "qid": f"AutoScholarQuery_like_{split}_{build.counts['rows']}"})
            build.counts["rows"] += 1


def _manner_and_answers(row: Row) -> tuple[str, ...]:
    manner = "tells" if row["writer"] in WRITERS_OF_ONE else "names"
    return (manner, *row["answer"])


def query_row(query: WrittenQuery, source: Paper) -> Row:
    """The query in upstream's form (pasa/training_data/__init__.py), its qid still to come."""
    day = last_day(source.date) if source.date else None
    return {
        "question": query.question,
        "answer": [paper.title for paper in query.answers],
        "answer_arxiv_id": [paper.arxiv_id for paper in query.answers],
        "source_meta": {
            "published_time": day.strftime("%Y%m%d") if day else "",
            "title": source.title,
            "arxiv_id": source.arxiv_id,
            "section": query.section,
        },
        "qid": "",
        "writer": query.writer,
    }

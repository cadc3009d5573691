"""Builds a paper library from files, or adds to one: a new generation beside the old, made current in one step."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal, TypeVar

from pasa.errors import LibraryError
from pasa.library import generations
from pasa.library.codec import MAX_TRAINING_PAPERS
from pasa.library.index import write_index
from pasa.library.ingest import PaperReader, Problems, read_id2paper, read_row
from pasa.library.manifest import (
    INDEX_FOLDER,
    STORE_FILE,
    TITLES_FOLDER,
    Manifest,
    file_sizes,
    read_manifest,
    write_manifest,
)
from pasa.library.packing import MAX_PROCESSES, Packers
from pasa.library.process import start_process
from pasa.library.store import IndexRow, PaperStore, StoreWriter
from pasa.library.title_writer import write_title_index
from pasa.paper import Paper

_PROGRESS_EVERY = 500  # papers
_LARGE_BYTES = 16 << 20  # of inputs together, packed; a second or two of work

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """How far a build has come."""

    stage: Literal["reading", "indexing"]
    source: str  # the file being read
    done: int  # of `total`: bytes of a file, members of a zip, papers to index
    total: int
    papers: int  # rows read so far from all files, or papers indexed


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did."""

    manifest: Manifest
    rows: int  # papers read
    added: int
    changed: int  # joined a paper already there and made it richer
    unchanged: int
    ids_joined: int  # of id2paper: those whose title names a paper of the library that has no other id
    ids_left: int
    problems: Problems
    seconds: float

    @property
    def papers_per_second(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0


Progress = Callable[[BuildProgress], None]


def build_library(
    inputs: Sequence[str | Path],
    out: str | Path,
    progress: Progress | None = None,
    id2paper: str | Path | None = None,
    fresh: bool = False,
    processes: int | None = None,
) -> BuildReport:
    """Builds a library at `out` from `inputs` (pasa.library.ingest names the formats).

    A library already there is added to, rows of the same paper being merged; `fresh` replaces it. Whatever happens
    on the way, `out` holds the old library until the new one is whole. Large inputs are parsed by as many `processes`
    (default: the cores there are, at most MAX_PROCESSES), which changes nothing in the library. Raises
    LibraryError: a missing or unknown input, an `out` that cannot be written or that another build is writing, no
    paper in any input.
    """
    problems = Problems()
    readers = [PaperReader(Path(path), problems) for path in inputs]
    if not readers:
        raise LibraryError("no input: name at least one file of papers")
    ids = Path(id2paper) if id2paper else None
    if ids and not ids.is_file():
        raise LibraryError(f"{ids} is not a file: name upstream's id2paper.json")
    with generations.writing(Path(out)):
        return build_alone(readers, Path(out), problems, progress, ids, fresh, _processes(inputs, processes))


def build_alone(
    readers: Sequence[PaperReader],
    out: Path,
    problems: Problems,
    progress: Progress | None = None,
    id2paper: Path | None = None,
    fresh: bool = False,
    processes: int = 1,
) -> BuildReport:
    """`build_library` for a caller that holds `generations.writing(out)`; `problems` are those of the readers."""
    started = time.monotonic()
    generations.remove_stale(out)
    try:
        build = _Build(out, fresh, problems, progress or (lambda _: None), processes)
        manifest = build.run(readers, id2paper)
    except (sqlite3.Error, OSError) as error:
        raise LibraryError(f"the library at {out} could not be written ({error}): is the disk full?") from error
    finally:
        generations.remove_stale(out)
    counts = build.counts
    return BuildReport(
        manifest=manifest,
        rows=sum(counts.values()),
        added=counts["added"],
        changed=counts["changed"],
        unchanged=counts["unchanged"],
        ids_joined=build.ids_joined,
        ids_left=build.ids_left,
        problems=problems,
        seconds=time.monotonic() - started,
    )


def _processes(inputs: Sequence[str | Path], wanted: int | None) -> int:
    """How many processes are to parse the inputs; 1 = only this one."""
    if wanted is None and sum(Path(path).stat().st_size for path in inputs) < _LARGE_BYTES:
        return 1  # done before a second process has started
    return wanted or min(os.cpu_count() or 1, MAX_PROCESSES)


class _Build:
    """One build under way. Its caller holds the library's writer lock."""

    def __init__(self, out: Path, fresh: bool, problems: Problems, progress: Progress, processes: int) -> None:
        self.counts = {"added": 0, "changed": 0, "unchanged": 0}
        self.ids_joined = 0
        self.ids_left = 0
        self._papers_read = 0
        self._out = out
        self._problems = problems
        self._progress = progress
        self._processes = processes
        self._base = None if fresh else generations.current_generation(out)
        self._old = read_manifest(self._base) if self._base else None

    def run(self, readers: Sequence[PaperReader], id2paper: Path | None) -> Manifest:
        """Writes the next generation and makes it the current one."""
        staging = generations.new_staging(self._out)
        if self._base:
            shutil.copyfile(self._base / STORE_FILE, staging / STORE_FILE)
        store = StoreWriter(staging / STORE_FILE)
        try:
            self._fill(store, readers, id2paper)
            sums = store.counts()
            if not sums["papers"]:
                raise LibraryError(_nothing_read(readers, self._problems))
            store.commit()
            with ThreadPoolExecutor(1, "pasa-titles") as beside:  # the index is written in threads outside Python
                write = _write_titles if self._processes == 1 else _write_titles_in_a_process
                titles = beside.submit(write, staging)
                write_index(staging / INDEX_FOLDER, self._counted(store.index_rows(), sums["papers"]))
                titles.result()
        finally:
            store.close()
        names = [path.name for path in (*(reader.path for reader in readers), *([id2paper] if id2paper else []))]
        manifest = Manifest(
            **sums,
            built=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            sources=tuple(dict.fromkeys((*(self._old.sources if self._old else ()), *names))),
            bytes=file_sizes(staging),
        )
        write_manifest(staging, manifest)
        generations.publish(self._out, staging)
        return manifest

    def _fill(self, store: StoreWriter, readers: Sequence[PaperReader], id2paper: Path | None) -> None:
        self._add_papers(store, readers)
        for arxiv_id, title in read_id2paper(id2paper, self._problems) if id2paper else ():
            if store.add_id(arxiv_id, title):
                self.ids_joined += 1
            else:
                self.ids_left += 1

    def _add_papers(self, store: StoreWriter, readers: Sequence[PaperReader]) -> None:
        if self._processes > 1:
            rows = chain.from_iterable(self._read(reader, reader.rows()) for reader in readers)
            first = filter(None, (read_row(row, self._problems) for row in rows))
            self._train(store, first)
            with Packers(self._processes, store.dictionary) as packers:
                for packed, problems in packers.pack(rows):
                    self._problems.add(problems)
                    for row in packed:
                        self.counts[store.add_packed(row)] += 1
            return
        papers = chain.from_iterable(self._read(reader, iter(reader)) for reader in readers)
        self._train(store, papers)
        for paper in papers:
            self.counts[store.add(paper)] += 1

    def _train(self, store: StoreWriter, papers: Iterator[Paper]) -> None:
        """Adds the first papers, on which the store's compression is trained."""
        first = list(islice(papers, MAX_TRAINING_PAPERS))
        store.train(first)
        for paper in first:
            self.counts[store.add(paper)] += 1

    def _read(self, reader: PaperReader, items: Iterator[_Item]) -> Iterator[_Item]:
        """The items of a reader, its progress being told."""
        for item in items:
            yield item
            self._papers_read += 1
            if self._papers_read % _PROGRESS_EVERY == 0:
                self._report_reading(reader)
        self._report_reading(reader)

    def _report_reading(self, reader: PaperReader) -> None:
        done = min(reader.done, reader.total)
        self._progress(BuildProgress("reading", reader.path.name, done, reader.total, self._papers_read))

    def _counted(self, rows: Iterator[IndexRow], total: int) -> Iterator[IndexRow]:
        for count, row in enumerate(rows, start=1):
            yield row
            if count % _PROGRESS_EVERY == 0 or count == total:
                self._progress(BuildProgress("indexing", "", count, total, count))


def _write_titles(generation: str | Path) -> None:
    """Writes the title index of the records committed."""
    generation = Path(generation)
    store = PaperStore(generation / STORE_FILE)
    try:
        write_title_index(store.title_rows(), generation / TITLES_FOLDER)
    finally:
        store.close()


def _write_titles_in_a_process(generation: Path) -> None:
    """The same beside this process, whose interpreter the full-text index keeps busy. Raises LibraryError."""
    process = start_process("pasa.library.build:_write_titles", str(generation), stderr=subprocess.PIPE)
    _, told = process.communicate()
    if process.returncode:
        reason = (told.decode(errors="replace").strip() or f"exit code {process.returncode}").splitlines()[-1]
        raise LibraryError(f"the titles in {generation} could not be written ({reason}): is the disk full?")


def _nothing_read(readers: Sequence[PaperReader], problems: Problems) -> str:
    reasons = [*(f"{count.first}: {reason}" for reason, count in problems.skipped.items()), *problems.damaged.values()]
    why = f" ({reasons[0]})" if reasons else ""
    return f"no paper could be read from {', '.join(str(reader.path) for reader in readers)}{why}"

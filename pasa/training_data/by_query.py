"""A build that makes rows out of queries, one query after the other: the frame of the Selector's and the Crawler's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pasa.errors import ConfigError
from pasa.library import Library
from pasa.training_data.build import BadRows, Build, Made, file_checksum, row_line, tell_stderr
from pasa.training_data.query_rows import LabelledQuery, QueryLine, labelled, query_files, query_lines
from pasa.training_data.workers import mapped, rare_collections

QUERIES_AT_ONCE = 32  # that a worker gets


class Settings(Protocol):
    """What the rows depend on, beside library and queries: a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def max_bad_rows(self) -> int: ...


@dataclass(frozen=True, slots=True)
class _Done:
    """A query's rows as lines, or why its line cannot be used."""

    split: str
    lines: tuple[bytes, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    drops: Mapping[str, int] = field(default_factory=dict)
    bad: tuple[str, str] | None = None  # (where, why)


def build_by_query(
    builder: str,
    library: Library,
    queries: Path,
    folder: Path,
    settings: Settings,
    maker: Callable[[Library], Callable[[LabelledQuery], Made]],
    recorded: Mapping[str, Any] | None = None,
    fresh: bool = False,
    progress: Callable[[Build], None] = lambda build: None,
    workers: int = 1,
) -> dict[str, Any]:
    """Writes what `maker(library)` makes of each query of a folder into `folder` and gives the manifest.

    `recorded`: what else the rows depend on. The files are the same for any number of workers. Raises ConfigError.
    """
    started = time.monotonic()
    files = query_files(queries)
    sources = {
        "library": {"papers": library.info().papers, "built": library.info().built},
        "queries": {path.name: file_checksum(path) for path in files.values()},
        **(recorded or {}),
    }
    with rare_collections(), Build(folder, {**asdict(settings), **sources}, fresh) as build:
        bad = BadRows(settings.max_bad_rows, tell_stderr)
        chunks = _chunks(islice(query_lines(files), build.units, None))
        for chunk in mapped(library, partial(_chunk_maker, maker), chunks, workers):
            for done in chunk:
                _write(build, done, bad)
                progress(build)
        return build.finish(builder, sources, time.monotonic() - started)


def _chunks(lines: Iterator[QueryLine]) -> Iterator[list[QueryLine]]:
    while chunk := list(islice(lines, QUERIES_AT_ONCE)):
        yield chunk


def _write(build: Build, done: _Done, bad: BadRows) -> None:
    if done.bad:
        bad.add(*done.bad)
        build.drop("bad row")
    for line in done.lines:
        build.write_line(done.split, line)
    build.counts.update(done.counts)
    build.counts["rows"] += len(done.lines)
    build.drops.update(done.drops)
    build.done()


def _chunk_maker(
    maker: Callable[[Library], Callable[[LabelledQuery], Made]], library: Library
) -> Callable[[list[QueryLine]], list[_Done]]:
    return partial(_make_chunk, library, maker(library))


def _make_chunk(library: Library, make: Callable[[LabelledQuery], Made], chunk: list[QueryLine]) -> list[_Done]:
    return [_make_one(library, make, line) for line in chunk]


def _make_one(library: Library, make: Callable[[LabelledQuery], Made], line: QueryLine) -> _Done:
    try:
        query = labelled(json.loads(line.text), line.where, line.split, library)
    except (ConfigError, ValueError, RecursionError) as error:
        why = " ".join(str(error).removeprefix(f"{line.where}: ").split())
        return _Done(line.split, bad=(line.where, why))
    made = make(query)
    if query.unresolved:
        made.drops["answer not in the library"] += query.unresolved
    return _Done(line.split, tuple(map(row_line, made.rows)), made.counts, made.drops)

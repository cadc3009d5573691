"""Reads built queries back, row by row: what cannot be used is told by its line and passed over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pasa.errors import ConfigError
from pasa.library import Library
from pasa.paper import Paper, Reference, parse_arxiv_id
from pasa.query import query_from_row
from pasa.training_data.build import SPLITS, numbered_lines

MAX_QUESTION_CHARACTERS = 2000
MAX_BAD_ROWS = 100
WRITERS_OF_ONE = ("gist", "detail")  # who tell what one paper does


@dataclass(frozen=True, slots=True)
class LabelledQuery:
    """A question, the papers of the library that answer it, and the paper it was made from."""

    question: str
    answers: tuple[Paper, ...]
    numbers: tuple[int, ...]  # the answers' record numbers, in their order
    unresolved: int  # answers that the library does not hold
    qid: str
    split: str
    section: str  # of the source paper, in which the answers are cited; "" if unknown
    tells_one: bool  # describes what one paper does, so that no other answers it
    source: int | None  # record number of the paper it was made from, which no crawl may meet; None if unknown


def query_files(folder: Path) -> dict[str, Path]:
    """Split -> file of the queries in a folder that has at least train.jsonl. Raises ConfigError."""
    files = {split: folder / f"{split}.jsonl" for split in SPLITS if (folder / f"{split}.jsonl").is_file()}
    if "train" not in files:
        raise ConfigError(f"{folder} holds no train.jsonl: give the folder that scripts/build_queries.py wrote")
    return files


@dataclass(frozen=True, slots=True)
class QueryLine:
    """A line of a file of queries that is not blank."""

    split: str
    where: str  # file and line
    text: bytes


def query_lines(files: dict[str, Path]) -> Iterator[QueryLine]:
    """The lines of all files in order. Raises ConfigError for a file that cannot be read."""
    for split, path in files.items():
        yield from (QueryLine(split, where, line) for where, line in numbered_lines(path))


def labelled(row: Any, where: str, split: str, library: Library) -> LabelledQuery:
    """The query of a row in upstream's form. Raises ConfigError for one that cannot be learnt from."""
    query = query_from_row(row, where)
    if len(query.text) > MAX_QUESTION_CHARACTERS:
        raise ConfigError(f"{where}: the question has more than {MAX_QUESTION_CHARACTERS} characters")
    if not query.answer:
        raise ConfigError(f"{where}: `answer` holds no title")
    ids = query.answer_ids or (None,) * len(query.answer)
    references = [Reference(title, arxiv_id) for title, arxiv_id in zip(query.answer, ids, strict=True)]
    meta = row.get("source_meta") or {}
    if not isinstance(meta, dict):
        raise ConfigError(f"{where}: `source_meta` must be an object")
    source = Reference(str(meta.get("title") or ""), parse_arxiv_id(str(meta.get("arxiv_id") or "")))
    *found, source_number = library.numbers_by_reference([*references, source])
    numbers = tuple(dict.fromkeys(number for number in found if number is not None))
    return LabelledQuery(
        query.text,
        tuple(library.papers_by_number(numbers)),
        numbers,
        found.count(None),
        query.qid,
        split,
        str(meta.get("section") or ""),
        row.get("writer") == "detail",
        source_number,
    )

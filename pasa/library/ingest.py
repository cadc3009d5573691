"""Reads the files a library is built from, one paper at a time, and counts what could not be used.

JSON lines (.jsonl .json .ndjson, also .gz .xz .zst): this project's rows or arXiv's metadata snapshot, row by row.
.zip: members without a suffix are upstream's (name = the title's letters, JSON = title, abstract, sections);
members ending in .json or .jsonl are JSON lines, as Kaggle packs the snapshot.
"""

from __future__ import annotations

import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

import orjson
import zstandard

from pasa.errors import LibraryError
from pasa.library.rows import MalformedRow, paper_from_row
from pasa.library.unpacking import MAX_ROW_BYTES, EndlessLine, open_member, read_lines, unpacked
from pasa.library.zip_members import Member, ZipMembers, open_zip, unpack_member
from pasa.paper import Paper, parse_arxiv_id

LINE_SUFFIXES = (".jsonl", ".json", ".ndjson")
_PACKED_SUFFIXES = ("", ".gz", ".xz", ".zst")
_UNREADABLE = (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError, zipfile.BadZipFile, EndlessLine)
_TOO_LARGE = f"larger than {MAX_ROW_BYTES >> 20} MB"
_READ_BYTES = 1 << 20
_STRING = rb'"(?:[^"\\]|\\.)*"'
_STRING_PAIR = re.compile(rb"(" + _STRING + rb")\s*:\s*(" + _STRING + rb")", re.DOTALL)


@dataclass
class Count:
    """How often something was met, and where first: "FILE:LINE" or "FILE:MEMBER"."""

    times: int
    first: str


@dataclass
class Problems:
    """What ingesting could not use; nothing of it stops a build."""

    skipped: dict[str, Count] = field(default_factory=dict)  # reason -> rows that gave no paper
    repaired: dict[str, Count] = field(default_factory=dict)  # reason -> rows taken without the field in question
    damaged: dict[str, str] = field(default_factory=dict)  # input -> why reading it ended early

    def skip(self, reason: str, place: str) -> None:
        self.skipped.setdefault(reason, Count(0, place)).times += 1

    def repair(self, reason: str, place: str) -> None:
        self.repaired.setdefault(reason, Count(0, place)).times += 1

    def add(self, later: Problems) -> None:
        """Takes over what was met after these."""
        for ours, theirs in ((self.skipped, later.skipped), (self.repaired, later.repaired)):
            for reason, count in theirs.items():
                ours.setdefault(reason, Count(0, count.first)).times += count.times
        self.damaged |= later.damaged


class RawRow(NamedTuple):
    """A row as it lies in its file."""

    place: str  # "FILE:LINE" or "FILE:MEMBER"
    data: bytes
    member: Member | None = None  # of a zip: how `data` is packed


def read_row(row: RawRow, problems: Problems) -> Paper | None:
    """The paper that a row describes; None, and counted, where it is none."""
    try:
        data = unpack_member(row.member, row.data) if row.member else row.data
        return paper_from_row(orjson.loads(data), lambda reason: problems.repair(reason, row.place))
    except (zipfile.BadZipFile, zlib.error):
        problems.skip("damaged member", row.place)
    except orjson.JSONDecodeError:
        problems.skip("not JSON", row.place)
    except MalformedRow as error:
        problems.skip(str(error), row.place)
    return None


def is_supported(path: Path) -> bool:
    name = path.name.lower()
    return name.endswith(".zip") or any(name.endswith(s + packed) for s in LINE_SUFFIXES for packed in _PACKED_SUFFIXES)


class PaperReader:
    """The papers of one input file, in order; `done` of `total` tell how far the reading has come."""

    def __init__(self, path: Path, problems: Problems) -> None:
        """Raises LibraryError for a file that is not there or of an unknown kind."""
        if not path.is_file():
            raise LibraryError(f"{path} is not a file: name a file of papers")
        if not is_supported(path):
            kinds = ", ".join((*LINE_SUFFIXES, ".zip"))
            raise LibraryError(
                f"{path} is of an unknown kind: name a file ending in {kinds}, or with .gz .xz .zst after"
            )
        self.path = path
        self.done = 0
        self.total = max(1, path.stat().st_size)
        self.problems = problems

    def __iter__(self) -> Iterator[Paper]:
        for row in self.rows():
            paper = read_row(row, self.problems)
            if paper:
                yield paper

    def rows(self) -> Iterator[RawRow]:
        """The file's rows in order, not yet unpacked where they are members of a zip."""
        try:
            with self.path.open("rb") as file:
                yield from self._zip(file) if self.path.suffix.lower() == ".zip" else self._packed_lines(file)
        except _UNREADABLE as error:
            self.problems.damaged[self.path.name] = str(error) or type(error).__name__
        self.done = self.total

    def _packed_lines(self, file: IO[bytes]) -> Iterator[RawRow]:
        for row in self._lines(read_lines(unpacked(file, self.path.suffix.lower()))):
            self.done = file.tell()
            yield row

    def _lines(self, lines: Iterable[bytes | None]) -> Iterator[RawRow]:
        for number, line in enumerate(lines, start=1):
            place = f"{self.path.name}:{number}"
            if line is None:
                self.problems.skip(_TOO_LARGE, place)
            elif line.strip():
                yield RawRow(place, line)

    def _zip(self, file: IO[bytes]) -> Iterator[RawRow]:
        members = ZipMembers(file, LINE_SUFFIXES)
        if members.holds_lines:
            with open_zip(file) as archive:
                for info in archive.infolist():
                    with open_member(archive, info) as contents:
                        yield from self._lines(read_lines(contents))
            return
        self.total = max(1, len(members))
        yield from self._members(members)

    def _members(self, members: ZipMembers, start: int = 0, end: int | None = None) -> Iterator[RawRow]:
        for member in islice(members, start, end):
            self.done += 1
            place = f"{self.path.name}:{member.name}"
            if max(member.bytes, member.packed_bytes) > MAX_ROW_BYTES:
                self.problems.skip(_TOO_LARGE, place)
                continue
            try:
                yield RawRow(place, members.packed(member), member)
            except zipfile.BadZipFile:
                self.problems.skip("damaged member", place)


def read_id2paper(path: Path, problems: Problems) -> Iterator[tuple[str, str]]:
    """(arXiv id, title) pairs of upstream's id2paper.json, without holding the file in memory.

    Raises LibraryError when the file cannot be read or is not one JSON object of strings.
    """
    try:
        with path.open("rb") as file:
            for key, value in _string_pairs(file, path):
                arxiv_id = parse_arxiv_id(key)
                if arxiv_id is None:
                    problems.skip("arXiv id cannot be read", f"{path.name}:{key[:40]}")
                else:
                    yield arxiv_id, value
    except OSError as error:
        raise LibraryError(f"{path} cannot be read: {error.strerror or error}") from error


def _string_pairs(file: IO[bytes], path: Path) -> Iterator[tuple[str, str]]:
    rest = file.read(_READ_BYTES).lstrip()
    if not rest.startswith(b"{"):
        raise LibraryError(f"{path} is not id2paper.json: it must be one JSON object, arXiv id -> title")
    while True:
        end = 0
        for match in _STRING_PAIR.finditer(rest):
            end = match.end()
            try:
                yield orjson.loads(match[1]), orjson.loads(match[2])
            except orjson.JSONDecodeError:
                raise LibraryError(f"{path} is not id2paper.json: {match[1][:60]!r} cannot be read") from None
        more = file.read(_READ_BYTES)
        rest = rest[end:] + more
        if len(rest) > MAX_ROW_BYTES:
            raise LibraryError(f"{path} is not id2paper.json: it must be one JSON object, arXiv id -> title")
        if not more:
            return

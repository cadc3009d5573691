"""The library's records in SQLite: one row a paper, found by arXiv id or by title key.

A store is written once, by StoreWriter, and never changed after; PaperStore reads it as immutable, without locks.
"""

from __future__ import annotations

import json
import queue
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import zstandard

from pasa.errors import LibraryError
from pasa.library.codec import Codec, StoreRow, train_dictionary
from pasa.library.merge import merge
from pasa.paper import Paper, arxiv_id_month, last_day, title_key

SOURCE = "SearchFrom:local_paper_db"  # upstream's word for it (result tree, PAPER.md)

_SCHEMA = """
CREATE TABLE papers (
    id INTEGER PRIMARY KEY, arxiv_id TEXT UNIQUE, title TEXT NOT NULL, date TEXT, authors TEXT,
    abstract BLOB, sections BLOB
);
CREATE TABLE title_keys (key TEXT PRIMARY KEY, paper INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""
_FIELDS = "id, arxiv_id, title, date, authors, abstract, sections"
_WRITER_CACHE_KIB = 64 * 1024
_TITLES_READ = 5000  # at once
_MAX_CONNECTIONS = 8  # open at once; further threads wait their turn, so that thousands need no file each
_SECTIONS_READ = 500  # at once
_BROKEN = (sqlite3.Error, zstandard.ZstdError, ValueError)  # what a damaged record shows itself as


def _to_paper(row: tuple, codec: Codec) -> Paper:
    return Paper(
        title=row[2],
        abstract=codec.unpack_text(row[5]),
        arxiv_id=row[1],
        date=row[3],
        authors=tuple(row[4].split("\n")) if row[4] else (),
        sections=codec.unpack_sections(row[6]),
        source=SOURCE,
    )


class TitleRow(NamedTuple):
    """What the title index is built from."""

    number: int  # of the record
    title: str
    year: int  # in which the paper appeared, 0 = not known


class _Connection:
    """One SQLite connection and what decodes its rows; used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        self.sqlite = sqlite3.connect(address, uri=True, check_same_thread=False)
        self.codec = Codec(_dictionary(self.sqlite))

    def one(self, where: str, value: str | int) -> Paper | None:
        row = self.sqlite.execute(f"SELECT {_FIELDS} FROM papers WHERE {where}", (value,)).fetchone()
        return _to_paper(row, self.codec) if row else None


class PaperStore:
    """Reads a finished store. Safe from any number of threads. Each method raises LibraryError on a damaged file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pool: queue.LifoQueue[_Connection | None] = queue.LifoQueue()
        for _ in range(_MAX_CONNECTIONS):
            self._pool.put(None)  # opened when first needed
        with self._connection() as connection:
            connection.sqlite.execute("SELECT 1 FROM papers, title_keys LIMIT 1").fetchone()

    def by_id(self, arxiv_ids: Iterable[str]) -> dict[str, Paper]:
        """The papers with these arXiv ids; an unknown id is absent."""
        with self._connection() as connection:
            found = ((arxiv_id, connection.one("arxiv_id = ?", arxiv_id)) for arxiv_id in arxiv_ids)
            return {arxiv_id: paper for arxiv_id, paper in found if paper is not None}

    def by_title(self, titles: Iterable[str]) -> list[Paper | None]:
        """The paper with each title's key, in order; a title without a letter names none."""
        with self._connection() as connection:
            where = "id = (SELECT paper FROM title_keys WHERE key = ?)"
            return [connection.one(where, key) if (key := title_key(title)) else None for title in titles]

    def by_number(self, numbers: Iterable[int]) -> list[Paper]:
        """The papers with these record numbers, in order. Raises LibraryError for a number without a record."""
        with self._connection() as connection:
            papers = [connection.one("id = ?", number) for number in numbers]
        if None in papers:
            raise LibraryError(f"{self._path} and its search index differ: build the library again with --fresh")
        return [paper for paper in papers if paper is not None]

    def title(self, number: int) -> str:
        """The title of one record. Raises LibraryError for a number without a record."""
        with self._connection() as connection:
            row = connection.sqlite.execute("SELECT title FROM papers WHERE id = ?", (number,)).fetchone()
        if row is None:
            raise LibraryError(f"{self._path} and its title index differ: build the library again with --fresh")
        return row[0]

    def title_rows(self) -> Iterator[TitleRow]:
        """Number, title and year of every record, in record order."""
        last = 0
        while rows := self._title_rows_after(last):
            yield from (TitleRow(number, title, _year(date, arxiv_id)) for number, title, date, arxiv_id in rows)
            last = rows[-1][0]

    def _title_rows_after(self, number: int) -> list[tuple[int, str, str | None, str | None]]:
        with self._connection() as connection:
            return connection.sqlite.execute(
                "SELECT id, title, date, arxiv_id FROM papers WHERE id > ? ORDER BY id LIMIT ?", (number, _TITLES_READ)
            ).fetchall()

    def number_of(self, paper: Paper) -> int | None:
        """The record number of this paper, by its arXiv id, else by its title key; None where it has no record."""
        with self._connection() as connection:
            row = connection.sqlite.execute("SELECT id FROM papers WHERE arxiv_id = ?", (paper.arxiv_id,)).fetchone()
        return row[0] if row else self.numbers_by_title([paper.title])[0]

    def numbers_by_title(self, titles: Iterable[str]) -> list[int | None]:
        """The record number of each title's key, in order; None for a title unknown or without a letter."""
        keys = [title_key(title) for title in titles]
        query = "SELECT key, paper FROM title_keys WHERE key IN (SELECT value FROM json_each(?))"
        with self._connection() as connection:  # all in one query: 60% of the time of one after the other
            numbers = dict(connection.sqlite.execute(query, (json.dumps(keys),)).fetchall())
        return [numbers.get(key) for key in keys]

    def numbers_by_id(self, arxiv_ids: Iterable[str]) -> dict[str, int]:
        """The record numbers of these arXiv ids; an unknown id is absent."""
        with self._connection() as connection:
            query = "SELECT arxiv_id, id FROM papers WHERE arxiv_id = ?"
            rows = [connection.sqlite.execute(query, (arxiv_id,)).fetchone() for arxiv_id in arxiv_ids]
        return {row[0]: row[1] for row in rows if row}

    def cited_titles(self) -> Iterator[tuple[int, list[str]]]:
        """The distinct titles that each record with sections cites, with its number, in record order."""
        last = 0
        while batch := self._cited_titles_after(last):
            yield from batch
            last = batch[-1][0]

    def _cited_titles_after(self, number: int) -> list[tuple[int, list[str]]]:
        with self._connection() as connection:
            rows = connection.sqlite.execute(
                "SELECT id, sections FROM papers WHERE id > ? AND sections IS NOT NULL ORDER BY id LIMIT ?",
                (number, _SECTIONS_READ),
            )
            return [(row[0], connection.codec.unpack_cited_titles(row[1])) for row in rows]

    def __iter__(self) -> Iterator[Paper]:
        """Every paper, in the order in which they came into the library."""
        return (paper for _, paper in self._all(_FIELDS))

    def without_sections(self) -> Iterator[tuple[int, Paper]]:
        """Every paper with its record number, in their order, its sections left out."""
        return self._all(_FIELDS.replace("sections", "NULL"))

    def with_sections(self) -> Iterator[tuple[int, Paper]]:
        """The papers that have sections, with their record numbers, in their order."""
        return self._all(_FIELDS, "sections IS NOT NULL")

    def _all(self, fields: str, where: str = "1") -> Iterator[tuple[int, Paper]]:
        last = 0
        while batch := self._batch_after(last, fields, where, size=500):
            yield from batch
            last = batch[-1][0]

    def _batch_after(self, number: int, fields: str, where: str, size: int) -> list[tuple[int, Paper]]:
        with self._connection() as connection:
            rows = connection.sqlite.execute(
                f"SELECT {fields} FROM papers WHERE id > ? AND {where} ORDER BY id LIMIT ?", (number, size)
            )
            return [(row[0], _to_paper(row, connection.codec)) for row in rows]

    def close(self) -> None:
        """Closes the connections not in use. Reading afterwards opens new ones."""
        for _ in range(_MAX_CONNECTIONS):
            if connection := self._pool.get():
                connection.sqlite.close()
        for _ in range(_MAX_CONNECTIONS):
            self._pool.put(None)

    @contextmanager
    def _connection(self) -> Iterator[_Connection]:
        connection = self._pool.get()
        try:
            connection = connection or _Connection(self._path)
            yield connection
        except _BROKEN as error:
            raise LibraryError(f"{self._path} is damaged ({error}): build the library again with --fresh") from error
        finally:
            self._pool.put(connection)


def _year(date: str | None, arxiv_id: str | None) -> int:
    """The year a paper is known to have appeared, the earlier of its date's and its arXiv id's; 0 = not known."""
    stated = (date, arxiv_id_month(arxiv_id) if arxiv_id else None)
    return min((int(text[:4]) for text in stated if text and last_day(text)), default=0)


def _dictionary(sqlite: sqlite3.Connection) -> bytes | None:
    row = sqlite.execute("SELECT value FROM settings WHERE name = 'zstd_dictionary'").fetchone()
    return row[0] if row else None


@dataclass(frozen=True, slots=True)
class IndexRow:
    """What the full-text index needs of a paper."""

    number: int  # of its record
    rank: int  # among all papers by key, from 1
    paper: Paper  # without sections


class StoreWriter:
    """Writes a store in a folder that nobody reads yet. Raises LibraryError when it cannot."""

    def __init__(self, path: Path) -> None:
        """Starts a new store at `path`, or goes on with the one there."""
        is_new = not path.exists()
        self._path = path
        self._sqlite = sqlite3.connect(path, isolation_level=None)
        # A crash loses the whole folder anyway; publishing it syncs it to disk.
        self._sqlite.execute("PRAGMA journal_mode = OFF")
        self._sqlite.execute("PRAGMA synchronous = OFF")
        self._sqlite.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._sqlite.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
        self._sqlite.create_function("title_key", 1, title_key, deterministic=True)
        if is_new:
            self._sqlite.executescript(_SCHEMA)
        self.dictionary = _dictionary(self._sqlite)  # of the compression
        self._codec = Codec(self.dictionary)
        self._sqlite.execute("BEGIN")

    def train(self, papers: list[Paper]) -> None:
        """Trains the compression dictionary on papers about to be added, unless the store has one."""
        if self.dictionary is None and (dictionary := train_dictionary(papers)):
            self._sqlite.execute("INSERT INTO settings VALUES ('zstd_dictionary', ?)", (dictionary,))
            self.dictionary = dictionary
            self._codec = Codec(dictionary)

    def add(self, paper: Paper) -> Literal["added", "changed", "unchanged"]:
        """Puts a paper in, or merges it with the record that has its arXiv id or title key.

        Two arXiv ids are two papers even under one title; the title then leads to the one that came first.
        """
        return self.add_packed(self._codec.pack(paper))

    def add_packed(self, row: StoreRow) -> Literal["added", "changed", "unchanged"]:
        """`add` for a paper packed with this store's dictionary."""
        arxiv_id, key = row[0], title_key(row[1])
        by_id = self._number("SELECT id FROM papers WHERE arxiv_id = ?", arxiv_id)
        by_title = self._number("SELECT paper FROM title_keys WHERE key = ?", key)
        if by_title is not None and by_title != by_id and arxiv_id and self._arxiv_id(by_title):
            by_title = None
        if by_id is not None and by_title is not None and by_id != by_title:
            self._fold(by_title, into=by_id)
            by_title = by_id
        number = by_title if by_id is None else by_id
        if number is None:
            self._insert(row, key)
            return "added"
        return self._merge_into(number, _to_paper((0, *row), self._codec), key)

    def add_id(self, arxiv_id: str, title: str) -> bool:
        """Gives the paper of this title its arXiv id; False when there is no such paper or it has another id."""
        number = self._number("SELECT paper FROM title_keys WHERE key = ?", title_key(title))
        if number is None or (self._arxiv_id(number) or arxiv_id) != arxiv_id:
            return False
        if self._number("SELECT id FROM papers WHERE arxiv_id = ?", arxiv_id) is None:
            self._sqlite.execute("UPDATE papers SET arxiv_id = ? WHERE id = ?", (arxiv_id, number))
        else:
            self.add(Paper(title=title, arxiv_id=arxiv_id))  # the id is another record's: they are one paper
        return True

    def _number(self, query: str, value: str | None) -> int | None:
        row = self._sqlite.execute(query, (value,)).fetchone() if value else None
        return row[0] if row else None

    def _arxiv_id(self, number: int) -> str | None:
        return self._sqlite.execute("SELECT arxiv_id FROM papers WHERE id = ?", (number,)).fetchone()[0]

    def _paper(self, number: int) -> Paper:
        row = self._sqlite.execute(f"SELECT {_FIELDS} FROM papers WHERE id = ?", (number,)).fetchone()
        return _to_paper(row, self._codec)

    def _insert(self, row: StoreRow, key: str) -> None:
        number = self._sqlite.execute(
            "INSERT INTO papers (arxiv_id, title, date, authors, abstract, sections) VALUES (?, ?, ?, ?, ?, ?)", row
        ).lastrowid
        self._own_title(key, number)

    def _merge_into(self, number: int, paper: Paper, key: str) -> Literal["changed", "unchanged"]:
        old = self._paper(number)
        merged = merge(old, paper)
        self._own_title(key, number)
        if merged == old:
            return "unchanged"
        self._sqlite.execute(
            "UPDATE papers SET arxiv_id = ?, title = ?, date = ?, authors = ?, abstract = ?, sections = ? WHERE id = ?",
            (*self._codec.pack(merged), number),
        )
        return "changed"

    def _own_title(self, key: str, number: int | None) -> None:
        if key:
            self._sqlite.execute("INSERT OR IGNORE INTO title_keys VALUES (?, ?)", (key, number))

    def _fold(self, number: int, into: int) -> None:
        """Makes a record without an arXiv id part of the one that a later row shows to be the same paper."""
        folded = self._paper(number)
        self._sqlite.execute("DELETE FROM papers WHERE id = ?", (number,))
        self._sqlite.execute("UPDATE title_keys SET paper = ? WHERE key = ?", (into, folded.title_key))
        self._merge_into(into, folded, folded.title_key)

    def count(self) -> int:
        return self._sqlite.execute("SELECT count(*) FROM papers").fetchone()[0]

    def counts(self) -> dict[str, int]:
        """How many papers there are, and how many have an arXiv id, a date, an abstract, sections."""
        row = self._sqlite.execute(
            "SELECT count(*), count(arxiv_id), count(date), count(abstract), count(sections) FROM papers"
        ).fetchone()
        return dict(zip(("papers", "with_arxiv_id", "with_date", "with_abstract", "with_sections"), row, strict=True))

    def index_rows(self) -> Iterator[IndexRow]:
        """What to index, in record order."""
        self._sqlite.execute("CREATE TEMP TABLE ranks (paper INTEGER PRIMARY KEY, rank INTEGER NOT NULL)")
        self._sqlite.execute(
            "INSERT INTO ranks SELECT id, row_number() OVER (ORDER BY coalesce(arxiv_id, 'title:' || title_key(title)))"
            " FROM papers"
        )
        rows = self._sqlite.execute(
            "SELECT id, arxiv_id, title, date, NULL, abstract, NULL, rank"
            " FROM papers JOIN ranks ON paper = id ORDER BY id"
        )
        for row in rows:
            yield IndexRow(number=row[0], rank=row[7], paper=_to_paper(row, self._codec))

    def commit(self) -> None:
        """Makes what was added readable for others; nothing can be added after it."""
        self._sqlite.execute("COMMIT")

    def close(self) -> None:
        if self._sqlite.in_transaction:
            self.commit()
        self._sqlite.close()

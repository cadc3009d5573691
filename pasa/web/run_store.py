"""Runs of the page on disk: what was asked, every event, every paper, how it ended. One SQLite file, one process."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

import orjson

from pasa.errors import ConfigError

State = Literal["queued", "running", "done", "stopped", "failed", "interrupted"]
ENDED: tuple[State, ...] = ("done", "stopped", "failed", "interrupted")
INTERRUPTED = "The server was stopped while this search ran. What it had found is kept; it can be run again."
LIST_LIMIT = 50  # runs of one page of the history

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, question TEXT NOT NULL, asked TEXT NOT NULL, state TEXT NOT NULL,
    created REAL NOT NULL, started REAL, ended REAL, error TEXT, found INTEGER NOT NULL DEFAULT 0,
    selected INTEGER NOT NULL DEFAULT 0, outcome TEXT, tree BLOB
);
CREATE INDEX IF NOT EXISTS runs_by_age ON runs (created DESC, id);
CREATE TABLE IF NOT EXISTS events (
    run TEXT NOT NULL, number INTEGER NOT NULL, data TEXT NOT NULL, PRIMARY KEY (run, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS papers (
    run TEXT NOT NULL, key TEXT NOT NULL, place INTEGER, data TEXT NOT NULL, PRIMARY KEY (run, key)
) WITHOUT ROWID;
"""
_COLUMNS = "id, owner, question, asked, state, created, started, ended, error, found, selected"


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One run as the history shows it; times in seconds since 1970."""

    id: str
    owner: str
    question: str
    asked: Mapping[str, Any]  # as RunRequest.to_json
    state: State
    created: float
    started: float | None
    ended: float | None
    error: str | None  # why it failed, a line for people
    found: int
    selected: int


class RunStore:
    """The runs in a file. Safe to use from several threads; each call is one transaction."""

    def __init__(self, path: Path) -> None:
        """Opens the file or makes it, and holds it until closed. Raises ConfigError where it cannot be used."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            self._holder = _hold(path)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"cannot keep runs in {path} ({error}): choose another --data_dir") from error
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._db.close()
            self._holder.close()

    @contextmanager
    def _changes(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def _rows(self, question: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(question, values).fetchall()

    # -- runs ----------------------------------------------------------------------------------------------------------

    def add(self, run: StoredRun) -> None:
        """Files a run that is waiting for its turn."""
        with self._changes() as db:
            db.execute(
                "INSERT INTO runs (id, owner, question, asked, state, created) VALUES (?, ?, ?, ?, ?, ?)",
                (run.id, run.owner, run.question, _text(run.asked), run.state, run.created),
            )

    def get(self, run_id: str) -> StoredRun | None:
        rows = self._rows(f"SELECT {_COLUMNS} FROM runs WHERE id = ?", (run_id,))
        return _run(rows[0]) if rows else None

    def outcome(self, run_id: str) -> dict[str, Any] | None:
        """How a run was made and its totals; None while there are none."""
        rows = self._rows("SELECT outcome FROM runs WHERE id = ?", (run_id,))
        return orjson.loads(rows[0][0]) if rows and rows[0][0] else None

    def tree(self, run_id: str) -> bytes | None:
        """The result tree as `end` was given it; None where there is none."""
        rows = self._rows("SELECT tree FROM runs WHERE id = ?", (run_id,))
        return rows[0][0] if rows else None

    def newest(self, words: str = "", owner: str | None = None, before: float | None = None) -> list[StoredRun]:
        """Up to LIST_LIMIT runs, newest first: whose question holds `words`, of `owner`, created before `before`."""
        pattern = "%" + words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        rows = self._rows(
            f"SELECT {_COLUMNS} FROM runs WHERE question LIKE ? ESCAPE '\\' AND (? IS NULL OR owner = ?) "
            "AND (? IS NULL OR created < ?) ORDER BY created DESC, id LIMIT ?",
            (pattern, owner, owner, before, before, LIST_LIMIT),
        )
        return [_run(row) for row in rows]

    def waiting(self) -> list[StoredRun]:
        """The runs that have not begun, in the order in which they were asked."""
        rows = self._rows(f"SELECT {_COLUMNS} FROM runs WHERE state = 'queued' ORDER BY created, id")
        return [_run(row) for row in rows]

    def mark_interrupted(self, now: float) -> int:
        """Closes runs that an earlier process left under way; how many there were. Their papers stay."""
        with self._changes() as db:
            changed = db.execute(
                "UPDATE runs SET state = 'interrupted', ended = ?, error = ? WHERE state = 'running'",
                (now, INTERRUPTED),
            )
            return changed.rowcount

    def begin(self, run_id: str, now: float) -> bool:
        """Marks a waiting run as under way; False where it is waiting no more."""
        with self._changes() as db:
            changed = db.execute(
                "UPDATE runs SET state = 'running', started = ? WHERE id = ? AND state = 'queued'", (now, run_id)
            )
            return changed.rowcount == 1

    def end(
        self,
        run_id: str,
        state: State,
        now: float,
        error: str | None = None,
        outcome: Mapping[str, Any] | None = None,
        tree: bytes | None = None,
    ) -> None:
        """Closes a run: its totals and how it was made, and its result tree, in the caller's form, where it has one."""
        with self._changes() as db:
            db.execute(
                "UPDATE runs SET state = ?, ended = ?, error = ?, outcome = ?, tree = ? WHERE id = ?",
                (state, now, error, _text(outcome) if outcome is not None else None, tree, run_id),
            )

    def delete(self, run_id: str) -> None:
        """Forgets a run and all of it."""
        with self._changes() as db:
            _forget(db, [run_id])

    def keep_newest(self, count: int) -> int:
        """Forgets the oldest of the ended runs beyond `count` runs; how many."""
        with self._changes() as db:
            old = db.execute(
                "SELECT id FROM (SELECT id, state FROM runs ORDER BY created DESC, id LIMIT -1 OFFSET ?) "
                "WHERE state NOT IN ('queued', 'running')",
                (count,),
            ).fetchall()
            _forget(db, [row[0] for row in old])
            return len(old)

    # -- what a run tells and finds ------------------------------------------------------------------------------------

    def write(self, run_id: str, events: Iterable[tuple[int, bytes]], papers: Iterable[Mapping[str, Any]] = ()) -> None:
        """Files events, each with its number, and papers, each under its key, a later one in place of an earlier."""
        with self._changes() as db:
            db.executemany(
                "INSERT OR REPLACE INTO events VALUES (?, ?, ?)", [(run_id, n, data.decode()) for n, data in events]
            )
            db.executemany(
                "INSERT OR REPLACE INTO papers VALUES (?, ?, ?, ?)",
                [(run_id, paper["key"], paper.get("rank"), _text(paper)) for paper in papers],
            )
            db.execute(
                "UPDATE runs SET (found, selected) = (SELECT count(*), ifnull(sum(data ->> 'selected'), 0) "
                "FROM papers WHERE run = ?) WHERE id = ?",
                (run_id, run_id),
            )

    def drop_unranked(self, run_id: str) -> None:
        """Forgets the papers that a finished run's ranking holds under another key: the same title, another id."""
        with self._changes() as db:
            db.execute("DELETE FROM papers WHERE run = ? AND place IS NULL", (run_id,))

    def events(self, run_id: str, after: int = 0) -> list[tuple[int, bytes]]:
        """The events of a run behind number `after`, in order."""
        rows = self._rows(
            "SELECT number, data FROM events WHERE run = ? AND number > ? ORDER BY number", (run_id, after)
        )
        return [(number, data.encode()) for number, data in rows]

    def papers(self, run_id: str) -> list[bytes]:
        """The papers of a run as JSON, in order of rank; those of a run without one by score."""
        rows = self._rows(
            "SELECT data FROM papers WHERE run = ? ORDER BY place IS NULL, place, data ->> 'score' DESC, key", (run_id,)
        )
        return [row[0].encode() for row in rows]

    def paper(self, run_id: str, key: str) -> bytes | None:
        rows = self._rows("SELECT data FROM papers WHERE run = ? AND key = ?", (run_id, key))
        return rows[0][0].encode() if rows else None


def _hold(path: Path) -> BinaryIO:
    """Keeps other servers, which would take up our runs, off the file; readers such as sqlite3's .backup may come.

    Raises ConfigError where another has it. It is let go with the process, however that ends.
    """
    holder = path.with_suffix(".lock").open("wb")
    try:
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder.close()
        raise ConfigError(f"another server keeps its runs in {path.parent}: choose another --data_dir") from None
    return holder


def _run(row: tuple[Any, ...]) -> StoredRun:
    run_id, owner, question, asked, *rest = row
    return StoredRun(run_id, owner, question, orjson.loads(asked), *rest)


def _text(content: Any) -> str:
    """JSON as SQLite keeps it: a lone half of a surrogate pair, which it cannot hold, becomes a "?"."""
    try:
        return orjson.dumps(content).decode()
    except TypeError:  # orjson's word for such a text
        return orjson.dumps(writable(content)).decode()


def writable(content: Any) -> Any:
    """Plain data with a "?" for each half of a surrogate pair in its texts."""
    match content:
        case str():
            return content.encode("utf-8", "replace").decode()
        case Mapping():
            return {writable(name): writable(value) for name, value in content.items()}
        case list() | tuple():
            return [writable(value) for value in content]
        case _:
            return content


def _forget(db: sqlite3.Connection, run_ids: Sequence[str]) -> None:
    for run_id in run_ids:
        for table, column in (("events", "run"), ("papers", "run"), ("runs", "id")):
            db.execute(f"DELETE FROM {table} WHERE {column} = ?", (run_id,))

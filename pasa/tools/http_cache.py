"""Answers of the services kept on disk, so that a second run asks for nothing twice."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

_LOG = logging.getLogger(__name__)
_BUSY_SECONDS = 10.0  # how long one process waits for another's write
_FAST = 1  # zlib level: pages shrink five-fold at the speed of the disk
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, stored_at REAL NOT NULL, url TEXT NOT NULL, body BLOB NOT NULL
) WITHOUT ROWID
"""


class HttpCache:
    """A SQLite file of successful answers, each kept for the seconds its kind has in `ttl_seconds`.

    A kind without an entry is never stored. Safe for many threads and several processes; each write is one
    transaction, so a crash leaves the file readable. A broken or unwritable file costs the caching, not the run: it is
    logged once and every look-up misses.
    """

    def __init__(self, path: Path, ttl_seconds: Mapping[str, float]) -> None:
        self._ttl_seconds = dict(ttl_seconds)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False)
            with self._connection:
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute(_SCHEMA)
                self._drop_expired(self._connection)
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def get(self, key: str, kind: str) -> tuple[str, bytes] | None:
        """The final URL and body stored under `key`; None when there is none or it is older than its kind allows."""
        ttl = self._ttl_seconds.get(kind, 0.0)
        with self._lock:
            if self._connection is None or ttl <= 0:
                return None
            try:
                row = self._connection.execute(
                    "SELECT url, body FROM answers WHERE key = ? AND stored_at > ?", (key, time.time() - ttl)
                ).fetchone()
                return (row[0], zlib.decompress(row[1])) if row else None
            except (sqlite3.Error, zlib.error) as error:
                self._give_up(error)
                return None

    def put(self, key: str, kind: str, url: str, body: bytes) -> None:
        """Store an answer; kinds without a time to live are passed over."""
        if self._ttl_seconds.get(kind, 0.0) <= 0:
            return
        row = (key, kind, time.time(), url, zlib.compress(body, _FAST))
        with self._lock:
            if self._connection is None:
                return
            try:
                with self._connection:
                    self._connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", row)
            except sqlite3.Error as error:
                self._give_up(error)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _drop_expired(self, connection: sqlite3.Connection) -> None:
        for kind, ttl in self._ttl_seconds.items():
            connection.execute("DELETE FROM answers WHERE kind = ? AND stored_at <= ?", (kind, time.time() - ttl))

    def _give_up(self, error: Exception) -> None:
        _LOG.warning("The HTTP cache cannot be used and is off for this run (%s); delete the file to mend it.", error)
        if self._connection is not None:
            self._connection.close()
            self._connection = None

"""Rows made ready for the store by processes beside the one that writes it: unpacked, parsed, normalised, compressed.

Both sides speak in frames: eight bytes of length, then a pickle.
"""

from __future__ import annotations

import pickle
import queue
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import IO, Any, Self, cast

from pasa.errors import LibraryError
from pasa.library.codec import Codec, StoreRow
from pasa.library.ingest import Problems, RawRow, read_row
from pasa.library.process import start_process
from pasa.library.unpacking import MAX_ROW_BYTES

MAX_PROCESSES = 4  # one process can write what about four can read
_BATCH_ROWS = 256
_BATCH_BYTES = MAX_ROW_BYTES // 16  # of rows as they lie in the file; one larger row is a batch by itself
_AHEAD = 2  # batches for each process that wait or are under way
_LENGTH = struct.Struct("<Q")
_PROGRAM = "pasa.library.packing:main"


def pack_rows(rows: Iterable[RawRow], codec: Codec) -> tuple[list[StoreRow], Problems]:
    """The store's form of what the rows describe, in their order, and what could not be used."""
    problems = Problems()
    papers = (read_row(row, problems) for row in rows)
    return [codec.pack(paper) for paper in papers if paper], problems


class Packers:
    """Processes that pack rows, until closed."""

    def __init__(self, processes: int, dictionary: bytes | None) -> None:
        """Raises LibraryError where no process can be started."""
        self._processes: list[subprocess.Popen[bytes]] = []
        self._free: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(processes, "pasa-packers")
        try:
            for _ in range(processes):
                process = start_process(_PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                self._processes.append(process)
                _write(process.stdin, dictionary)
                self._free.put(process)
        except OSError as error:
            self.close()
            raise LibraryError(f"no process could be started ({error}): build with --processes 1") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def pack(self, rows: Iterable[RawRow]) -> Iterator[tuple[list[StoreRow], Problems]]:
        """What `pack_rows` gives, batch by batch in the order of the rows, a few batches ahead of where it is used.

        Raises LibraryError where a process ends.
        """
        waiting: deque[Future[tuple[list[StoreRow], Problems]]] = deque()
        for batch in _batches(rows):
            waiting.append(self._threads.submit(self._ask, batch))
            if len(waiting) > _AHEAD * len(self._processes):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def close(self) -> None:
        """Ends the processes; what they have under way is given up."""
        for process in self._processes:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.communicate()

    def _ask(self, batch: list[RawRow]) -> tuple[list[StoreRow], Problems]:
        process = self._free.get()
        try:
            _write(process.stdin, batch)
            return _read(process.stdout)
        except (OSError, EOFError) as error:
            raise LibraryError("a process that reads papers was ended: build with --processes 1") from error
        finally:
            self._free.put(process)


def _batches(rows: Iterable[RawRow]) -> Iterator[list[RawRow]]:
    batch: list[RawRow] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row.data)
        if len(batch) == _BATCH_ROWS or size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write(pipe: IO[bytes] | None, value: object) -> None:
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    pipe = cast(IO[bytes], pipe)
    pipe.write(_LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def _read(pipe: IO[bytes] | None) -> Any:
    """The next frame. Raises EOFError at the end."""
    pipe = cast(IO[bytes], pipe)
    head = pipe.read(_LENGTH.size)
    size = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
    data = pipe.read(size)
    if not data or len(data) < size:
        raise EOFError
    return pickle.loads(data)  # ours: the other end is a process of this module


def main() -> None:
    """Packs batches from stdin until it ends."""
    incoming, outgoing = sys.stdin.buffer, sys.stdout.buffer
    codec = Codec(_read(incoming))
    while True:
        try:
            batch = _read(incoming)
        except EOFError:
            return
        _write(outgoing, pack_rows(batch, codec))


if __name__ == "__main__":
    main()

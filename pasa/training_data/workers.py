"""Work on chunks in several processes, with the results in the order of the chunks."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pasa.errors import ConfigError, LibraryError, PasaError
from pasa.library import Library

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")

MOST_WORKERS = 8  # by default; each opens the library for itself
_SECONDS_BETWEEN_LOOKS = 1.0
_OBJECTS_BETWEEN_COLLECTIONS = 500_000
_AHEAD = 3  # chunks a worker that wait to be written or worked on


def default_workers() -> int:
    """The processors that this process may use, at most MOST_WORKERS."""
    return min(MOST_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Has the garbage collector look for cycles rarely: a build makes many objects, hardly a cycle; 9% of its time."""
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def mapped(
    library: Library, maker: Callable[[Library], Callable[[Chunk], Result]], chunks: Iterable[Chunk], workers: int
) -> Iterator[Result]:
    """What `maker(library)` makes of each chunk, in order, the same for any number of workers.

    With one worker the work is done in this process; otherwise each worker opens the library, and `maker`, chunks and
    results travel between processes. Errors of the work are raised here; ConfigError where a worker dies.
    """
    if workers <= 1:
        yield from map(maker(library), chunks)
        return
    with ProcessPoolExecutor(workers, initializer=_start, initargs=(library.path, library.generation, maker)) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for chunk in chunks:
                waiting.append(pool.submit(_work, chunk))
                if len(waiting) >= _AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise ConfigError("a worker process died, perhaps for want of memory: give fewer --workers") from error
        finally:
            for future in waiting:
                future.cancel()


_make: Callable[[Any], Any] | PasaError  # of this worker process; what kept it from starting


def _start(path: Path, generation: Path, maker: Callable[[Library], Callable[[Any], Any]]) -> None:
    global _make
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, *gc.get_threshold()[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that waits for the results is told, and ends this one
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        library = Library.open(path)
        if library.generation != generation:
            raise LibraryError(f"{path} was built anew meanwhile: begin the build again with --fresh")
        _make = maker(library)
    except PasaError as error:  # raised here it would be told as a process that died
        _make = error


def _end_with(parent: int) -> None:
    """Ends this process once its parent is gone: one that is killed can tell nobody."""
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)


def _work(chunk: Any) -> Any:
    if isinstance(_make, PasaError):
        raise _make
    return _make(chunk)

"""A folder of result files has one writer at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pasa.errors import ConfigError


@contextmanager
def only_writer(folder: Path, flag: str = "--output_folder") -> Iterator[None]:
    """Holds the folder, which `flag` names, against other runs; it is let go with the process, however that ends.

    What a killed run had begun to write is removed. Raises ConfigError where another run holds the folder. A file
    system that cannot lock a folder (some network ones) keeps nobody out; there files are still written whole, and
    those of one query are alike.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigError(f"cannot read {folder}: {error.strerror}; choose another {flag}") from error
    try:
        if _lock(handle, folder, flag):
            _remove_begun(folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path, flag: str) -> bool:
    """Whether the folder is ours alone; False where it cannot be known."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(f"another run is writing into {folder}; wait for its end, or choose another {flag}") from None
    except OSError:
        return False
    return True


def _remove_begun(folder: Path) -> None:
    """Removes what write_whole leaves where it is killed: `.0.json.x1y2z3.tmp`."""
    for path in folder.glob(".*.json.*.tmp"):
        path.unlink(missing_ok=True)

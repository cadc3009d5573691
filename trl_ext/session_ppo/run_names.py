"""What runs and checkpoints are called where several are shown together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pasa.errors import ConfigError


def names_of(folders: Sequence[Path], flag: str) -> list[str]:
    """What each folder is called: the end of its path, no longer than it takes to tell it from the others'.

    Raises ConfigError, which names `flag`, where a folder is named twice.
    """
    paths = [folder.resolve().parts for folder in folders]
    if len(set(paths)) < len(paths):
        raise ConfigError(f"{flag} names a folder twice")
    names = []
    for path in paths:
        length = next(n for n in range(1, len(path) + 1) if sum(other[-n:] == path[-n:] for other in paths) == 1)
        names.append(Path(*path[-length:]).as_posix())
    return names

"""Small libraries to look into, built from rows given in the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pasa.library import Library, build_library
from tests.library_rows import Row, write_rows


@pytest.fixture
def library_of(tmp_path: Path) -> Iterator[Callable[..., Library]]:
    """Builds (or adds to) one library from rows and opens it."""
    opened = []

    def build(*rows: Row, fresh: bool = True) -> Library:
        build_library([write_rows(tmp_path / "rows.jsonl", list(rows))], tmp_path / "L", fresh=fresh)
        opened.append(Library.open(tmp_path / "L"))
        return opened[-1]

    yield build
    for library in opened:
        library.close()

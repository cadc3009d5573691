"""Files of papers for the library's tests."""

from __future__ import annotations

import json
from pathlib import Path

Row = dict[str, object]


def write_rows(path: Path, rows: list[Row]) -> Path:
    """`path`, now a JSON-lines file of these rows."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path

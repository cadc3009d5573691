"""metrics.jsonl: a line a step and an evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pasa.results import write_whole

METRICS_FILE = "metrics.jsonl"


def cut_back(path: Path, step: int) -> None:
    """Leaves those lines of metrics.jsonl that belong to the first `step` steps; a line cut off by a kill goes too."""
    if path.is_file():
        kept = [json.dumps(line) + "\n" for line in read_metrics(path) if line["step"] <= step]
        write_whole(path, "".join(kept))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; one that a kill cut off is left out, and so is a file that is not there."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            line = json.loads(text)
            line["step"] + 0
        except (ValueError, KeyError, TypeError):
            continue
        lines.append(line)
    return lines

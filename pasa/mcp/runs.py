"""Finished runs that clients may ask for again, the last ones only."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass

from pasa.export.run_view import ExportedRun

_ID_BYTES = 8  # nobody guesses another client's run


@dataclass(frozen=True)
class KeptRun:
    run: ExportedRun
    notes: list[str]


class KeptRuns:
    """The last `size` runs by id. Used from one event loop."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._runs: OrderedDict[str, KeptRun] = OrderedDict()

    def add(self, kept: KeptRun) -> str:
        """The id it is kept under."""
        run_id = secrets.token_hex(_ID_BYTES)
        self._runs[run_id] = kept
        if len(self._runs) > self.size:
            self._runs.popitem(last=False)
        return run_id

    def get(self, run_id: str) -> KeptRun | None:
        return self._runs.get(run_id)

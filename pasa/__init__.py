"""An open paper-search agent: `from pasa import PaperAgent`.

The rest of the events are in pasa.events, of the errors in pasa.errors. Names come up when they are first asked for, so
that `import pasa` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pasa.api import PaperAgent
    from pasa.errors import PasaError
    from pasa.events import PaperScored, RunDone, RunResult
    from pasa.paper import Paper
    from pasa.query import Query
    from pasa.result_tree import RankedPaper

__all__ = ["Paper", "PaperAgent", "PaperScored", "PasaError", "Query", "RankedPaper", "RunDone", "RunResult"]

_HOMES = {
    "Paper": "pasa.paper",
    "PaperAgent": "pasa.api",
    "PaperScored": "pasa.events",
    "PasaError": "pasa.errors",
    "Query": "pasa.query",
    "RankedPaper": "pasa.result_tree",
    "RunDone": "pasa.events",
    "RunResult": "pasa.events",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

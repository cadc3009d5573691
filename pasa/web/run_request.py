"""What a user asks of the page: a question and settings, read from JSON within the server's limits."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from pasa.config import AgentSettings, engine_names
from pasa.errors import ConfigError
from pasa.query import Query, make_query, parse_date, parse_seeds

QUESTION_CHARACTERS = 2000
SEEDS = 20
SEED_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one run may be given, whatever is asked."""

    expand_layers: int = 4
    search_queries: int = 20
    search_papers: int = 500
    expand_papers: int = 100
    max_papers_scored: int = 5000
    max_model_calls: int = 6000
    max_seconds: float = 900.0


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A question and what its run is told; None leaves a setting to the engine's own configuration."""

    question: str
    engine: str  # as config's engine: one name, or several with commas between
    end_date: str | None = None  # YYYY-MM-DD
    seeds: tuple[str, ...] = ()  # as parse_seeds gives them
    expand_layers: int | None = None
    search_queries: int | None = None
    search_papers: int | None = None
    expand_papers: int | None = None
    select_threshold: float | None = None
    stop_when_saturated: int | None = None
    max_papers_scored: int | None = None
    max_model_calls: int | None = None
    max_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data that read_run_request takes; what was not asked is left out."""
        asked = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asked.items() if v is not None and v != ()}

    def query(self) -> Query:
        """The agent's query."""
        end_date = dt.date.fromisoformat(self.end_date) if self.end_date else None
        return make_query(self.question, end_date, self.seeds)

    def settings(self, usual: AgentSettings, limits: Limits) -> AgentSettings:
        """The run's settings: as asked, else `usual`; never more than the limits."""
        asked = {name: getattr(self, name) for name in NUMBERS if getattr(self, name) is not None}
        return _within(replace(usual, **asked), limits)


@dataclass(frozen=True, slots=True)
class _Number:
    low: float
    whole: bool = True
    high: float = math.inf  # where Limits names no other


NUMBERS = {
    "expand_layers": _Number(0),
    "search_queries": _Number(1),
    "search_papers": _Number(1),
    "expand_papers": _Number(0),
    "select_threshold": _Number(0, whole=False, high=1),
    "stop_when_saturated": _Number(1, high=10_000),
    "max_papers_scored": _Number(1),
    "max_model_calls": _Number(1),
    "max_seconds": _Number(1, whole=False),
}


def read_run_request(asked: Any, usual_engine: str, limits: Limits) -> RunRequest:
    """The request in a JSON value. Raises ConfigError, a line that names the field and says what to do."""
    if not isinstance(asked, Mapping):
        raise ConfigError("send a JSON object with a `question`")
    unknown = [str(name) for name in asked if name not in _FIELDS]
    if unknown:
        raise ConfigError(f"unknown setting {unknown[0][:40]!r}; known are {', '.join(_FIELDS)}")
    question = _text(asked, "question", QUESTION_CHARACTERS)
    end_date = _text(asked, "end_date", SEED_CHARACTERS)
    day = parse_date(end_date, "the latest date").isoformat() if end_date.strip() else None
    numbers: dict[str, Any] = {
        name: _number(asked[name], name, limits) for name in NUMBERS if asked.get(name) is not None
    }
    return RunRequest(
        make_query(question).text, _engine(asked, usual_engine), day, _seeds(asked.get("seeds")), **numbers
    )


_FIELDS = tuple(one.name for one in fields(RunRequest))


def _text(asked: Mapping[str, Any], name: str, characters: int) -> str:
    text = asked.get(name) or ""
    if not isinstance(text, str):
        raise ConfigError(f"{name} must be a text")
    if len(text) > characters:
        raise ConfigError(f"{name} has {len(text):,} characters; {characters:,} are the most")
    return text


def _engine(asked: Mapping[str, Any], usual: str) -> str:
    return ",".join(engine_names(_text(asked, "engine", SEED_CHARACTERS) or usual))


def _seeds(asked: Any) -> tuple[str, ...]:
    lines = [asked] if isinstance(asked, str) else asked or []
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ConfigError("seeds must be a list of texts: arXiv ids, their URLs, or exact titles")
    if any(len(line) > SEED_CHARACTERS for line in lines):
        raise ConfigError(f"a seed paper is named in {SEED_CHARACTERS} characters at most")
    seeds = parse_seeds([line for line in lines if line.strip()], "seed paper")
    if len(seeds) > SEEDS:
        raise ConfigError(f"{len(seeds)} seed papers are named; {SEEDS} are the most")
    return seeds


def _number(value: Any, name: str, limits: Limits) -> float:
    bounds = NUMBERS[name]
    high = getattr(limits, name, bounds.high)
    usable = isinstance(value, int) or (isinstance(value, float) and not bounds.whole)
    if isinstance(value, bool) or not usable or not bounds.low <= value <= high:
        kind = "a whole number" if bounds.whole else "a number"
        raise ConfigError(f"{name} is {str(value)[:40]!r}; it takes {kind} from {bounds.low:g} to {high:g}")
    return value


def _within(settings: AgentSettings, limits: Limits) -> AgentSettings:
    """The settings cut to the limits. Every run has an end; budgets on calls, which make a crawl go slower and in
    step, are set only where they are asked for."""
    most = asdict(limits)
    seconds = min(settings.max_seconds or limits.max_seconds, limits.max_seconds)
    own = {name: getattr(settings, name) for name in most}
    cut = {name: min(value, most[name]) for name, value in own.items() if value is not None}
    return replace(settings, **{**cut, "max_seconds": seconds})

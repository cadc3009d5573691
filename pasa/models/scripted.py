"""Models that answer from a script: for tests, benchmarks and replayed runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pasa.errors import ModelError
from pasa.models.base import CrawlRequest, ModelUsage, Reply, Sampling, SelectRequest

Replies = Mapping[str, str] | Callable[[CrawlRequest, Sampling], str]
Scores = Mapping[str, float] | Callable[[SelectRequest], float]

Value = TypeVar("Value")

# How much of an unknown prompt an error shows.
SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """One call of a scripted model: its prompts, in order."""

    prompts: tuple[str, ...]
    sampling: Sampling | None = None  # None for a scorer

    @property
    def batch_size(self) -> int:
        return len(self.prompts)


class ScriptedGenerator:
    """Replies by prompt, from a mapping or a function; `calls` records what was asked."""

    def __init__(self, replies: Replies, seconds_per_call: float = 0.0, name: str = "scripted") -> None:
        self.name = name
        self.description = f"{name} replies"
        self.usage = ModelUsage()
        self.calls: list[ScriptedCall] = []
        self._replies = replies
        self._seconds_per_call = seconds_per_call

    def generate(self, requests: Sequence[CrawlRequest], sampling: Sampling) -> list[Reply]:
        """One reply a request, in order. Raises ModelError for a prompt that is not in the mapping."""
        self.calls.append(ScriptedCall(tuple(r.prompt for r in requests), sampling))
        time.sleep(self._seconds_per_call)
        replies = [Reply(self._reply(request, sampling)) for request in requests]
        self.usage.requests += len(requests)
        return replies

    def _reply(self, request: CrawlRequest, sampling: Sampling) -> str:
        if callable(self._replies):
            return self._replies(request, sampling)
        return _look_up(self._replies, request.prompt, "reply")


class ScriptedScorer:
    """Scores by prompt, from a mapping or a function; `calls` records what was asked."""

    def __init__(self, scores: Scores, seconds_per_call: float = 0.0, name: str = "scripted") -> None:
        self.name = name
        self.description = f"{name} scores"
        self.usage = ModelUsage()
        self.calls: list[ScriptedCall] = []
        self._scores = scores
        self._seconds_per_call = seconds_per_call

    def score(self, requests: Sequence[SelectRequest]) -> list[float]:
        """One score a request, in order. Raises ModelError for a prompt that is not in the mapping."""
        self.calls.append(ScriptedCall(tuple(r.prompt for r in requests)))
        time.sleep(self._seconds_per_call)
        scores = [self._score(request) for request in requests]
        self.usage.requests += len(requests)
        return scores

    def _score(self, request: SelectRequest) -> float:
        if callable(self._scores):
            return self._scores(request)
        return _look_up(self._scores, request.prompt, "score")


def _look_up(script: Mapping[str, Value], prompt: str, what: str) -> Value:
    if prompt not in script:
        head = " ".join(prompt.split())[:SHOWN_CHARACTERS]
        raise ModelError(f"the script has no {what} for the prompt that begins {head!r}")
    return script[prompt]

"""What the agent asks of its two models: a Generator writes, a Scorer judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from pasa.paper import Paper


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a Generator decodes. `temperature` 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 512
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class CrawlRequest:
    """The start of one Crawler session.

    `prompt` is the rendered user message, which language models read; the other fields are what it was rendered
    from, which models without a language model read.
    """

    kind: Literal["search", "expand"]
    query: str
    prompt: str
    title: str = ""  # of the paper whose sections are offered; "" in a search session
    abstract: str = ""
    section_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """A Generator's answer to one request; token ids are there when the model runs in this process."""

    text: str
    finish_reason: Literal["stop", "length"] = "stop"
    prompt_ids: tuple[int, ...] = ()
    reply_ids: tuple[int, ...] = ()
    prompt_tokens: int = 0
    reply_tokens: int = 0
    dollars: float = 0.0  # 0 where the price is not known


class Score(float):
    """A Selector's score that says what asking for it took, of models that count their tokens, and why it is so."""

    prompt_tokens: int
    reply_tokens: int
    dollars: float  # 0 where the price is not known
    reason: str  # why, in words for whoever reads the results; "" where the model gave none

    def __new__(
        cls, value: float, prompt_tokens: int = 0, reply_tokens: int = 0, dollars: float = 0.0, reason: str = ""
    ) -> Score:
        score = super().__new__(cls, value)
        score.reason = reason
        score.prompt_tokens, score.reply_tokens, score.dollars = prompt_tokens, reply_tokens, dollars
        return score


@dataclass(frozen=True, slots=True)
class SelectRequest:
    """One (query, paper) pair to judge; `prompt` is rendered from the other fields.

    `as_chat`: the prompt is a user message for a general chat model, whose score is the share of True among True and
    False; else it is sent raw, and the score is the probability of True among all tokens.
    """

    query: str
    title: str
    abstract: str
    prompt: str
    as_chat: bool = False


@dataclass(frozen=True, slots=True)
class FoundPapers:
    """What a finished crawl found, for whoever gives the final scores; places in `papers` stand for papers."""

    question: str  # "" where no session tells it
    papers: tuple[Paper, ...]
    scores: tuple[float, ...]  # of the Selector, one a paper
    citations: tuple[tuple[int, int], ...]  # distinct (citing, cited) that the expanded sections show, sorted
    hit_places: tuple[int | None, ...]  # among what the first search query found, from 0; None = not found by it


@runtime_checkable
class Generator(Protocol):
    """Writes the Crawler's actions."""

    name: str

    def generate(self, requests: Sequence[CrawlRequest], sampling: Sampling) -> list[Reply]:
        """One reply a request, in order. Called by one thread at a time, unless SideBySide. Raises ModelError."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Gives the Selector's scores."""

    name: str

    def score(self, requests: Sequence[SelectRequest]) -> list[float]:
        """One score in [0, 1] a request, in order. Called by one thread at a time, unless SideBySide; ModelError."""
        ...


@runtime_checkable
class Explainer(Protocol):
    """A Scorer that can also say why (pasa/models/reasons.py)."""

    def explain(self, requests: Sequence[SelectRequest]) -> list[Reply]:
        """Why each paper answers its query, on one line, a reply a request, in order. Called as `score` is."""
        ...


@runtime_checkable
class SideBySide(Protocol):
    """A Generator or Scorer that does not gain by batches of ours: a server's, which forms its own.

    Each request is handed over by itself, in a thread of its own, as soon as it is there: none waits for the longest
    reply of a batch.
    """

    requests_at_once: int  # at most; this many threads may call at the same time


@dataclass
class ModelUsage:
    """Running totals of one model: requests answered and tokens, and dollars where the price is known."""

    requests: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    dollars: float = 0.0

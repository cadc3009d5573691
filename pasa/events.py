"""What a run tells while it goes: one stream for the progress bar, the run log, the page and RL rollouts.

Events come in the order in which things happened, which for work that runs side by side depends on timing; the
sessions, the tree and the ranking do not.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from pasa.config import AgentSettings
from pasa.crawler import Session
from pasa.models.base import Reply, Score
from pasa.paper import Paper
from pasa.query import Query
from pasa.result_tree import Node, RankedPaper

WayKind = Literal["search", "section", "cited_by", "seed"]


@dataclass(slots=True)
class RunStats:
    """Running totals of one run."""

    papers_found: int = 0  # distinct papers in the queue
    papers_scored: int = 0  # distinct papers whose score was asked for
    papers_selected: int = 0
    searches: int = 0  # search actions carried out
    papers_expanded: int = 0  # expand sessions held
    crawler_calls: int = 0
    selector_calls: int = 0
    seconds: float = 0.0
    problems: Counter[str] = field(default_factory=Counter)  # reason -> how often; what was skipped and why
    budget_reached: str | None = (
        None  # the budget that ended the run: papers_scored, model_calls, seconds; or "saturated", "stopped"
    )
    prompt_tokens: int = 0  # of Crawler and Selector, where their models count them
    reply_tokens: int = 0
    dollars: float = 0.0  # where the price is known
    started: str = field(default="", compare=False)  # UTC, ISO 8601, to the second

    def count_tokens(self, answer: Reply | float) -> None:
        """Adds what an answer of a model took."""
        if isinstance(answer, Reply | Score):
            self.prompt_tokens += answer.prompt_tokens
            self.reply_tokens += answer.reply_tokens
            self.dollars += answer.dollars

    @property
    def model_calls(self) -> int:
        """Crawler replies and Selector scores asked for."""
        return self.crawler_calls + self.selector_calls


@dataclass(frozen=True, slots=True)
class Way:
    """One way to papers: a search, a section read, who cites a paper, or a seed; what it led to, met before or not."""

    kind: WayKind
    name: str  # search query, section name, or the seed as it was named
    layer: int
    run: int  # of an ensemble
    of: Paper | None  # the paper whose section or citing papers they are
    found: tuple[Paper, ...]  # the distinct papers, in order
    new: int  # how many of them were met for the first time
    engines: tuple[tuple[str, ...], ...] = ()  # of each paper, where several engines searched as one


@dataclass(frozen=True, slots=True)
class LayerStarted:
    layer: int  # 0 = search, then the expand layers from 1
    papers: int  # how many papers it will try to expand; 0 in the search layer
    run: int = 0  # of an ensemble


@dataclass(frozen=True, slots=True)
class ActionsTaken:
    """A Crawler reply was read; the session's papers are not known yet."""

    layer: int
    title: str  # of the paper expanded, "" in a search session
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PapersFound:
    """Papers that were not known to the run before; `by` is the search query or section that led to them."""

    count: int
    by: str
    parent: str = ""  # title of the paper whose section it is, "" for a search or a seed
    papers: tuple[Paper, ...] = ()  # in order


@dataclass(frozen=True, slots=True)
class PaperScored:
    paper: Paper
    score: float
    selected: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """Something was skipped; `reason` is the key under which RunStats.problems counts it."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class SessionDone:
    session: Session


@dataclass(frozen=True, slots=True)
class LayerDone:
    layer: int
    new_papers: int
    run: int = 0


@dataclass(frozen=True, slots=True)
class RunDone:
    result: RunResult


@dataclass(frozen=True, slots=True)
class RunResult:
    """What one query's run gave."""

    query: Query
    root: Node
    papers: list[RankedPaper]
    sessions: list[Session]  # in the defined order: layer by layer, papers in the order they were expanded
    stats: RunStats
    settings: AgentSettings | None = None  # what the crawl was told; None where there was none
    ways: list[Way] = field(default_factory=list)  # how papers were come by, in the order in which they were filed

    @property
    def selected(self) -> list[RankedPaper]:
        """The papers that answer the query, best first."""
        return [paper for paper in self.papers if paper.selected]


Event = LayerStarted | ActionsTaken | PapersFound | PaperScored | Problem | SessionDone | LayerDone | RunDone

"""Where rollouts search and read: a library, or live engines with a cache and a budget of calls.

Environment (engine, source, kept answers)  <-  StepWorkers (threads, batches)  <-  QueryWorkers (what one query sees)
"""

from __future__ import annotations

import datetime as dt
import math
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from pasa.config import AgentSettings, Settings, ToolSettings
from pasa.errors import PasaError, ToolError
from pasa.library import Library
from pasa.models.base import CrawlRequest, Reply, Sampling, SelectRequest
from pasa.paper import Paper, Reference, Section
from pasa.tool_assembly import ENGINE_KINDS, build_tools, choose_engine
from pasa.tools.base import PaperSource, SearchEngine, SearchHit, lost_items
from pasa.workers import Workers
from trl_ext.session_ppo.hidden import HiddenPapers

T = TypeVar("T")

# Answers kept in memory. A step of 4 queries asks for a few hundred.
KEPT_ANSWERS = 20_000
# Hidden papers are few: the source and, rarely, another version of it. So many more hits are asked for in their place.
HITS_FOR_HIDDEN = 3
OVER_BUDGET = "call budget"  # the kind of the ToolError that tells of a spent budget


class CallBudget:
    """How many calls of live services a run may still make; None = without end. Safe from many threads."""

    def __init__(self, limit: int | None = None, spent: int = 0) -> None:
        self.limit = limit
        self.spent = spent
        self._lock = threading.Lock()

    def take(self, calls: int = 1) -> None:
        """Counts calls; raises ToolError when they are more than are left."""
        with self._lock:
            if self.limit is not None and self.spent + calls > self.limit:
                raise ToolError(
                    f"the budget of {self.limit} calls of services is spent; raise call_budget or train on a library",
                    service="rollouts",
                    kind=OVER_BUDGET,
                )
            self.spent += calls


class Kept(Generic[T]):
    """Answers by key, the newest KEPT_ANSWERS; failures are not kept. Safe from many threads."""

    def __init__(self, size: int = KEPT_ANSWERS) -> None:
        self._size = size
        self._answers: OrderedDict[Hashable, T] = OrderedDict()
        self._under_way: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()
        self._in_doubt: set[Hashable] = set()
        self.asked: Counter[str] = Counter()  # "kept", "new"

    def is_in_doubt(self, key: Hashable) -> bool:
        """Whether the last answer to `key` was a None that a failure may stand behind."""
        return key in self._in_doubt

    def get(self, key: Hashable, ask: Callable[[], T]) -> T:
        """What `ask` gives, or gave before; threads that come at the same time wait for one of them to ask."""
        with self._lock:
            turn = self._under_way.setdefault(key, threading.Lock())
        with turn:
            try:
                return self.get_many([key], lambda _: [ask()])[0]
            finally:
                with self._lock:
                    self._under_way.pop(key, None)

    def get_many(self, keys: Sequence[Hashable], ask: Callable[[list[int]], Sequence[T]]) -> list[T]:
        """The answer to each key; `ask` is given the places of those that are not kept, and answers in their order.

        Where a source lost items of what was asked, a None may stand for one: it is not kept, and its key is in doubt
        until it is answered.
        """
        with self._lock:
            known = {key: self._answers[key] for key in keys if key in self._answers}
        first_places = {key: i for i, key in reversed(list(enumerate(keys)))}
        missing = sorted(i for key, i in first_places.items() if key not in known)
        lost_before = lost_items()
        asked = dict(zip((keys[i] for i in missing), ask(missing), strict=True)) if missing else {}
        has_failed = lost_items() > lost_before
        answers = known | asked
        with self._lock:
            self.asked["kept"] += len(known)
            self.asked["new"] += len(asked)
            self._in_doubt.difference_update(answers)
            for key in keys:
                if key in asked and asked[key] is None and has_failed:
                    self._in_doubt.add(key)
                    continue
                self._answers[key] = answers[key]  # known ones as well: another thread may have pushed them out
                self._answers.move_to_end(key)
            while len(self._answers) > self._size:
                self._answers.popitem(last=False)
        return [answers[key] for key in keys]


class _Partial(Exception):
    """The hits of a search that one of several engines failed at."""

    def __init__(self, hits: list[SearchHit]) -> None:
        super().__init__()
        self.hits = hits


class KeptSearch:
    """An engine that is asked for the same search once, and again where one of several engines failed."""

    def __init__(self, engine: SearchEngine, budget: CallBudget) -> None:
        self.name = engine.name
        self._engine = engine
        self._budget = budget
        self.kept: Kept[list[SearchHit]] = Kept()

    def search(self, query: str, limit: int, end_date: dt.date | None = None) -> list[SearchHit]:
        """The engine's hits; ToolError also when the budget of calls is spent."""

        def ask() -> list[SearchHit]:
            self._budget.take()
            lost_before = lost_items()
            hits = self._engine.search(query, limit, end_date)
            if lost_items() > lost_before:
                raise _Partial(hits)
            return hits

        try:
            return list(self.kept.get((query, limit, end_date), ask))
        except _Partial as partial:
            return partial.hits


class KeptSource:
    """A source that is asked for the same page, id and reference once, and again where a part of a look-up failed."""

    def __init__(self, source: PaperSource, budget: CallBudget) -> None:
        self.name = source.name
        self._source = source
        self._budget = budget
        self.pages: Kept[tuple[Section, ...] | None] = Kept()
        self.papers: Kept[Paper | None] = Kept()

    def papers_by_id(self, arxiv_ids: Sequence[str]) -> dict[str, Paper]:
        """The papers known by these ids."""

        def ask(places: list[int]) -> list[Paper | None]:
            self._budget.take()
            found = self._source.papers_by_id([arxiv_ids[i] for i in places])
            return [found.get(arxiv_ids[i]) for i in places]

        papers = self.papers.get_many([("id", arxiv_id) for arxiv_id in arxiv_ids], ask)
        return {i: paper for i, paper in zip(arxiv_ids, papers, strict=True) if paper is not None}

    def papers_by_reference(self, references: Sequence[Reference]) -> list[Paper | None]:
        """The paper that each reference means."""

        def ask(places: list[int]) -> list[Paper | None]:
            self._budget.take()
            return self._source.papers_by_reference([references[i] for i in places])

        return self.papers.get_many(references, ask)

    def sections(self, paper: Paper) -> tuple[Section, ...] | None:
        """The paper's sections; None where there is no full text."""
        if paper.sections is not None:
            return paper.sections

        def ask() -> tuple[Section, ...] | None:
            self._budget.take()
            return self._source.sections(paper)

        return self.pages.get(paper.key, ask)

    def is_in_doubt(self, asked: Reference | str) -> bool:
        """Whether a reference or an arXiv id was told as unknown in a look-up that failed in part."""
        if isinstance(asked, str):
            return self.papers.is_in_doubt(("id", asked))
        return self.papers.is_in_doubt(asked)


@dataclass(frozen=True)
class Environment:
    """What rollouts act on. `cuts_off`: whether papers later than a query's date are kept from it."""

    engine: SearchEngine
    source: PaperSource
    cuts_off: bool
    budget: CallBudget
    description: str = ""
    library: Library | None = None

    def asked(self) -> dict[str, int]:
        """Searches and pages so far: those that were kept, and those that were asked for."""
        counts: Counter[str] = Counter()
        if isinstance(self.engine, KeptSearch) and isinstance(self.source, KeptSource):
            counts.update({f"searches_{kind}": n for kind, n in self.engine.kept.asked.items()})
            counts.update({f"pages_{kind}": n for kind, n in self.source.pages.asked.items()})
        return dict(counts)


def make_environment(
    engine: SearchEngine,
    source: PaperSource,
    cuts_off: bool,
    call_budget: int | None = None,
    description: str = "",
    library: Library | None = None,
) -> Environment:
    """An environment whose answers are kept in memory and whose calls are counted against the budget."""
    budget = CallBudget(call_budget)
    return Environment(
        KeptSearch(engine, budget), KeptSource(source, budget), cuts_off, budget, description or engine.name, library
    )


@contextmanager
def open_environment(
    tools: ToolSettings, agent: AgentSettings, date_cut_off: str = "auto", call_budget: int | None = None
) -> Iterator[Environment]:
    """The environment that the settings name; closed with the context.

    `date_cut_off`: "true", "false", or "auto" = on for live engines, off for a library. Raises UserErrors.
    """
    with ExitStack() as parts:
        choice = choose_engine(tools)
        is_live = any(ENGINE_KINDS[name].is_live for name in choice.names)
        found = build_tools(Settings(agent=agent, tools=tools), choice, parts)
        cuts_off = is_live if date_cut_off == "auto" else date_cut_off == "true"
        words = [f"{choice.name} ({choice.reason})", "date cut-off" if cuts_off else "no date cut-off"]
        yield make_environment(
            found.engine,
            found.source,
            cuts_off,
            call_budget if is_live else None,
            ", ".join(words),
            found.library,
        )


class QueryWorkers(Workers):
    """What one query's crawl may ask: the workers that all crawls share, less the papers hidden from the query."""

    def __init__(self, shared: Workers, hidden: HiddenPapers) -> None:
        self._shared = shared
        self._hidden = hidden
        # What was asked in vain: a reward that depends on it would teach something false.
        self.failed_searches: set[str] = set()  # also those with a result that could not be looked up
        self._searched_by: dict[str, set[str]] = {}  # arXiv id -> the searches that found it
        self.failed_references: set[str] = set()  # titles as cited
        self.failed_scores: set[str] = set()  # titles

    async def generate(self, request: CrawlRequest, sampling: Sampling) -> Reply:
        return await self._shared.generate(request, sampling)

    async def score(self, request: SelectRequest) -> float:
        try:
            score = await self._shared.score(request)
        except PasaError:
            self.failed_scores.add(request.title)
            raise
        if not math.isfinite(score):  # the crawl takes it for a failure
            self.failed_scores.add(request.title)
        return score

    async def paper_by_id(self, arxiv_id: str) -> Paper | None:
        try:
            return self._shown(await self._shared.paper_by_id(arxiv_id))
        except PasaError:
            self.failed_searches |= self._searched_by.get(arxiv_id, set())
            raise

    async def paper_by_reference(self, reference: Reference) -> Paper | None:
        try:
            return self._shown(await self._shared.paper_by_reference(reference))
        except PasaError:
            self.failed_references.add(reference.title)
            raise

    async def search(self, query: str, limit: int, end_date: dt.date | None) -> list[SearchHit]:
        """At most `limit` hits that are not hidden; a failed search is noted."""
        wanted = limit + HITS_FOR_HIDDEN if self._hidden.any else limit
        try:
            hits = await self._shared.search(query, wanted, end_date)
        except PasaError:
            self.failed_searches.add(query)
            raise
        shown = [hit for hit in hits if not self._hidden.hides_hit(hit)][:limit]
        for hit in shown:
            if hit.arxiv_id:
                self._searched_by.setdefault(hit.arxiv_id, set()).add(query)
        return shown

    async def sections(self, paper: Paper) -> tuple[Section, ...] | None:
        return await self._shared.sections(paper)

    async def citing_papers(self, paper: Paper, limit: int) -> list[Paper]:
        papers = await self._shared.citing_papers(paper, limit + HITS_FOR_HIDDEN if self._hidden.any else limit)
        return [paper for paper in papers if not self._hidden.hides(paper)][:limit]

    def close(self) -> None:
        """The shared workers stay."""

    def _shown(self, paper: Paper | None) -> Paper | None:
        return None if paper is None or self._hidden.hides(paper) else paper

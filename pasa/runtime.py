"""The agent: runs queries against two models, a search engine and a paper source, and tells what happens."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import datetime as dt
import queue
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from pasa.budget import Budget
from pasa.config import AgentSettings
from pasa.crawl import ChoosePapers, Crawl, Shared
from pasa.errors import ConfigError, ModelError, PasaError, ToolError
from pasa.events import Event, PaperScored, Problem, RunDone, RunResult, RunStats
from pasa.look_ups import LookUps
from pasa.models.base import Generator, Scorer, SelectRequest
from pasa.paper import Paper
from pasa.paper_queue import next_to_expand
from pasa.prompts import select_request
from pasa.query import Query, make_query
from pasa.reranking import Rerank, rerank_nodes
from pasa.result_tree import Node, rank, unite
from pasa.selector import Selector
from pasa.tools.base import CitationSource, PaperSource, SearchEngine
from pasa.waiting import each_until
from pasa.workers import Workers


class PaperAgent:
    """Finds papers for questions. Safe to use from several threads at once: their model calls share batches.

    `choose_papers` picks the papers of a layer that are expanded; RL gives its own. `look_ups_at_once`: batches of
    metadata and of references under way at once; arXiv's API takes one request at a time. `rerank` gives the scores of
    the final ranking; without it they are the Selector's. `citations` knows who cites a paper; by default the source
    does, where it can. `retries` tells how many calls failed so far and were made again, by reason. Raises ConfigError
    when the settings ask for citing papers and nobody knows any.
    """

    def __init__(
        self,
        generator: Generator,
        scorer: Scorer,
        engine: SearchEngine,
        source: PaperSource,
        settings: AgentSettings | None = None,
        choose_papers: ChoosePapers = next_to_expand,
        look_ups_at_once: int = 1,
        rerank: Rerank | None = None,
        citations: CitationSource | None = None,
        retries: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self.settings = settings or AgentSettings()
        if citations is None and isinstance(source, CitationSource):
            citations = source
        if self.settings.cited_by and citations is None:
            raise ConfigError(
                f"cited_by is {self.settings.cited_by}, but {source.name} does not know who cites a paper"
            )
        self._citations = citations
        self._engine = engine
        self._source = source
        self._choose_papers = choose_papers
        self._rerank = rerank
        self._workers = Workers(
            generator, scorer, engine, source, self.settings.threads_num, look_ups_at_once, citations
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="pasa-loop", daemon=True)
        self._thread.start()
        self._retries = retries
        self._ranking = concurrent.futures.ThreadPoolExecutor(1, "pasa-ranking")  # other runs go on meanwhile
        self._runs: set[_Run] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, query: Query | str, on_event: Callable[[Event], None] | None = None) -> RunResult:
        """The result of one query; `on_event` hears every event, in this thread."""
        for event in self.stream(query):
            if on_event:
                on_event(event)
            if isinstance(event, RunDone):
                return event.result
        raise AssertionError("a run ends with RunDone")

    def stream(self, query: Query | str, settings: AgentSettings | None = None) -> Iterator[Event]:
        """The events of one query's run as they happen; the last is RunDone. Closing the iterator ends the run.

        `settings`: of this run, in place of the agent's; its `threads_num`, `undated` and `cited_by` stay the agent's.
        Raises ConfigError (empty query), ToolError (no search worked), ModelError (a model never answered).
        """
        events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        run = self._start(query, events.put, settings)
        try:
            while (event := events.get()) is not None:
                yield event
            run.check()
        finally:
            self._give_up(run)

    async def astream(self, query: Query | str, settings: AgentSettings | None = None) -> AsyncGenerator[Event, None]:
        """`stream` for callers on an event loop of their own, which it never blocks."""
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event | None] = asyncio.Queue()

        def emit(event: Event | None) -> None:
            with contextlib.suppress(RuntimeError):  # the caller's loop was closed: nobody listens any more
                loop.call_soon_threadsafe(events.put_nowait, event)

        run = self._start(query, emit, settings)
        try:
            while (event := await events.get()) is not None:
                yield event
            run.check()
        finally:
            self._give_up(run)

    def put_between(
        self, workers: Callable[[Workers], Workers], rerank: Callable[[Rerank | None], Rerank | None]
    ) -> None:
        """Puts something between crawls and what they ask, before the first of them: a recorder, or a replay."""
        self._workers = workers(self._workers)
        self._rerank = rerank(self._rerank)

    def stop(self, query: Query | None = None) -> bool:
        """Ends the runs of this query object, or all, now and cleanly: they give what they found so far.

        False where there was none to end.
        """
        endings = [run.ending for run in list(self._runs) if query is None or run.query is query]
        for ending in endings:
            self._loop.call_soon_threadsafe(ending.ask)
        return bool(endings)

    def _start(self, query: Query | str, emit: Callable[[Event | None], None], settings: AgentSettings | None) -> _Run:
        """A run under way; its events go to `emit`, then None. They are emitted in the thread of this agent's loop."""
        query = make_query(query) if isinstance(query, str) else query
        if self._loop.is_closed():
            raise RuntimeError("this agent is closed; make a new one")
        own = self.settings
        if settings is not None:  # tools and threads were made for the agent's
            own = replace(settings, threads_num=own.threads_num, undated=own.undated, cited_by=own.cited_by)
        ending = _Ending()
        task = asyncio.run_coroutine_threadsafe(self._run(query, own, emit, ending), self._loop)
        run = _Run(query, task, ending)
        self._runs.add(run)
        task.add_done_callback(lambda _: emit(None))
        return run

    def _give_up(self, run: _Run) -> None:
        self._runs.discard(run)
        run.task.cancel()

    def close(self) -> None:
        """Lets threads go; runs under way are given up."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result()
        self._ranking.shutdown(cancel_futures=True)
        self._workers.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _run(self, query: Query, settings: AgentSettings, emit: Callable[[Event], None], ending: _Ending) -> None:
        stats = RunStats(started=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))
        failures_before = self._tool_failures()
        with contextlib.closing(Budget(settings, stats)) as budget:
            ending.begin(budget)
            shared = self._share(query, settings, budget, stats, emit)
            root = await self._crawl(shared)
            ended = stats.budget_reached
            if not settings.reasons:
                budget.close()
            for reason, items in (self._tool_failures() - failures_before).items():
                stats.problems[reason] += items
            stats.seconds = budget.seconds
            result = await asyncio.get_running_loop().run_in_executor(self._ranking, self._result, shared, root)
            if settings.reasons:
                if ended in (None, "saturated"):
                    result = await self._with_reasons(shared, result)
                stats.budget_reached = ended  # whose time ends while reasons are made has the crawl, which is whole
                stats.seconds = budget.seconds
        emit(RunDone(result))

    async def _crawl(self, shared: Shared) -> Node:
        """The tree of all of the run's crawls."""
        try:
            root = await Crawl(shared, 0, self._choose_papers).go()
            for run in range(1, shared.settings.ensemble_runs):
                if shared.budget.over:
                    break
                try:
                    root = unite(root, await Crawl(shared, run, self._choose_papers).go())
                except (ToolError, ModelError) as error:  # what the first run found stands
                    shared.stats.problems["ensemble run: failed"] += 1
                    shared.emit(Problem("ensemble run: failed", str(error)))
        finally:
            shared.cancel()
        return root

    async def _with_reasons(self, shared: Shared, result: RunResult) -> RunResult:
        """The result with what the Selector says of its best selected papers.

        A reply that fails is counted; who ends the run meanwhile, or its time, has no more of them.
        """
        settings, stats = shared.settings, shared.stats
        left = settings.reasons
        if settings.max_model_calls is not None:
            left = min(left, settings.max_model_calls - stats.model_calls)
        asked = [paper for paper in result.papers if paper.selected and not paper.reason][: max(0, left)]
        stats.selector_calls += len(asked)
        replies = await each_until(shared.budget.interrupted, [self._reason(shared, one.paper) for one in asked])
        if late := replies.count(None):
            stats.problems["stopped: no reason"] += late
        reasons = {one.paper.key: reason for one, reason in zip(asked, replies, strict=True) if reason}
        for node in result.root.walk():
            if node.paper.key in reasons:
                node.extra["reason"] = reasons[node.paper.key]
        return replace(result, papers=rank(result.root, shared.settings.select_threshold))

    async def _reason(self, shared: Shared, paper: Paper) -> str:
        request = select_request(shared.query.text, paper.title, paper.abstract, shared.settings.prompts)
        try:
            reply = await self._workers.explain(request)
        except ModelError as error:
            shared.look_ups.problem("selector: no reason", f"{paper.title}: {error}")
            return ""
        shared.stats.count_tokens(reply)
        return reply.text

    def _tool_failures(self) -> Counter[str]:
        """What engine and source failed at so far, by reason, where they count that; runs side by side share it."""
        counts: Counter[str] = Counter()
        citations = None if isinstance(self._citations, PaperSource) else self._citations  # a source's are look-ups
        for kind, tool in (("search", self._engine), ("look-up", self._source), ("cited by", citations)):
            failures = getattr(tool, "failures", None)
            for reason, items in failures().items() if failures else ():
                counts[f"{kind}: {reason}"] += items
        for reason, times in self._retries().items():
            counts[f"asked again: {reason}"] += times
        return counts

    def _share(
        self, query: Query, settings: AgentSettings, budget: Budget, stats: RunStats, emit: Callable[[Event], None]
    ) -> Shared:
        threshold = settings.select_threshold

        def on_score(paper: Paper, score: float) -> None:
            emit(PaperScored(paper, score, score > threshold))

        async def score(request: SelectRequest) -> float:
            answer = await self._workers.score(request)
            stats.count_tokens(answer)
            return answer

        selector = Selector(query.text, score, on_score, settings.prompts)
        look_ups = LookUps(self._workers, stats, emit)
        return Shared(query, settings, self._workers, budget, selector, stats, emit, look_ups, set(), [])

    def _result(self, shared: Shared, root: Node) -> RunResult:
        threshold = shared.settings.select_threshold
        nodes = list(root.walk())
        if self._rerank:
            rerank_nodes(nodes, shared.sessions, self._rerank)
        papers = rank(root, threshold)
        shared.stats.papers_found = len(papers)
        shared.stats.papers_selected = sum(paper.selected for paper in papers)
        root.extra["crawler_recall_papers"] = [node.paper.title for node in nodes]
        root.extra["recall_papers"] = [node.paper.title for node in nodes if node.score > threshold]
        if shared.query.answer is not None:
            root.extra["answer"] = list(shared.query.answer)
        return RunResult(shared.query, root, papers, shared.sessions, shared.stats, shared.settings, shared.ways)


class _Ending:
    """Whether a run is to end, also where that is asked for before it has begun. Used in the loop's thread."""

    def __init__(self) -> None:
        self._budget: Budget | None = None
        self._is_asked = False

    def begin(self, budget: Budget) -> None:
        self._budget = budget
        if self._is_asked:
            self.ask()

    def ask(self) -> None:
        self._is_asked = True
        if self._budget:
            self._budget.interrupt("stopped")


@dataclass(frozen=True, eq=False)
class _Run:
    """A run under way."""

    query: Query
    task: concurrent.futures.Future[None]
    ending: _Ending

    def check(self) -> None:
        """Raises what the run, which has ended, raised."""
        if self.task.cancelled():
            raise PasaError("the agent was closed while this query ran; ask again")
        self.task.result()


async def _cancel_all() -> None:
    tasks: set[asyncio.Task[Any]] = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)

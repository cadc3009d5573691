"""Rollouts: a step's crawls, driven layer by layer on one event loop, and what came of them.

    queries -> a search session each -> of all papers found so many are drawn -> expand sessions -> and once more

The crawls are pasa's own (pasa/crawl.py) with sampling; they share the policy's and the Selector's batches, and each
sees the environment without what is hidden from its query.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from pasa.budget import Budget
from pasa.config import AgentSettings
from pasa.crawl import Crawl, Shared
from pasa.crawler import Session
from pasa.errors import PasaError
from pasa.events import Event, PaperScored, RunStats
from pasa.look_ups import LookUps
from pasa.models.base import CrawlRequest, Reply, Sampling, SelectRequest
from pasa.models.hf_prompts import MAX_PROMPT_TOKENS
from pasa.paper import Paper
from pasa.paper_queue import next_to_expand
from pasa.result_tree import Node
from pasa.selector import Selector
from pasa.waiting import each, wait_shared
from trl_ext.session_ppo.choice import Candidate, ChoiceOrder, order_candidates
from trl_ext.session_ppo.environment import Environment, QueryWorkers
from trl_ext.session_ppo.generation import StepWorkers
from trl_ext.session_ppo.queries import TrainingQuery
from trl_ext.session_ppo.records import StepSessions
from trl_ext.session_ppo.rewards import MatchScorer, RewardSettings, earned
from trl_ext.session_ppo.sessions import CrawlRecord, step_sessions

HELD_OUT = ("crawler_recall", "papers", "matched", "actions", "reward")  # what is told of a held-out query's crawl


@dataclass(frozen=True)
class RolloutSettings:
    """How sessions are sampled; the numbers of sessions are the paper's, for one device and step."""

    search_sessions: int = 4  # queries of a step, a search session each
    expand_sessions: int = 6  # in each round, on papers found in the round before
    rounds: int = 2  # of expand sessions; 0 = searches alone ("without Expand")
    next_papers: ChoiceOrder = (
        "paper"  # which papers are expanded next: drawn, matches preferred; upstream: the top ones
    )
    match_weight: float = 3.0  # "paper": how many times as likely a match is drawn
    expand_from: Literal["layer", "queue"] = "layer"  # papers of the round before; queue = all not expanded yet
    max_new_tokens: int = 256
    max_prompt_tokens: int = 992  # longer prompts lose the end of their abstract, as the agent's do
    search_queries: int = 5  # actions carried out of a search session at most (upstream: 5)
    search_papers: int = 10  # results of a search (upstream: 5)
    # Of an action the first papers, whose expand session is valued if they have a page; null = all. Where engines are
    # live, each is a page to fetch.
    valued_papers: int | None = None
    generation_batch: int = 16  # sessions written at once
    threads_num: int = 20  # calls of engine and source under way at once

    @property
    def sessions(self) -> int:
        """Of a device and step."""
        return self.search_sessions + self.rounds * self.expand_sessions

    @property
    def longest_prompt(self) -> int:
        """Tokens of the longest prompt that is ever given."""
        return min(MAX_PROMPT_TOKENS, self.max_prompt_tokens)

    def agent(self, seed: int = 0, temperature: float = 1.0) -> AgentSettings:
        """The crawl's settings."""
        return AgentSettings(
            expand_layers=self.rounds,
            first_layer_expand_papers=self.expand_sessions,  # not all: pages of all results would be fetched ahead
            search_queries=self.search_queries,
            search_papers=self.search_papers,
            temperature=temperature,
            max_new_tokens=self.max_new_tokens,
            seed=seed,
            undated="drop",
            search_question_if_no_query=False,  # nobody wrote that action, so that nobody can be rewarded for it
        )


class PolicyWriter(Protocol):
    """The policy as a Generator that also tells how it reads a prompt."""

    name: str

    def generate(self, requests: Sequence[CrawlRequest], sampling: Sampling) -> list[Reply]: ...

    def encode(self, requests: Sequence[CrawlRequest], max_new_tokens: int) -> list[list[int]]: ...


@dataclass
class StepRollouts:
    """What a step's rollouts gave."""

    step: StepSessions
    metrics: dict[str, float]
    failures: list[str] = field(default_factory=list)  # crawls that broke off, a line each
    dropped: Counter[str] = field(default_factory=Counter)  # sessions that cannot be learnt from, by reason
    failed_calls: Counter[str] = field(default_factory=Counter)  # of engine, sources and models, by what was asked


class QueryCrawl:
    """One query's crawl and what is heard of it while it goes."""

    def __init__(
        self,
        query: TrainingQuery,
        environment: Environment,
        shared: StepWorkers,
        agent: AgentSettings,
        alive: Callable[[], None],
    ) -> None:
        """`alive` is called whenever something is heard of the crawl."""
        self._alive = alive
        self.query = query
        self._heard: dict[str, float] = {}  # paper's key -> its score
        self.pages: dict[str, Paper] = {}
        self.nodes: list[Node] = []  # the queue, in order
        self.last_layer: list[Node] = []
        self.expanded: set[str] = set()
        self._looked_up: set[str] = set()
        self.chosen: list[Node] | None = None  # to expand next; None = the agent's own choice
        self.failure: PasaError | None = None
        self.stats = RunStats()
        self._agent = agent
        self.workers = QueryWorkers(shared, query.hidden)
        asked = query.dated(environment.cuts_off)
        self._budget = Budget(agent, self.stats)
        selector = Selector(asked.text, self._score, lambda paper, score: self._hear(PaperScored(paper, score, False)))
        self.look_ups = LookUps(self.workers, self.stats, self._hear)
        self.sessions: list[Session] = []
        self._shared = Shared(
            asked,
            agent,
            self.workers,
            self._budget,
            selector,
            self.stats,
            self._hear,
            self.look_ups,
            set(),
            self.sessions,
        )
        self._layers: AsyncIterator[list[Node]] = Crawl(self._shared, 0, self._choose).layers()

    async def advance(self) -> None:
        """Runs the next layer; what breaks it off is kept in `failure`."""
        if self.failure is not None:
            return
        try:
            self.last_layer = await anext(self._layers)
        except StopAsyncIteration:
            self.last_layer = []
        except PasaError as error:
            self.failure, self.last_layer = error, []
        self.nodes += self.last_layer

    async def has_page(self, paper: Paper) -> bool:
        """Whether the paper has sections, so that an expand session can be held on it; looked up once."""
        if paper.key not in self._looked_up:
            self._looked_up.add(paper.key)
            if sections := await wait_shared(self.look_ups.page(paper)):
                self.pages[paper.key] = replace(paper, sections=sections)
        return paper.key in self.pages

    def begin_pages(self, papers_an_action: int | None) -> None:
        """Begins to look up what `read_pages` will wait for, as far as it is known now."""
        for paper in self._valued(papers_an_action):
            self.look_ups.page(paper)

    async def read_pages(self, papers_an_action: int | None) -> None:
        """Looks up which new papers have pages: of each action the first, `papers_an_action` at most."""
        await each([self.has_page(paper) for paper in self._valued(papers_an_action)])

    def record(self) -> CrawlRecord:
        question = self.query.query.text
        return CrawlRecord(self.query.id, question, self.sessions, self.scores, self.pages, self.workers)

    @property
    def scores(self) -> dict[str, float]:
        """By the papers' keys; in the queue a paper may go by another key than the record that was scored."""
        return self._heard | {node.paper.key: node.score for node in self.nodes}

    def close(self) -> None:
        self._budget.close()
        self._shared.cancel()

    def found_golds(self) -> int:
        return len(self.query.golds & {node.paper.title_key for node in self.nodes})

    def _valued(self, papers_an_action: int | None) -> list[Paper]:
        return [paper for s in self.sessions for o in s.outcomes for paper in o.new[:papers_an_action]]

    async def _score(self, request: SelectRequest) -> float:
        return await self.workers.score(request)

    def _hear(self, event: Event) -> None:
        self._alive()
        if isinstance(event, PaperScored):
            self._heard[event.paper.key] = event.score

    def _choose(self, nodes: list[Node], limit: int | None) -> list[Node]:
        chosen = next_to_expand(nodes, limit) if self.chosen is None else self.chosen
        self.expanded.update(node.paper.key for node in chosen)
        return chosen


class Rollouts:
    """Makes the sessions of a process, step by step. `close` lets its threads go."""

    def __init__(
        self,
        environment: Environment,
        policy: PolicyWriter,
        scorer: MatchScorer,
        settings: RolloutSettings,
        rewards: RewardSettings,
        temperature: float = 1.0,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """`alive` is called whenever something is heard of a crawl."""
        self._alive = alive
        self.environment = environment
        self._temperature = temperature
        self.settings = settings
        self.rewards = rewards
        self.policy = policy
        self.scorer = scorer
        self._workers = StepWorkers(
            policy, scorer, environment.engine, environment.source, settings.threads_num, settings.generation_batch
        )

    def step(self, queries: Sequence[TrainingQuery], seed: int) -> StepRollouts:
        """The sessions of one step on these queries. The same seed and policy give the same sessions.

        A crawl whose search or Selector fails breaks off and is told of in `failures`; its whole sessions stay.
        """
        return asyncio.run(self._step(queries, seed))

    def evaluate(
        self, queries: Sequence[TrainingQuery], agent: AgentSettings
    ) -> tuple[dict[str, dict[str, float]], Counter[str]]:
        """What whole crawls by the agent's settings find, by id of each query that could be crawled; failed calls."""
        return asyncio.run(self._evaluate(queries, agent))

    def close(self) -> None:
        self._workers.close()

    async def _step(self, queries: Sequence[TrainingQuery], seed: int) -> StepRollouts:
        started = time.monotonic()
        agent = self.settings.agent(seed, self._temperature)
        crawls = [QueryCrawl(query, self.environment, self._workers, agent, self._alive) for query in queries]
        try:
            await each([crawl.advance() for crawl in crawls])
            for layer in range(1, self.settings.rounds + 1):
                await self._choose(crawls, random.Random(f"papers {seed} {layer}"))
                for crawl in crawls:  # while the policy writes
                    crawl.begin_pages(self.settings.valued_papers)
                await each([crawl.advance() for crawl in crawls])
            await each([crawl.read_pages(self.settings.valued_papers) for crawl in crawls])
        finally:
            for crawl in crawls:
                crawl.close()
        return self._result(crawls, agent, time.monotonic() - started)

    async def _choose(self, crawls: Sequence[QueryCrawl], rng: random.Random) -> None:
        """Draws the papers of the next round among those that have a page, all crawls together."""
        candidates = [
            Candidate(at, place, node.score, node.score > self._agent_threshold)
            for at, crawl in enumerate(crawls)
            if crawl.failure is None
            for place, node in enumerate(crawl.nodes)
            if self._may_be_expanded(crawl, place, node)
        ]
        ordered = order_candidates(candidates, self.settings.next_papers, self.settings.match_weight, rng)
        drawn: list[Candidate] = []
        while ordered and (wanted := self.settings.expand_sessions - len(drawn)) > 0:
            tried, ordered = ordered[:wanted], ordered[wanted:]
            has_page = await each(
                [crawls[one.crawl].has_page(crawls[one.crawl].nodes[one.place].paper) for one in tried]
            )
            drawn += [one for one, has in zip(tried, has_page, strict=True) if has]
        for at, crawl in enumerate(crawls):
            crawl.chosen = [crawl.nodes[place] for place in sorted(one.place for one in drawn if one.crawl == at)]

    @property
    def _agent_threshold(self) -> float:
        return AgentSettings().select_threshold

    def _may_be_expanded(self, crawl: QueryCrawl, place: int, node: Node) -> bool:
        if node.paper.key in crawl.expanded:
            return False
        return self.settings.expand_from == "queue" or place >= len(crawl.nodes) - len(crawl.last_layer)

    def _result(self, crawls: Sequence[QueryCrawl], agent: AgentSettings, seconds: float) -> StepRollouts:
        records = [crawl.record() for crawl in crawls]
        encode = lambda requests: self.policy.encode(requests, agent.max_new_tokens)  # noqa: E731
        settings = self.settings
        step = step_sessions(records, settings.sessions, self.rewards, agent, encode, settings.valued_papers)
        result = StepRollouts(step, {})
        for crawl, record in zip(crawls, records, strict=True):
            result.dropped.update(record.dropped)
            result.failed_calls.update(failed_calls(crawl))
            if crawl.failure is not None:
                result.failures.append(f"query {crawl.query.id}: {crawl.failure}")
        result.metrics.update(self._metrics(crawls, result, seconds))
        return result

    def _metrics(self, crawls: Sequence[QueryCrawl], result: StepRollouts, seconds: float) -> dict[str, float]:
        count = max(1, len(crawls))
        golds = sum(len(crawl.query.golds) for crawl in crawls)
        return {
            "rollout/queue_size": sum(len(crawl.nodes) for crawl in crawls) / count,
            "rollout/queue_matched": sum(n.score > self._agent_threshold for c in crawls for n in c.nodes) / count,
            "rollout/gold_recall": sum(crawl.found_golds() for crawl in crawls) / max(1, golds),
            "rollout/sessions": float(len(result.step.sessions)),
            "rollout/sessions_missing": float(result.step.size - len(result.step.sessions)),
            "rollout/sessions_dropped": float(sum(result.dropped.values())),
            "rollout/crawls_failed": float(len(result.failures)),
            "rollout/calls_failed": float(sum(result.failed_calls.values())),
            "rollout/starts": float(len(result.step.starts)),
            "rollout/seconds": seconds,
        }

    async def _evaluate(
        self, queries: Sequence[TrainingQuery], agent: AgentSettings
    ) -> tuple[dict[str, dict[str, float]], Counter[str]]:
        crawls = [QueryCrawl(query, self.environment, self._workers, agent, self._alive) for query in queries]

        async def whole(crawl: QueryCrawl) -> None:
            for _ in range(agent.expand_layers + 1):
                await crawl.advance()

        try:
            await each([whole(crawl) for crawl in crawls])
        finally:
            for crawl in crawls:
                crawl.close()
        failed = sum((failed_calls(crawl) for crawl in crawls), Counter[str]())
        return {crawl.query.id: self._score_of(crawl, agent) for crawl in crawls if crawl.failure is None}, failed

    def _score_of(self, crawl: QueryCrawl, agent: AgentSettings) -> dict[str, float]:
        threshold = agent.select_threshold
        earnings = [one for s in crawl.sessions for one in earned(s, crawl.scores, self.rewards, threshold)]
        return {
            "crawler_recall": crawl.found_golds() / len(crawl.query.golds),
            "papers": float(len(crawl.nodes)),
            "matched": float(sum(node.score > threshold for node in crawl.nodes)),
            "actions": float(sum(len(session.outcomes) for session in crawl.sessions)),
            "reward": sum(one.reward for one in earnings),
        }


def failed_calls(crawl: QueryCrawl) -> Counter[str]:
    """How many calls of engine, sources and models failed, by what was asked ("page", "crawler")."""
    failed: Counter[str] = Counter()
    for reason, times in crawl.stats.problems.items():
        what, _, how = reason.partition(": ")
        if how.startswith("failed"):
            failed[what] += times
    if crawl.failure is not None:
        failed["crawl broken off"] += 1
    return failed

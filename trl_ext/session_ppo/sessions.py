"""What happened in a step's crawls -> the records that the algorithm learns from (records.py)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pasa.config import AgentSettings
from pasa.crawler import Session, expand_request_for
from pasa.models.base import CrawlRequest
from pasa.paper import Paper, references_by_section
from trl_ext.session_ppo.environment import QueryWorkers
from trl_ext.session_ppo.records import ActionReward, PaperStart, SessionRecord, StepSessions
from trl_ext.session_ppo.rewards import Earned, RewardSettings, earned

# The token ids of prompts as the policy reads them.
Encode = Callable[[Sequence[CrawlRequest]], list[list[int]]]


@dataclass
class CrawlRecord:
    """What one query's crawl gave, so far as it came."""

    query_id: str
    question: str
    sessions: list[Session]
    scores: Mapping[str, float]  # paper's key -> its score
    pages: Mapping[str, Paper]  # paper's key -> the paper with its sections, where it has some
    workers: QueryWorkers
    dropped: Counter[str] = field(default_factory=Counter)  # why sessions cannot be learnt from


def why_not_learnt(session: Session, crawl: CrawlRecord) -> str | None:
    """What failed so that the session's rewards are not to be trusted; None where nothing did."""
    workers = crawl.workers
    if not session.reply.reply_ids:
        return "empty reply"
    if any(move.argument in workers.failed_searches for move in session.parsed.moves) and session.kind == "search":
        return "a search failed"
    if session.kind == "expand" and session.paper is not None:
        cited = references_by_section(session.paper.sections or ())
        titles = {r.title for move in session.parsed.moves for r in cited.get(move.argument, ())}
        if titles & workers.failed_references:
            return "a cited paper could not be looked up"
    if any(paper.title in workers.failed_scores for outcome in session.outcomes for paper in outcome.found):
        return "the Selector failed"
    return None


def step_sessions(
    crawls: Sequence[CrawlRecord],
    size: int,
    rewards: RewardSettings,
    agent: AgentSettings,
    encode: Encode,
    valued_papers: int | None = None,
) -> StepSessions:
    """The sessions of a step that can be learnt from, layer by layer, crawls in their order.

    A start is listed for each paper that an action put into the queue and that has sections, the first `valued_papers`
    of an action at most. Sessions that cannot be learnt from are counted in their crawl's `dropped`.
    """
    kept: list[tuple[CrawlRecord, Session]] = []
    for layer in sorted({session.layer for crawl in crawls for session in crawl.sessions}):
        for crawl in crawls:
            for session in crawl.sessions:
                if session.layer != layer:
                    continue
                if reason := why_not_learnt(session, crawl):
                    crawl.dropped[reason] += 1
                else:
                    kept.append((crawl, session))
    starts = _Starts(agent, valued_papers)
    earnings = [earned(session, crawl.scores, rewards, agent.select_threshold) for crawl, session in kept]
    actions = [
        tuple(_action(one, starts.add(crawl, one.new)) for one in earning)
        for (crawl, _), earning in zip(kept, earnings, strict=True)
    ]
    records = [
        _record(crawl, session, rewarded, starts.place(crawl, session))
        for (crawl, session), rewarded in zip(kept, actions, strict=True)
    ]
    return StepSessions(tuple(records[:size]), starts.encoded(encode), size)


class _Starts:
    """The states in which expand sessions on new papers begin, each once."""

    def __init__(self, agent: AgentSettings, valued_papers: int | None) -> None:
        self._agent = agent
        self._valued_papers = valued_papers
        self._requests: dict[tuple[str, str], CrawlRequest] = {}

    def add(self, crawl: CrawlRecord, new: Sequence[Paper]) -> tuple[int, ...]:
        """The places of the new papers that have sections."""
        first = new[: self._valued_papers]  # their pages were looked up; others' only where the draw fell on them
        papers = [page for paper in first if (page := crawl.pages.get(paper.key)) is not None]
        for paper in papers:
            request = expand_request_for(crawl.question, paper, paper.sections or (), self._agent)
            self._requests.setdefault((crawl.query_id, paper.key), request)
        places = {key: place for place, key in enumerate(self._requests)}
        return tuple(places[crawl.query_id, paper.key] for paper in papers)

    def place(self, crawl: CrawlRecord, session: Session) -> int | None:
        """Where the session's own start is listed."""
        if session.paper is None:
            return None
        key = (crawl.query_id, session.paper.key)
        return list(self._requests).index(key) if key in self._requests else None

    def encoded(self, encode: Encode) -> tuple[PaperStart, ...]:
        ids = encode(list(self._requests.values())) if self._requests else []
        return tuple(
            PaperStart(query_id, key, tuple(row)) for (query_id, key), row in zip(self._requests, ids, strict=True)
        )


def _action(one: Earned, starts: tuple[int, ...]) -> ActionReward:
    return ActionReward(
        one.action.kind,
        one.action.start,
        one.action.end,
        one.reward,
        starts,
        one.found,
        len(one.new),
        one.matched,
        one.cost,
        one.is_carried_out,
    )


def _record(
    crawl: CrawlRecord, session: Session, actions: tuple[ActionReward, ...], start: int | None
) -> SessionRecord:
    return SessionRecord(
        session.kind,
        crawl.query_id,
        session.layer,
        session.reply.prompt_ids,
        session.reply.reply_ids,
        session.reply.text,
        actions,
        session.stop,
        start,
        session.parsed.problems,
        session.request.prompt,
    )

"""One crawl of one query: search, then expand layer by layer, on one event loop.

Within a layer everything that can run side by side does: web calls in threads, the Crawler's and the Selector's
prompts in batches as they come. What came is then put in the defined order (actions as written, papers as expanded,
references as cited) before anything enters the queue, so timing changes nothing in the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from pasa.actions import Action, ParsedReply
from pasa.budget import Budget
from pasa.config import AgentSettings
from pasa.crawler import ActionOutcome, Session, expand_request_for, read_session_reply, sampling_of
from pasa.errors import ModelError, PasaError, ToolError
from pasa.events import ActionsTaken, Event, LayerDone, LayerStarted, PapersFound, RunStats, SessionDone, Way, WayKind
from pasa.look_ups import LookUps
from pasa.models.base import CrawlRequest, Reply
from pasa.paper import Paper, Reference, Section, references_by_section
from pasa.paper_queue import PaperQueue, next_to_expand, too_late
from pasa.prompts import search_request
from pasa.query import Query
from pasa.result_tree import CITED_BY, SEED_BRANCH, Node, SourceWord
from pasa.selector import Selector
from pasa.tools.base import SearchHit
from pasa.waiting import each, each_until, wait_shared
from pasa.workers import Workers

T = TypeVar("T")
ChoosePapers = Callable[[list[Node], int | None], list[Node]]  # (the last layer's nodes, limit) -> nodes to expand


# A source cannot be told the end date: where there is one, so many times as many citing papers are asked for.
CITING_ASKED_UNDER_END_DATE = 5
# Where a run may end as soon as nothing new comes, so many papers are expanded at once; of more nothing could be saved.
EXPANDED_AT_ONCE_UNTIL_SATURATED = 8
_KINDS: dict[SourceWord, WayKind] = {"Search": "search", "Expand": "section", "Seed": "seed"}


@dataclass(frozen=True, slots=True)
class Found:
    """A paper that something led to, and the title by which the page cited it."""

    paper: Paper
    cited_title: str
    engines: tuple[str, ...] = ()  # that found it, where several searched as one


@dataclass(slots=True)
class Branch:
    """Papers that hang together in the tree: what one search, section or seed led to, or who cites a paper."""

    name: str  # child key
    found: list[Found]  # in the order in which they are filed
    entered: list[Paper] = field(default_factory=list)  # those that were new to the queue


@dataclass(frozen=True, slots=True)
class Said:
    """What the Crawler was asked and answered."""

    request: CrawlRequest
    reply: Reply
    parsed: ParsedReply
    moves: tuple[Action, ...]  # as carried out, one a branch


@dataclass(slots=True)
class Draft:
    """What a paper, or the root, led to, before it is put in the queue."""

    parent: Node
    word: SourceWord
    branches: list[Branch]
    said: Said | None = None  # None: no session led there


@dataclass(slots=True)
class Shared:
    """What the runs of one query's ensemble share."""

    query: Query
    settings: AgentSettings
    workers: Workers
    budget: Budget
    selector: Selector
    stats: RunStats
    emit: Callable[[Event], None]
    look_ups: LookUps
    known: set[str]  # keys of every paper heard of, for the live count
    sessions: list[Session]
    ways: list[Way] = field(default_factory=list)

    def cancel(self) -> None:
        """Gives up what was begun ahead and is still under way."""
        self.look_ups.cancel()
        self.selector.cancel()


class Crawl:
    """One run of the agent on one query; `go` gives the tree."""

    def __init__(self, shared: Shared, run: int = 0, choose_papers: ChoosePapers = next_to_expand) -> None:
        self.query = shared.query
        self._shared = shared
        self._settings = shared.settings
        self._budget = shared.budget
        self._look_ups = shared.look_ups
        self._run = run
        self._choose_papers = choose_papers
        self._sampling = sampling_of(shared.settings, run)
        self._queue = PaperQueue(shared.settings.same_paper)
        self.root = Node(Paper(shared.query.text), extra={"touch_ids": self._queue.touched_ids})
        # Prompts in the defined order give a seed or a budget the same meaning each time.
        self._in_step = self._sampling.temperature > 0 or self._budget.counts

    async def go(self) -> Node:
        """The crawl's tree. Raises ToolError when no search worked, ModelError when a model never did."""
        async for _ in self.layers():
            pass
        return self.root

    async def layers(self) -> AsyncIterator[list[Node]]:
        """The crawl a layer at a time: the nodes that each put in the queue, in order. Errors as those of `go`.

        `choose_papers` is asked when the next layer begins, so that who drives several crawls can choose among all.
        """
        await self._search_layer()
        last_layer = self._queue.nodes[:]
        yield last_layer
        for layer in range(1, self._settings.expand_layers + 1):
            if self._budget.over:
                break
            start = len(self._queue)
            await self._expand_layer(layer, last_layer)
            last_layer = self._queue.nodes[start:]
            yield last_layer

    # -- search ------------------------------------------------------------------------------------------------------

    async def _search_layer(self) -> None:
        self._emit(LayerStarted(0, 0, self._run))
        if not self._budget.take_crawler_call():
            return
        seeds = [self._look_ups.seed(seed) for seed in self.query.seeds]  # under way while the Crawler writes
        said = await self._write_searches()
        if said is None:
            return
        names = [*(SEED_BRANCH + seed for seed in self.query.seeds), *(move.argument for move in said.moves)]
        answers = await self._until_interrupted(
            [*map(self._take_seed, self.query.seeds, seeds), *(self._search_one(move.argument) for move in said.moves)]
        )
        failures = [a for a in answers if isinstance(a, ToolError)]
        if failures and len(failures) == len(answers):
            raise failures[0]
        branches = [Branch(n, a if isinstance(a, list) else []) for n, a in zip(names, answers, strict=True)]
        for name in names:
            self.root.children.setdefault(name, [])
        from_seeds = Draft(self.root, "Seed", branches[: len(seeds)])
        searched = Draft(self.root, "Search", branches[len(seeds) :], said)
        new = await self._file(0, [from_seeds, searched])
        self._emit(LayerDone(0, new, self._run))

    async def _write_searches(self) -> Said | None:
        """The search session, its moves in the order to search in; None if it was interrupted."""
        request = search_request(self.query.text, self._settings.prompts)
        [reply] = await self._until_interrupted([self._shared.workers.generate(request, self._sampling)])
        if reply is None:
            return None
        self._shared.stats.count_tokens(reply)
        parsed = read_session_reply(request, reply, self._settings)
        self._count_malformed(parsed)
        moves = list(parsed.moves)
        if not moves and self._settings.search_question_if_no_query:
            self._look_ups.problem("crawler: no search query, the question itself was searched", reply.text[:200])
            moves = [Action("search", self.query.text)]
        if self._settings.search_order == "last_first":
            moves.reverse()
        self._emit(ActionsTaken(0, "", tuple(m.argument for m in moves)))
        self._shared.stats.searches += len(moves)
        return Said(request, reply, parsed, tuple(moves))

    async def _take_seed(self, seed: str, look_up: asyncio.Task[Paper]) -> list[Found]:
        """The seed paper, whose page is wanted soon; no end date holds for it."""
        paper = await wait_shared(look_up)
        if self._settings.expand_layers > 0 and not self._budget.counts:
            self._look_ups.page(paper)
        return self._heard_of([Found(paper, paper.title)], SEED_BRANCH + seed, check_date=False)

    async def _search_one(self, query: str) -> list[Found] | ToolError:
        """What one search query finds, in the engine's order; a ToolError is counted and given back."""
        end_date = self.query.end_date
        try:
            hits = await self._shared.workers.search(query, self._settings.search_papers, end_date)
            self._fetch_ahead(hits)
            looked_up = await each(
                [self._look_ups.paper_by_id(h.arxiv_id) for h in hits if h.paper is None and h.arxiv_id]
            )
            failures = [outcome for outcome in looked_up if isinstance(outcome, ToolError)]
            if failures and len(failures) == len(hits):  # an outage must not read as "nothing found"
                raise failures[0]
        except ToolError as error:
            self._look_ups.failed("search", query, error)
            return error
        by_id = {paper.arxiv_id: paper for paper in looked_up if isinstance(paper, Paper)}
        papers = [(hit.paper or by_id.get(hit.arxiv_id), hit.engines) for hit in hits]
        found = [Found(paper, paper.title, engines) for paper, engines in papers if paper is not None]
        return self._heard_of(found, query, check_date=True)

    def _fetch_ahead(self, hits: Sequence[SearchHit]) -> None:
        """Begins to fetch the pages that the first expand layer will want: those of every hit, if it takes all."""
        takes_all = self._settings.expand_layers > 0 and self._settings.first_layer_expand_papers is None
        if takes_all and self._settings.stop_when_saturated is None and not self._budget.counts:
            for hit in hits:
                if hit.paper is None and hit.arxiv_id:
                    self._look_ups.page(Paper(hit.title, arxiv_id=hit.arxiv_id))

    # -- expand ------------------------------------------------------------------------------------------------------

    async def _expand_layer(self, layer: int, last_layer: list[Node]) -> None:
        settings = self._settings
        limit = settings.first_layer_expand_papers if layer == 1 else settings.expand_papers
        seeds = [node for node in last_layer if node.is_seed]  # expanded in any case, before the others
        nodes = seeds + self._choose_papers([node for node in last_layer if not node.is_seed], limit)
        self._emit(LayerStarted(layer, len(nodes), self._run))
        at_once = EXPANDED_AT_ONCE_UNTIL_SATURATED if settings.stop_when_saturated else len(nodes)
        new = 0
        waiting = nodes
        while waiting and not self._budget.over:
            begun = [(node, self._look_ups.page(node.paper)) for node in waiting[:at_once]]
            if self._in_step:
                await self._until_interrupted([wait_shared(page) for _, page in begun])
            count = self._affordable([page for _, page in begun])
            if not count:
                self._budget.exhaust("model_calls")
                break
            drafts = await self._until_interrupted(
                [self._expand_one(layer, node, page) for node, page in begun[:count]]
            )
            new += await self._file(layer, [draft for of_one in drafts for draft in of_one or ()])
            waiting = waiting[count:]
        if waiting:
            self._shared.stats.problems["budget: paper not expanded"] += len(waiting)
        self._emit(LayerDone(layer, new, self._run))

    def _affordable(self, pages: list[asyncio.Task[Any]]) -> int:
        """How many of the first papers may be expanded next; those without a page cost nothing."""
        sessions = self._budget.sessions_at_once()
        if sessions is None:
            return len(pages)
        for at, page in enumerate(pages):
            sessions -= bool(page.done() and not page.cancelled() and page.result())
            if sessions < 0:
                return at
        return len(pages)

    async def _expand_one(self, layer: int, node: Node, page: asyncio.Task[tuple[Section, ...] | None]) -> list[Draft]:
        """What the node's paper leads to: the papers its sections cite, then those that cite it."""
        citing = self._look_ups.citing(node.paper, self._citing_limit) if self._settings.cited_by else None
        read = await self._read_one(layer, node, page)
        drafts = [read] if read else []
        if citing:
            citing_papers = self._enough(await wait_shared(citing))
            found = self._heard_of(citing_papers, CITED_BY, check_date=True, parent=node.paper.title)
            drafts.append(Draft(node, "Expand", [Branch(CITED_BY, found)]))
        return drafts

    @property
    def _citing_limit(self) -> int:
        """How many citing papers a source is asked for."""
        return self._settings.cited_by * (CITING_ASKED_UNDER_END_DATE if self.query.end_date else 1)

    def _enough(self, citing: list[Paper]) -> list[Found]:
        """The first of them, up to as many as are wanted under the end date."""
        taken, in_time = [], 0
        for paper in citing:
            if in_time < self._settings.cited_by:
                taken.append(Found(paper, paper.title))
                in_time += not too_late(paper, self.query.end_date, self._settings.undated)
        return taken

    async def _read_one(self, layer: int, node: Node, page: asyncio.Task[tuple[Section, ...] | None]) -> Draft | None:
        """An expand session on the node's paper with the papers its sections cite; None if there is none."""
        sections = await wait_shared(page)
        if not sections:
            node.extra["expand"] = "get full paper error"  # upstream's words
            return None
        node.extra["expand"] = "not expand"
        node.paper = replace(node.paper, sections=sections)
        if not self._budget.take_crawler_call():
            return None
        request = expand_request_for(self.query.text, node.paper, sections, self._settings)
        try:
            reply = await self._shared.workers.generate(request, self._sampling)
        except ModelError as error:
            self._look_ups.problem("crawler: failed", f"{node.paper.title}: {error}")
            return None
        self._shared.stats.count_tokens(reply)
        parsed = read_session_reply(request, reply, self._settings)
        self._count_malformed(parsed)
        self._shared.stats.papers_expanded += 1
        self._emit(ActionsTaken(layer, node.paper.title, tuple(m.argument for m in parsed.moves)))
        cited = references_by_section(sections)
        title = node.paper.title
        found = await each([self._cited_papers(cited[m.argument], m.argument, title) for m in parsed.moves])
        branches = [Branch(move.argument, papers) for move, papers in zip(parsed.moves, found, strict=True)]
        return Draft(node, "Expand", branches, Said(request, reply, parsed, parsed.moves))

    async def _cited_papers(self, references: Sequence[Reference], section: str, title: str) -> list[Found]:
        papers = await each([wait_shared(self._look_ups.reference(reference)) for reference in references])
        found = [Found(p, r.title or p.title) for r, p in zip(references, papers, strict=True) if p is not None]
        return self._heard_of(found, section, check_date=self._settings.end_date_on_expansion, parent=title)

    # -- filing ------------------------------------------------------------------------------------------------------

    def _heard_of(self, found: list[Found], by: str, check_date: bool, parent: str = "") -> list[Found]:
        """Those of `found` that may be returned under the end date; starts their scores."""
        kept: dict[str, Found] = {}
        new_papers: list[Paper] = []
        for one in found:
            reason = too_late(one.paper, self.query.end_date, self._settings.undated) if check_date else None
            new = one.paper.key not in self._shared.known
            if reason:
                self._shared.stats.problems[f"end date: {reason}"] += new
            else:
                kept.setdefault(one.paper.key, one)
                if new:
                    new_papers.append(one.paper)
            self._shared.known.add(one.paper.key)
        self._emit(PapersFound(len(new_papers), by, parent, tuple(new_papers)))
        if not self._budget.counts and self._settings.selector_title == "paper":
            for one in kept.values():
                if not self._queue.has_met(one.paper):
                    self._shared.selector.start(one.paper, one.paper.title)
        return list(kept.values())

    async def _file(self, layer: int, drafts: list[Draft]) -> int:
        """Puts what sessions found into queue and tree, in the defined order, each paper once, and scores it.

        Gives back how many papers were new.
        """
        new = [
            (draft, branch, one)
            for draft in drafts
            for branch in draft.branches
            for one in branch.found
            if self._queue.meet(one.paper)
        ]
        affordable = []
        for at, (_, _, one) in enumerate(new):
            if not self._budget.take_score(self._shared.selector.charge(one.paper, self._title_to_score(one))):
                self._shared.stats.problems["budget: paper not scored"] += len(new) - at
                break
            affordable.append(new[at])
        outcomes = await self._until_interrupted(
            [wait_shared(self._shared.selector.start(f.paper, self._title_to_score(f))) for _, _, f in affordable]
        )
        failures = [outcome for outcome in outcomes if isinstance(outcome, PasaError)]
        if failures and not self._shared.selector.ever_answered:
            raise failures[0]
        if layer:
            self._budget.note_selected(o > self._settings.select_threshold for o in outcomes if isinstance(o, float))
        for (draft, branch, one), outcome in zip(affordable, outcomes, strict=True):
            if isinstance(outcome, float):
                self._hang(layer, draft, branch, one.paper, outcome)
            elif isinstance(outcome, PasaError):
                self._look_ups.problem("selector: failed", f"{one.paper.title}: {outcome}")
            else:
                self._shared.stats.problems["stopped: paper not scored"] += 1
        for draft in drafts:
            self._shared.ways += [self._way(layer, draft, branch) for branch in draft.branches]
            if draft.said:
                self._keep_session(layer, draft, draft.said)
        self._shared.stats.papers_found = len(self._queue)
        return sum(len(branch.entered) for draft in drafts for branch in draft.branches)

    def _title_to_score(self, one: Found) -> str:
        return one.cited_title if self._settings.selector_title == "cited" else one.paper.title

    def _hang(self, layer: int, draft: Draft, branch: Branch, paper: Paper, score: float) -> None:
        node = Node(paper, layer, f"{draft.word} {paper.source}".strip(), float(score))
        if reason := getattr(score, "reason", ""):
            node.extra["reason"] = reason
        draft.parent.children.setdefault(branch.name, []).append(node)
        if layer and draft.said:
            draft.parent.extra["expand"] = "success"  # upstream's word
        branch.entered.append(paper)
        self._queue.append(node)

    def _way(self, layer: int, draft: Draft, branch: Branch) -> Way:
        kind = _KINDS[draft.word] if draft.said or not layer else "cited_by"
        name = branch.name.removeprefix(SEED_BRANCH) if kind == "seed" else branch.name
        of = draft.parent.paper if layer else None
        found = tuple(one.paper for one in branch.found)
        engines = tuple(one.engines for one in branch.found)
        return Way(kind, name, layer, self._run, of, found, len(branch.entered), engines if any(engines) else ())

    def _keep_session(self, layer: int, draft: Draft, said: Said) -> None:
        outcomes = tuple(
            ActionOutcome(move, tuple(one.paper for one in branch.found), tuple(branch.entered))
            for move, branch in zip(said.moves, draft.branches, strict=True)
        )
        kind: Literal["search", "expand"] = "expand" if layer else "search"
        paper = draft.parent.paper if layer else None
        session = Session(
            kind, layer, self._run, said.request, said.reply, said.parsed, outcomes, paper, self._sampling
        )
        self._shared.sessions.append(session)
        self._emit(SessionDone(session))

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _emit(self, event: Event) -> None:
        self._shared.emit(event)

    def _count_malformed(self, parsed: ParsedReply) -> None:
        for kind, times in parsed.problems.items():
            self._shared.stats.problems[f"crawler wrote: {kind}"] += times

    async def _until_interrupted(self, coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T | None]:
        return await each_until(self._budget.interrupted, coroutines)

"""The threads behind the crawl: web calls side by side, model prompts and look-ups in batches."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import TypeVar

from pasa.batcher import Batcher, in_thread
from pasa.errors import ModelError, PasaError
from pasa.models.base import CrawlRequest, Explainer, Generator, Reply, Sampling, Scorer, SelectRequest, SideBySide
from pasa.paper import Paper, Reference, Section
from pasa.tools.base import CitationSource, PaperSource, SearchEngine, SearchHit

T = TypeVar("T")
R = TypeVar("R")

# Most items of one batch. Models split further by their own memory; look-ups by what their service takes at once.
MAX_PROMPTS = 64
MAX_LOOK_UPS = 100
# How long look-ups wait for others to share their request; a request to arXiv's API takes its turn of seconds.
LINGER_SECONDS = 0.02


class Workers:
    """Async access to the models and tools of an agent; belongs to one event loop, shared by all its runs."""

    def __init__(
        self,
        generator: Generator,
        scorer: Scorer,
        engine: SearchEngine,
        source: PaperSource,
        threads_num: int,
        look_ups_at_once: int,
        citations: CitationSource | None = None,
    ) -> None:
        self._engine = engine
        self._source = source
        self._citations = citations
        self._pool = ThreadPoolExecutor(threads_num, "pasa-web")
        crawler_threads = ThreadPoolExecutor(_at_once(generator), "pasa-crawler")
        same_model: object = scorer is generator
        selector_threads = crawler_threads if same_model else ThreadPoolExecutor(_at_once(scorer), "pasa-selector")
        look_ups = ThreadPoolExecutor(2 * look_ups_at_once, "pasa-look-ups")
        self._executors = [self._pool, crawler_threads, selector_threads, look_ups]
        self._generate = _asking(generator, _generate_with(generator), crawler_threads)
        self._score: Batcher[SelectRequest, float] = _asking(scorer, scorer.score, selector_threads)
        self._explain: Batcher[SelectRequest, Reply] | None = (
            _asking(scorer, scorer.explain, selector_threads) if isinstance(scorer, Explainer) else None
        )
        self._ids: Batcher[str, Paper | None] = Batcher(
            self._papers_by_id, look_ups, MAX_LOOK_UPS, look_ups_at_once, LINGER_SECONDS
        )
        self._references: Batcher[Reference, Paper | None] = Batcher(
            source.papers_by_reference, look_ups, MAX_LOOK_UPS, look_ups_at_once, LINGER_SECONDS
        )

    async def generate(self, request: CrawlRequest, sampling: Sampling) -> Reply:
        return await self._generate.submit((request, sampling))

    async def score(self, request: SelectRequest) -> float:
        return await self._score.submit(request)

    async def explain(self, request: SelectRequest) -> Reply:
        """Why the paper answers; an empty reply of a Selector that cannot say. Raises ModelError for any failure."""
        try:
            return await self._explain.submit(request) if self._explain else Reply("")
        except PasaError as error:  # a key that is refused by now: what was found stands
            raise ModelError(str(error)) from error

    async def paper_by_id(self, arxiv_id: str) -> Paper | None:
        return await self._ids.submit(arxiv_id)

    async def paper_by_reference(self, reference: Reference) -> Paper | None:
        return await self._references.submit(reference)

    async def search(self, query: str, limit: int, end_date: dt.date | None) -> list[SearchHit]:
        return await in_thread(self._pool, self._engine.search, query, limit, end_date)

    async def sections(self, paper: Paper) -> tuple[Section, ...] | None:
        return await in_thread(self._pool, self._source.sections, paper)

    async def citing_papers(self, paper: Paper, limit: int) -> list[Paper]:
        """Papers that cite this one; none where there is nobody to ask."""
        if self._citations is None:
            return []
        return await in_thread(self._pool, self._citations.citing_papers, paper, limit)

    def close(self) -> None:
        """Lets the threads go; what is under way in them runs out unheard."""
        for executor in self._executors:
            executor.shutdown(wait=False, cancel_futures=True)

    def _papers_by_id(self, arxiv_ids: Sequence[str]) -> list[Paper | None]:
        papers = self._source.papers_by_id(list(dict.fromkeys(arxiv_ids)))
        return [papers.get(arxiv_id) for arxiv_id in arxiv_ids]


def _at_once(model: object) -> int:
    """Threads that may call the model at the same time."""
    return model.requests_at_once if isinstance(model, SideBySide) else 1


def _asking(model: object, call: Callable[[Sequence[T]], Sequence[R]], threads: ThreadPoolExecutor) -> Batcher[T, R]:
    """How a model is asked: a batch at a time, or single requests side by side."""
    max_batch = 1 if isinstance(model, SideBySide) else MAX_PROMPTS
    return Batcher(call, threads, max_batch, _at_once(model))


def _generate_with(generator: Generator):  # type: ignore[no-untyped-def]
    def generate(items: Sequence[tuple[CrawlRequest, Sampling]]) -> list[Reply]:
        """Replies in order; requests that are decoded alike go to the model together."""
        replies: list[Reply] = []
        for sampling, group in groupby(items, key=lambda item: item[1]):
            replies += generator.generate([request for request, _ in group], sampling)
        return replies

    return generate

"""Several search engines as one: all are asked side by side, their rankings fused by reciprocal rank."""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from pasa.errors import ToolError
from pasa.paper import Paper, title_key
from pasa.tools.base import FailureCount, SearchEngine, SearchHit

# Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods",
# SIGIR 2009: fixed there at 60 by a pilot study.
RANK_CONSTANT = 60
# How a web engine ends a title that it cut; its letters name no paper.
_CUT = ("...", "…")


class FusedSearch:
    """Several engines as one. Safe from many threads where they are.

    An engine that fails costs only its own results, counted in `failures()`; ToolError is raised when all failed.
    """

    def __init__(self, engines: Sequence[SearchEngine], k: int = RANK_CONSTANT) -> None:
        """`k` damps the weight of the first ranks."""
        if not engines:
            raise ValueError("fusion needs at least one engine")
        self._engines = tuple(engines)
        self._k = k
        self._failures = FailureCount()
        self.name = "+".join(engine.name for engine in engines)

    def failures(self) -> dict[str, int]:
        """Searches that an engine failed at, by engine and kind of failure."""
        return self._failures.snapshot()

    def search(self, query: str, limit: int, end_date: dt.date | None = None) -> list[SearchHit]:
        """At most `limit` papers, those that stand high with many engines first; each engine is asked for `limit`.

        A hit's score is its reciprocal-rank sum; it names the engines that gave it. It comes when the slowest engine
        has answered.
        """

        def ask(engine: SearchEngine) -> list[SearchHit] | ToolError:
            try:
                return [replace(hit, engines=(engine.name,)) for hit in engine.search(query, limit, end_date)]
            except ToolError as error:
                return error

        with ThreadPoolExecutor(len(self._engines), "pasa-fusion") as pool:
            answers = list(pool.map(ask, self._engines))
        for engine, answer in zip(self._engines, answers, strict=True):
            if isinstance(answer, ToolError):
                self._failures.add(f"{engine.name}: {answer.kind or 'failed'}", 1)
        rankings = [answer for answer in answers if not isinstance(answer, ToolError)]
        if not rankings:
            told = zip(self._engines, answers, strict=True)
            raise ToolError("; ".join(f"{engine.name}: {error}" for engine, error in told))
        return fuse(rankings, self._k)[:limit]


def fuse(rankings: Sequence[Sequence[SearchHit]], k: int = RANK_CONSTANT) -> list[SearchHit]:
    """The distinct papers of all rankings by the sum of 1 / (k + rank) over the rankings that hold them, best first.

    A paper is told by its arXiv id; a hit without one is the paper of an id that some hit gives under the same title,
    else its title is its own. Equal sums stand in order of these keys, so that the order of the rankings changes
    nothing. Hits that name no paper are left out.
    """
    named = [[(_arxiv_id(hit), _title_key(hit), hit) for hit in ranking] for ranking in rankings]
    ids = _ids_by_title((arxiv_id, title) for ranking in named for arxiv_id, title, _ in ranking)
    shares: dict[str, list[float]] = defaultdict(list)
    hits: dict[str, list[SearchHit]] = defaultdict(list)
    for ranking in named:
        keyed = [(arxiv_id or ids.get(title, title), hit) for arxiv_id, title, hit in ranking if arxiv_id or title]
        for rank, key in enumerate(dict.fromkeys(key for key, _ in keyed), 1):
            shares[key].append(1 / (k + rank))
        for key, hit in keyed:
            hits[key].append(hit)
    scores = {key: math.fsum(share) for key, share in shares.items()}  # fsum: the same in any order
    ranked = sorted(scores, key=lambda key: (-scores[key], key))
    return [_richest(hits[key], scores[key]) for key in ranked]


def _ids_by_title(names: Iterable[tuple[str | None, str]]) -> dict[str, str]:
    """Title key -> the arXiv id it goes with, the least where there are several."""
    ids: dict[str, str] = {}
    for arxiv_id, title in names:
        if arxiv_id and title:
            ids[title] = min(ids.get(title, arxiv_id), arxiv_id)
    return ids


def _arxiv_id(hit: SearchHit) -> str | None:
    return hit.arxiv_id or (hit.paper.arxiv_id if hit.paper else None)


def _title_key(hit: SearchHit) -> str:
    """What a paper of this title is filed under (as Paper.key); "" where the hit has no whole title."""
    title = (hit.paper.title if hit.paper else hit.title).strip()
    return f"title:{title_key(title) or title}" if title and not title.endswith(_CUT) else ""


def _richest(hits: Sequence[SearchHit], score: float) -> SearchHit:
    """One hit for all that engines tell of one paper."""
    arxiv_id = min((i for hit in hits if (i := _arxiv_id(hit))), default=None)
    engines = tuple(sorted({name for hit in hits for name in hit.engines}))
    papers = [hit.paper for hit in hits if hit.paper]
    if not papers:
        return SearchHit(arxiv_id, max((hit.title for hit in hits), key=lambda t: (len(t), t)), None, score, engines)
    paper = papers[0] if len(papers) == 1 else max(papers, key=_richness)
    return SearchHit(arxiv_id, paper.title, replace(paper, arxiv_id=paper.arxiv_id or arxiv_id), score, engines)


def _richness(paper: Paper) -> tuple[object, ...]:
    """What makes a record the one to keep: sections, then an abstract, a date, authors; the rest decides ties."""
    has = [paper.sections is not None, bool(paper.abstract), bool(paper.date), bool(paper.authors)]
    return (*has, len(paper.abstract), paper.date or "", repr(paper))

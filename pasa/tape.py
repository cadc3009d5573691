"""A tape of all that an agent asks of models, search engines and paper sources, and of what it is answered.

Recording stands between the crawl and its workers, replaying in their place: a crawl asks one thing at a time there,
so that batches and threads leave no trace, and the same answers give the same tree.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar

from pasa import tape_codec as codec
from pasa.errors import ModelError, ToolError
from pasa.models.base import CrawlRequest, Reply, Sampling, SelectRequest
from pasa.paper import Paper, Reference, Section
from pasa.reranking import Rerank
from pasa.tools.base import SearchHit
from pasa.workers import Workers

T = TypeVar("T")
_SHOWN = 200  # letters of an ask in a message


class NotRecordedError(Exception):
    """Something was asked of a tape that is not on it. No PasaError: a crawl must not pass over it."""


class Tape:
    """Answers by what was asked, in the order in which they came."""

    def __init__(self) -> None:
        self._lines: list[dict[str, Any]] = []
        self._answers: dict[str, deque[Any]] = defaultdict(deque)

    def write(self, kind: str, ask: Any, answer: Any) -> None:
        """Adds an answer; both as plain data."""
        self._lines.append({"kind": kind, "ask": ask, "answer": answer})
        self._answers[_key(kind, ask)].append(answer)

    def read(self, kind: str, ask: Any) -> Any:
        """The next answer to this; the last one again where there are no more. Raises NotRecordedError."""
        answers = self._answers.get(_key(kind, ask))
        if not answers:
            raise NotRecordedError(f"{kind} {json.dumps(ask, ensure_ascii=False)[:_SHOWN]}")
        return answers.popleft() if len(answers) > 1 else answers[0]

    def lines(self) -> Iterator[str]:
        """The tape as JSON lines, in order."""
        return (json.dumps(line, ensure_ascii=False, separators=(",", ":")) for line in self._lines)

    @classmethod
    def from_lines(cls, lines: Iterable[str]) -> Tape:
        """The tape of these lines. Raises ValueError or KeyError where they are none."""
        tape = cls()
        for line in map(json.loads, lines):
            tape.write(line["kind"], line["ask"], line["answer"])
        return tape


def _key(kind: str, ask: Any) -> str:
    return json.dumps([kind, ask], sort_keys=True)


class RecordingWorkers(Workers):
    """Other workers, whose answers and failures are put on a tape."""

    def __init__(self, tape: Tape, asked: Workers) -> None:
        self._tape = tape
        self._asked = asked

    async def _note(self, kind: str, ask: Any, answer: Awaitable[T], plain: Callable[[T], Any]) -> T:
        try:
            given = await answer
        except (ToolError, ModelError) as error:
            self._tape.write(kind, ask, codec.from_error(error))
            raise
        self._tape.write(kind, ask, {"value": plain(given)})
        return given

    async def generate(self, request: CrawlRequest, sampling: Sampling) -> Reply:
        ask = codec.crawl_ask(request, sampling)
        return await self._note("reply", ask, self._asked.generate(request, sampling), codec.from_reply)

    async def score(self, request: SelectRequest) -> float:
        return await self._note("score", codec.select_ask(request), self._asked.score(request), codec.from_score)

    async def explain(self, request: SelectRequest) -> Reply:
        return await self._note("reason", codec.select_ask(request), self._asked.explain(request), codec.from_reply)

    async def paper_by_id(self, arxiv_id: str) -> Paper | None:
        return await self._note("paper", arxiv_id, self._asked.paper_by_id(arxiv_id), codec.from_paper)

    async def paper_by_reference(self, reference: Reference) -> Paper | None:
        ask = codec.reference_ask(reference)
        return await self._note("reference", ask, self._asked.paper_by_reference(reference), codec.from_paper)

    async def search(self, query: str, limit: int, end_date: dt.date | None) -> list[SearchHit]:
        ask = [query, limit, end_date.isoformat() if end_date else None]
        return await self._note("search", ask, self._asked.search(query, limit, end_date), codec.from_hits)

    async def sections(self, paper: Paper) -> tuple[Section, ...] | None:
        return await self._note("sections", codec.sections_ask(paper), self._asked.sections(paper), codec.from_sections)

    async def citing_papers(self, paper: Paper, limit: int) -> list[Paper]:
        ask = [*codec.sections_ask(paper), limit]
        return await self._note("citing", ask, self._asked.citing_papers(paper, limit), codec.from_papers)

    def close(self) -> None:
        self._asked.close()


class ReplayedWorkers(Workers):
    """Workers that answer from a tape: no thread, no network, no model. Raise NotRecordedError for anything else."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    def _given(self, kind: str, ask: Any, read: Callable[[Any], T]) -> T:
        answer = self._tape.read(kind, ask)
        if "error" in answer:
            raise codec.to_error(answer)
        return read(answer["value"])

    async def generate(self, request: CrawlRequest, sampling: Sampling) -> Reply:
        return self._given("reply", codec.crawl_ask(request, sampling), codec.to_reply)

    async def score(self, request: SelectRequest) -> float:
        return self._given("score", codec.select_ask(request), codec.to_score)

    async def explain(self, request: SelectRequest) -> Reply:
        return self._given("reason", codec.select_ask(request), codec.to_reply)

    async def paper_by_id(self, arxiv_id: str) -> Paper | None:
        return self._given("paper", arxiv_id, codec.to_paper)

    async def paper_by_reference(self, reference: Reference) -> Paper | None:
        return self._given("reference", codec.reference_ask(reference), codec.to_paper)

    async def search(self, query: str, limit: int, end_date: dt.date | None) -> list[SearchHit]:
        ask = [query, limit, end_date.isoformat() if end_date else None]
        return self._given("search", ask, codec.to_hits)

    async def sections(self, paper: Paper) -> tuple[Section, ...] | None:
        return self._given("sections", codec.sections_ask(paper), codec.to_sections)

    async def citing_papers(self, paper: Paper, limit: int) -> list[Paper]:
        return self._given("citing", [*codec.sections_ask(paper), limit], codec.to_papers)

    def close(self) -> None:
        """Nothing is held open."""


def recorded_rerank(tape: Tape, rerank: Rerank) -> Rerank:
    """`rerank`, whose scores are put on the tape."""

    def scores(*args: Any) -> list[float]:
        given = list(rerank(*args))
        tape.write("rerank", [], {"value": given})
        return given

    return scores


def replayed_rerank(tape: Tape) -> Rerank:
    """The scores on the tape, whatever is asked."""

    def scores(*_: Any) -> list[float]:
        given: list[float] = tape.read("rerank", [])["value"]
        return given

    return scores

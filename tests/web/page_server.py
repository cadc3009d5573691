"""The page's server in a thread, on loopback, over the demo library or a synthetic world, as slow as wanted."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pasa.assembly import build_generator
from pasa.config import load_settings
from pasa.models.base import SelectRequest
from pasa.runtime import PaperAgent
from pasa.tool_assembly import Choice, build_tools
from pasa.web.__main__ import serve
from pasa.web.agents import EngineOffer
from pasa.web.guard import Rates, Token
from pasa.web.run_queue import QueueSettings
from pasa.web.run_request import Limits
from pasa.web.run_store import RunStore
from pasa.web.serving import listen, url_of

USUAL = {"expand_layers": 2, "search_queries": 5, "search_papers": 10, "expand_papers": 20, "select_threshold": 0.5}
MANY = Rates(1e6, 10**6, 1e6, 10**6, 1e6, 10**6)


class Slow:
    """A model or tool whose calls wait first: `seconds` each, and as much again for each item of a batch."""

    def __init__(self, inner: Any, seconds: float = 0.0, each_seconds: float = 0.0) -> None:
        self._inner = inner
        self.seconds = seconds
        self.each_seconds = each_seconds
        self.name = inner.name
        self.before: Callable[[Any], None] = lambda first: None  # may raise, or wait for as long as a test wants

    def _wait(self, first: Any, count: int = 1) -> None:
        self.before(first)
        time.sleep(self.seconds + self.each_seconds * count)

    def search(self, query: str, *rest: Any) -> Any:
        self._wait(query)
        return self._inner.search(query, *rest)

    def generate(self, requests: Sequence[Any], sampling: Any) -> Any:
        self._wait(requests[0], len(requests))
        return self._inner.generate(requests, sampling)

    def score(self, requests: Sequence[Any]) -> Any:
        self._wait(requests[0], len(requests))
        return self._inner.score(requests)


@dataclass
class OneAgent:
    """The agents of a server that has one."""

    agent: PaperAgent
    usual_engine: str = "demo"
    failure: Exception | None = None  # raised in place of giving the agent
    parts: ExitStack = field(default_factory=ExitStack)
    slow: tuple[Slow, ...] = ()  # engine, Crawler, Selector

    def offers(self) -> list[EngineOffer]:
        return [
            EngineOffer("demo", "Demo library", "", USUAL),
            EngineOffer("serper", "Google", "needs SERPER_API_KEY", {}),
        ]

    @asynccontextmanager
    async def lease(self, engine: str) -> AsyncIterator[SimpleNamespace]:
        if self.failure and engine != "demo":
            raise self.failure
        record = {"engine": engine, "source": "local", "retrieval": None, "crawler": "rules", "selector": "rules"}
        yield SimpleNamespace(agent=self.agent, record={**record, "reranked": False, "config": None})

    async def close(self) -> None:
        await asyncio.to_thread(self.agent.close)
        self.parts.close()


class WordScorer:
    """A Selector that loads nothing: twice the share of the question's longer words that a paper holds."""

    name = "words"

    def score(self, requests: Sequence[SelectRequest]) -> list[float]:
        return [self._share(request) for request in requests]

    def _share(self, request: SelectRequest) -> float:
        wanted = {word for word in re.findall(r"\w+", request.query.lower()) if len(word) > 3}
        has = set(re.findall(r"\w+", f"{request.title} {request.abstract}".lower()))
        return min(1.0, 2 * len(wanted & has) / max(1, len(wanted)))


def demo_agent(delay_seconds: float = 0.0, each_seconds: float = 0.0, **agent_settings: Any) -> OneAgent:
    """The demo library, the Crawler of `rules` and WordScorer; searches, prompts and scores slowed down."""
    settings = load_settings(None, {"engine": "demo", "cache_dir": ""})
    with ExitStack() as parts:
        tools = build_tools(settings, Choice("demo", "test"), parts)
        engine = Slow(tools.engine, delay_seconds)
        generator = Slow(build_generator("rules", settings.models, tools.library), delay_seconds)
        scorer = Slow(WordScorer(), 0.0, each_seconds)
        agent = PaperAgent(generator, scorer, engine, tools.source, replace(settings.agent, **agent_settings))
        made = OneAgent(agent, parts=parts.pop_all())
        made.slow = (engine, generator, scorer)
        return made


@dataclass
class Running:
    address: str
    end: Callable[[], None]  # as SIGTERM does


@contextmanager
def page_server(
    agents: Any,
    folder: Path,
    token: str | None = None,
    hosts: list[str] | None = None,
    rates: Rates = MANY,
    limits: Limits | None = None,
    port: int = 0,
    **queue: Any,
) -> Iterator[Running]:
    """The server's address; it has ended when the context is left."""
    listener, is_ready = listen("127.0.0.1", port), threading.Event()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        until = asyncio.Event()
        loops.append((asyncio.get_running_loop(), until))
        settings = QueueSettings(**queue)
        await serve(
            listener, store, agents, limits or Limits(), settings, Token(token), hosts or [], rates, is_ready.set, until
        )

    with RunStore(folder / "runs.db") as store:
        thread = threading.Thread(target=lambda: asyncio.run(run()))
        thread.start()

        def end() -> None:
            if thread.is_alive():
                loop, until = loops[0]
                loop.call_soon_threadsafe(until.set)
                thread.join(15)
                assert not thread.is_alive()

        try:
            assert is_ready.wait(20)
            yield Running(url_of(listener), end)
        finally:
            end()
            listener.close()

"""The agent for Python programs: `from pasa import PaperAgent`, made from settings as the command line makes it."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pasa.config import AgentSettings, load_settings, make_record
from pasa.errors import ConfigError, PasaError
from pasa.events import Event, RunDone, RunResult
from pasa.paper import Paper, Reference, Section, parse_arxiv_id
from pasa.query import Query, make_query, parse_date, parse_seeds
from pasa.result_tree import RankedPaper

if TYPE_CHECKING:
    from pasa.assembly import Assembly
    from pasa.export.run_view import ExportedRun

# Settings that runtime.PaperAgent and the engines read once.
_WHOLE_AGENT = frozenset({"threads_num", "undated", "cited_by"})


class PaperAgent:
    """Finds papers for questions.

        with PaperAgent(library="data/library", max_seconds=60) as agent:
            for event in agent.stream("which papers study UCB for non-stationary RL?"):
                print(event)

    Without arguments it takes what is there, as the command line does: Google where SERPER_API_KEY is set, else a built
    library, else arXiv, else the demo library that ships; the checkpoints where they are, else `rules`.

    - `library`: a built library, a JSON-lines file of papers, or the address of a library's server.
    - `engine`: one of `pasa.config.ENGINES`, or several with commas between.
    - `crawler`, `selector`: a folder, a hub name, `rules`, or `openai:MODEL` on the server at `api_base`.
    - `config`: a YAML file of settings; what is given here wins over it.
    - `on_note`: hears in a line each what was chosen and why.
    - `settings`: any other setting of `pasa.config` by its name, such as `expand_layers=1`, `max_seconds=60`.

    Raises ConfigError at once for settings that cannot be; nothing is opened or loaded before the first question, or
    `open`. Safe to use from several threads and tasks at once: their model calls share batches. A model of one's own,
    or an engine, goes to `pasa.runtime.PaperAgent`, which this one puts together.
    """

    def __init__(
        self,
        *,
        library: str | Path | None = None,
        engine: str | None = None,
        crawler: str | Path | None = None,
        selector: str | Path | None = None,
        config: str | Path | None = None,
        on_note: Callable[[str], None] | None = None,
        **settings: Any,
    ) -> None:
        named = {"library": library, "engine": engine, "crawler_path": crawler, "selector_path": selector}
        self._config = Path(config) if config is not None else None
        self._flags = settings | {name: str(value) for name, value in named.items() if value is not None}
        self._given = load_settings(self._config, self._flags)
        self._on_note = on_note
        self._opening = threading.Lock()
        self._assembly: Assembly | None = None
        self._is_closed = False

    # -- asking ------------------------------------------------------------------------------------------------------

    def run(
        self,
        question: str | Query,
        *,
        end_date: dt.date | str | None = None,
        seeds: str | Iterable[str] = (),
        on_event: Callable[[Event], None] | None = None,
        **settings: Any,
    ) -> RunResult:
        """What one question's run gave; `on_event` hears every event. Arguments and errors are those of `stream`."""
        for event in self.stream(question, end_date=end_date, seeds=seeds, **settings):
            if on_event:
                on_event(event)
            if isinstance(event, RunDone):
                return event.result
        raise AssertionError("a run ends with RunDone")

    def stream(
        self,
        question: str | Query,
        *,
        end_date: dt.date | str | None = None,
        seeds: str | Iterable[str] = (),
        **settings: Any,
    ) -> Iterator[Event]:
        """The events of one question's run as they happen; the last is RunDone. Closing the iterator ends the run.

        `end_date`: no paper later than this day ("YYYY-MM-DD"). `seeds`: papers to start from beside the question, by
        arXiv id, its URL or exact title. `settings`: of AgentSettings, for this question alone. Raises UserErrors
        (question, settings, keys, checkpoints, libraries), ToolError (no search worked), ModelError (a model never
        answered).
        """
        query = _query(question, end_date, seeds)
        agent = self._opened().agent
        return agent.stream(query, _own_settings(agent.settings, settings))

    async def arun(
        self,
        question: str | Query,
        *,
        end_date: dt.date | str | None = None,
        seeds: str | Iterable[str] = (),
        on_event: Callable[[Event], None] | None = None,
        **settings: Any,
    ) -> RunResult:
        """`run` for programs on an event loop, which it never blocks. Cancelling the task ends the run."""
        async for event in self.astream(question, end_date=end_date, seeds=seeds, **settings):
            if on_event:
                on_event(event)
            if isinstance(event, RunDone):
                return event.result
        raise AssertionError("a run ends with RunDone")

    async def astream(
        self,
        question: str | Query,
        *,
        end_date: dt.date | str | None = None,
        seeds: str | Iterable[str] = (),
        **settings: Any,
    ) -> AsyncGenerator[Event, None]:
        """`stream` for programs on an event loop, which it never blocks. Leaving it ends the run."""
        query = _query(question, end_date, seeds)
        agent = (await asyncio.to_thread(self._opened)).agent
        async with aclosing(agent.astream(query, _own_settings(agent.settings, settings))) as events:
            async for event in events:
                yield event

    def stop(self, query: Query | None = None) -> bool:
        """Ends the runs of this Query object, or all, now and cleanly: they give what they found so far.

        False where there was none to end.
        """
        return self._assembly is not None and self._assembly.agent.stop(query)

    # -- looking up, without a crawl ---------------------------------------------------------------------------------

    def search(self, words: str, limit: int = 10, *, end_date: dt.date | str | None = None) -> list[Paper]:
        """At most `limit` papers by one search of the engine, in its order; no model is asked.

        Raises ToolError when the engine does not answer usably.
        """
        query = make_query(words, _date(end_date))
        tools = self._opened().tools
        hits = tools.engine.search(query.text, limit, query.end_date)
        described = tools.source.papers_by_id([hit.arxiv_id for hit in hits if not hit.paper and hit.arxiv_id])
        papers = [hit.paper or described.get(hit.arxiv_id or "") for hit in hits]
        return [paper for paper in papers if paper]

    def paper(self, name: str) -> Paper | None:
        """The paper with this arXiv id, arxiv.org URL or title; None where it is not known. Raises ToolError."""
        source = self._opened().tools.source
        arxiv_id = parse_arxiv_id(name)
        if arxiv_id:
            return source.papers_by_id([arxiv_id]).get(arxiv_id)
        return source.papers_by_reference([Reference(" ".join(name.split()))])[0]

    def references(self, paper: Paper | str) -> tuple[Section, ...] | None:
        """The paper's sections and what each cites; None where there is no such paper or no full text of it.

        Raises ToolError when the source does not answer usably.
        """
        known = self.paper(paper) if isinstance(paper, str) else paper
        if known is None:
            return None
        return known.sections if known.sections is not None else self._opened().tools.source.sections(known)

    def resolve(self, references: Sequence[Reference]) -> list[Paper | None]:
        """The paper that each reference means, in order; None where the source cannot tell. Raises ToolError."""
        return self._opened().tools.source.papers_by_reference(references) if references else []

    # -- keeping results ---------------------------------------------------------------------------------------------

    def export(self, result: RunResult, form: str = "markdown", papers: Sequence[RankedPaper] | None = None) -> str:
        """The result as a text in one of `pasa.export.formats.FORMATS`, such as bibtex, ris, csv or html.

        `papers`: those to put in; by default all that were found for json, jsonl, csv and html, else the selected ones.
        Raises ConfigError for an unknown format.
        """
        from pasa.export.formats import export

        return export(self.exported(result), form, papers)

    def exported(self, result: RunResult) -> ExportedRun:
        """The result with how it was made, as `pasa.export` takes it."""
        from pasa.export.run_view import of_result

        own = {"settings": dataclasses.asdict(result.settings)} if result.settings else {}
        return of_result(result, self.record | own)

    # -- what it is made of ------------------------------------------------------------------------------------------

    def open(self) -> Self:
        """Opens libraries and loads models now, rather than at the first question. Raises UserErrors."""
        self._opened()
        return self

    @property
    def record(self) -> dict[str, Any]:
        """How the agent is made (engine, models, settings), as result files say it; holds no secret."""
        return dict(self._opened().record)

    def close(self) -> None:
        """Closes what is open; runs under way are given up."""
        with self._opening:
            self._is_closed = True
            if self._assembly:
                self._assembly.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.open)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def _opened(self) -> Assembly:
        # Brings up numpy, tantivy and the web clients, which `import pasa` must not.
        from pasa.assembly import assemble, choose_settings

        with self._opening:
            if self._is_closed:
                raise PasaError("this agent is closed; make a new one")
            if self._assembly is None:
                settings, config, engine = choose_settings(self._given, self._config, self._flags)
                self._assembly = assemble(settings, self._on_note, config, engine)
            return self._assembly


def _own_settings(usual: AgentSettings, own: dict[str, Any]) -> AgentSettings | None:
    """The agent's settings with a question's own; None where it has none."""
    for name in own.keys() & _WHOLE_AGENT:
        raise ConfigError(f"{name} is the same for all questions of an agent; give it to PaperAgent(...)")
    return make_record(AgentSettings, dataclasses.asdict(usual) | own, "settings") if own else None


def _query(question: str | Query, end_date: dt.date | str | None, seeds: str | Iterable[str]) -> Query:
    if isinstance(question, str):
        return make_query(question, _date(end_date), parse_seeds([seeds] if isinstance(seeds, str) else seeds))
    if end_date is not None or seeds:
        raise ConfigError("a Query holds its own end_date and seeds; give them there, or the question as text")
    return question


def _date(date: dt.date | str | None) -> dt.date | None:
    return parse_date(date, "end_date") if isinstance(date, str) else date

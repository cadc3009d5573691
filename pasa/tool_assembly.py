"""Puts search engines and paper sources together from settings; assembly.py puts the agent around them.

A further engine is a name in `config.ENGINES`, a function that builds it, and its row in `ENGINE_KINDS`; one that knows
who cites whom stands in `config.REFERENCE_SOURCES` too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from dotenv import load_dotenv

from pasa.config import Settings, ToolSettings, engine_names, reference_source_names
from pasa.errors import ConfigError, ToolError
from pasa.library import Library
from pasa.library.generations import VECTORS_FOLDER
from pasa.library.hybrid import LibraryRetriever, Retrieval
from pasa.library.vectors import VectorIndex, embed_command, generation_digest, read_header
from pasa.tools.arxiv import ArxivSearch, ArxivSource
from pasa.tools.base import CitationSource, PaperSource, SearchEngine
from pasa.tools.chain import ChainedCitations, ChainedSource
from pasa.tools.fusion import FusedSearch
from pasa.tools.http import HttpClient, HttpSettings, host_of
from pasa.tools.http_pace import HostLimit
from pasa.tools.http_starts import machine_folder
from pasa.tools.local import LibrarySearch, LibrarySource
from pasa.tools.openalex import OpenAlexSearch, OpenAlexSource
from pasa.tools.pages import HtmlSource
from pasa.tools.scholar import ScholarSearch
from pasa.tools.semantic_scholar import SemanticScholarSearch, SemanticScholarSource
from pasa.tools.serper import SerperSearch
from pasa.tools.served_library import ServedSearch, ServedSource, is_address
from pasa.tools.service_urls import SEMANTIC_SCHOLAR_LIMIT, ServiceUrls, http_settings

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "data" / "demo" / "papers.jsonl"
BUILT_LIBRARY = ROOT / "data" / "library"
SERPER_KEY = "SERPER_API_KEY"
SERVED_LIBRARY_KEY = "PASA_LIBRARY_KEY"  # of a library's server that was started with one
OPENALEX_KEY = "OPENALEX_API_KEY"
SEMANTIC_SCHOLAR_KEYS = ("SEMANTIC_SCHOLAR_API_KEY", "S2_API_KEY")
# How long `auto` waits for arXiv before it answers from the demo library.
PROBE_SECONDS = 3.0


@dataclass(frozen=True)
class Choice:
    """Something chosen and why."""

    name: str  # engines: one name, or several with commas between
    reason: str

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.name.split(","))


@dataclass(frozen=True)
class Tools:
    """What an agent finds papers with. `library`: the local papers, for statistics of words."""

    engine: SearchEngine
    source: PaperSource
    library: Library | None
    citations: CitationSource | None  # None where they are not asked for
    retries: Callable[[], Mapping[str, int]]  # calls of services that failed and were made again, by reason
    retrieval: Choice | None  # how the library is searched; None where it is no engine
    notes: tuple[str, ...] = ()  # what the user should know of them, a line each


class CitationGraph(PaperSource, CitationSource, Protocol):
    """A service that knows what a paper cites and who cites it."""


class Toolbox:
    """What engines and sources are built from, each part opened when first asked for and closed with `parts`."""

    def __init__(self, settings: Settings, parts: ExitStack) -> None:
        self.tools = settings.tools
        self.agent = settings.agent
        self._parts = parts
        self._graphs: dict[str, CitationGraph] = {}

    def graph(self, name: str) -> CitationGraph:
        """The citation graph of this name, the same one each time."""
        build = ENGINE_KINDS[name].graph
        if build is None:
            raise ValueError(f"{name} knows of no citations")
        if name not in self._graphs:
            self._graphs[name] = build(self)
        return self._graphs[name]

    @cached_property
    def urls(self) -> ServiceUrls:
        return _urls(self.tools)

    @cached_property
    def client(self) -> HttpClient:
        return self._parts.enter_context(HttpClient(_http(self.tools)))

    @cached_property
    def library(self) -> Library:
        return self._parts.enter_context(Library.open(Path(self.tools.library or BUILT_LIBRARY)))

    @property
    def is_served(self) -> bool:
        """Whether the library is another process's (scripts/serve_library.py), `tools.library` its address."""
        return is_address(self.tools.library)

    @cached_property
    def retrieval(self) -> Choice:
        if self.is_served:
            return Choice("bm25", "as the library's server searches")
        return choose_retrieval(self.tools.retrieval, self.library)

    @cached_property
    def demo(self) -> Library:
        return self._parts.enter_context(Library.open(DEMO))


@dataclass(frozen=True)
class EngineKind:
    """How one engine is built."""

    build: Callable[[Toolbox], SearchEngine]
    is_live: bool  # asks a service, so that papers are described by services too
    key: str | None = None  # the environment variable it cannot do without
    key_from: str = ""  # where a key is to be had
    graph: Callable[[Toolbox], CitationGraph] | None = None  # of a service that knows who cites whom


def _build_serper(box: Toolbox) -> SearchEngine:
    key = os.environ[SERPER_KEY]
    return SerperSearch(box.client, key, box.urls.serper, keep_order=box.tools.google_keep_order)


def _build_arxiv(box: Toolbox) -> SearchEngine:
    return ArxivSearch(box.client, box.urls.arxiv_api)


def _build_scholar(box: Toolbox) -> SearchEngine:
    return ScholarSearch(box.client, os.environ[SERPER_KEY], box.urls.serper)


def _build_openalex(box: Toolbox) -> SearchEngine:
    return OpenAlexSearch(box.client, box.urls.openalex, os.environ.get(OPENALEX_KEY))


def _openalex_graph(box: Toolbox) -> CitationGraph:
    return OpenAlexSource(box.client, box.urls.openalex, os.environ.get(OPENALEX_KEY))


def _build_semantic_scholar(box: Toolbox) -> SearchEngine:
    return SemanticScholarSearch(box.client, box.urls.semantic_scholar, _semantic_scholar_key())


def _semantic_scholar_graph(box: Toolbox) -> CitationGraph:
    return SemanticScholarSource(box.client, box.urls.semantic_scholar, _semantic_scholar_key())


def _semantic_scholar_key() -> str | None:
    return next((os.environ[name] for name in SEMANTIC_SCHOLAR_KEYS if _has_key(name)), None)


def _build_library(box: Toolbox) -> SearchEngine:
    if box.is_served:
        return ServedSearch(box.client, box.tools.library or "", os.environ.get(SERVED_LIBRARY_KEY))
    mode = cast(Retrieval, box.retrieval.name)
    retriever = None if mode == "bm25" else open_retriever(box.library)
    return LibrarySearch(box.library, box.agent.undated, retriever, mode)


def _build_demo(box: Toolbox) -> SearchEngine:
    return LibrarySearch(box.demo, box.agent.undated)


ENGINE_KINDS = {
    "serper": EngineKind(_build_serper, True, SERPER_KEY, "serper.dev"),
    "scholar": EngineKind(_build_scholar, True, SERPER_KEY, "serper.dev"),
    "arxiv": EngineKind(_build_arxiv, True),
    "openalex": EngineKind(_build_openalex, True, OPENALEX_KEY, "openalex.org/settings/api, free", _openalex_graph),
    "semantic_scholar": EngineKind(_build_semantic_scholar, True, graph=_semantic_scholar_graph),
    "library": EngineKind(_build_library, False),
    "demo": EngineKind(_build_demo, False),
}


def choose_engine(tools: ToolSettings) -> Choice:
    """Which engines `tools` means, and why. `auto` asks arXiv whether it answers when nothing comes before it.

    Keys come from the environment or a .env file here. Raises ConfigError.
    """
    read_env_file()
    names = engine_names(tools.engine)
    for name in set(reference_source_names(tools.reference_sources)) - {"auto"}:
        _check_key(name, "reference source", 'or --reference_sources ""')
    if "demo" in names and tools.library:
        raise ConfigError("--engine demo and --library exclude each other; leave one out")
    if names == ("library",) or (names == ("auto",) and tools.library):
        return Choice("library", tools.library or str(_shown(BUILT_LIBRARY)))
    if names != ("auto",):
        for name in names:
            _check_key(name, "engine", "or use --engine arxiv")
        return Choice(",".join(names), "as asked" + ", fused by reciprocal rank" * (len(names) > 1))
    if _has_key(SERPER_KEY):
        return Choice("serper", f"{SERPER_KEY} is set")
    if BUILT_LIBRARY.exists():
        return Choice("library", f"no {SERPER_KEY}; {_shown(BUILT_LIBRARY)} is here")
    if arxiv_answers(tools):
        return Choice("arxiv", f"no {SERPER_KEY}, no built library")
    return Choice("demo", f"no {SERPER_KEY}, no built library, arXiv cannot be reached")


def _check_key(name: str, what: str, way_out: str) -> None:
    kind = ENGINE_KINDS[name]
    if kind.key and not _has_key(kind.key):
        raise ConfigError(f"{what} {name} needs a key: set {kind.key} (from {kind.key_from}), {way_out}")


def _has_key(variable: str) -> bool:
    return bool(os.environ.get(variable, "").strip())


def read_env_file() -> None:
    """Sets what the .env file here names and the environment does not. Raises ConfigError."""
    try:
        load_dotenv(Path(".env"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the .env file here ({error}); write it as NAME=value lines") from error


def arxiv_answers(tools: ToolSettings) -> bool:
    """Whether arXiv's API answers within a few seconds."""
    with HttpClient(_http(tools, try_timeout_seconds=PROBE_SECONDS, max_retries=0, cache_path=None)) as client:
        try:
            ArxivSearch(client, _urls(tools).arxiv_api).search("test", 1)
        except ToolError:
            return False
    return True


def choose_retrieval(asked: Literal["auto", "bm25", "dense", "hybrid"], library: Library) -> Choice:
    """How a library is searched, and why. Raises LibraryError when its vectors are damaged."""
    if asked != "auto":
        return Choice(asked, "as asked")
    header = read_header(library.path / VECTORS_FOLDER)
    if header is None:
        return Choice("bm25", "the library has no vectors")
    if header.generation != generation_digest(library.generation):
        command = embed_command(library.path / VECTORS_FOLDER)
        return Choice("bm25", f"the library's vectors are of an earlier build of it: {command}")
    return Choice("hybrid", f"the library has vectors by {header.model.name}")


def open_retriever(library: Library) -> LibraryRetriever:
    """What searches the library by meaning. Raises UserErrors: no usable vectors, their model is not here."""
    from pasa.models.encoders import load_encoder

    vectors = VectorIndex.open(library.path, library.generation)
    return LibraryRetriever(library, load_encoder(vectors.header.model.name), vectors)


def build_tools(settings: Settings, choice: Choice, parts: ExitStack) -> Tools:
    """The engines chosen, as one, and the sources that go with them; `parts` closes what they hold open.

    Raises UserErrors (libraries, URLs).
    """
    box = Toolbox(settings, parts)
    engines = [ENGINE_KINDS[name].build(box) for name in choice.names]
    is_live = any(ENGINE_KINDS[name].is_live for name in choice.names)
    libraries = [box.demo] if "demo" in choice.names else []
    has_library = settings.tools.library or (is_live and BUILT_LIBRARY.exists())
    if not box.is_served and ("library" in choice.names or has_library):
        libraries.append(box.library)
    sources: list[PaperSource] = [LibrarySource(library, settings.tools.reference_match) for library in libraries]
    if box.is_served:
        sources.append(ServedSource(box.client, box.tools.library or "", os.environ.get(SERVED_LIBRARY_KEY)))
    if is_live and not _is_offline(box, choice):
        sources.append(_live_source(box))
    graphs = _graph_names(settings.tools, choice)
    sources += [box.graph(name) for name in graphs]
    return Tools(
        engines[0] if len(engines) == 1 else FusedSearch(engines),
        sources[0] if len(sources) == 1 else ChainedSource(sources),
        libraries[-1] if libraries else None,
        _citations(box, choice, libraries) if settings.agent.cited_by else None,
        box.client.retries if is_live else dict,
        box.retrieval if "library" in choice.names else None,
        _notes({*choice.names, *graphs}),
    )


def _is_offline(box: Toolbox, choice: Choice) -> bool:
    """Whether one library's server stands for all services: what it does not have does not exist."""
    server = host_of(box.tools.library or "")
    asked = {"library": server, "serper": host_of(box.urls.serper)}
    return box.is_served and all(asked.get(name) == server for name in choice.names)


def _graph_names(tools: ToolSettings, choice: Choice) -> tuple[str, ...]:
    """The services that tell what papers cite of which neither library nor page does."""
    names = reference_source_names(tools.reference_sources)
    return _engines_with_graph(choice) if names == ("auto",) else names


def _engines_with_graph(choice: Choice) -> tuple[str, ...]:
    return tuple(name for name in choice.names if ENGINE_KINDS[name].graph)


def _notes(services: set[str]) -> tuple[str, ...]:
    if "semantic_scholar" not in services or _semantic_scholar_key():
        return ()
    return (
        f"  Semantic Scholar without a key shares one limit with everybody and often refuses; a key is free: set "
        f"{SEMANTIC_SCHOLAR_KEYS[0]} (from semanticscholar.org/product/api)",
    )


def _citations(box: Toolbox, choice: Choice, libraries: list[Library]) -> CitationSource:
    """Who tells what cites a paper: the local papers, then the services that know. Raises ConfigError for nobody."""
    sources: list[CitationSource] = [LibrarySource(library) for library in libraries]
    names = dict.fromkeys((*_engines_with_graph(choice), *_graph_names(box.tools, choice)))
    sources += [box.graph(name) for name in names]
    if not sources:
        able = ["library", *(name for name, kind in ENGINE_KINDS.items() if kind.graph)]
        raise ConfigError(f"--cited_by: {choice.name} cannot tell who cites a paper; add an engine: {', '.join(able)}")
    return sources[0] if len(sources) == 1 else ChainedCitations(sources)


def _live_source(box: Toolbox) -> PaperSource:
    arxiv = ArxivSource(box.client, box.urls.arxiv_api)
    return HtmlSource(box.client, arxiv, box.urls.arxiv_html, box.urls.ar5iv)


def _urls(tools: ToolSettings) -> ServiceUrls:
    return ServiceUrls(
        tools.serper_base,
        tools.arxiv_api_base,
        tools.arxiv_html_base,
        tools.ar5iv_base,
        tools.openalex_base,
        tools.semantic_scholar_base,
    )


def _http(tools: ToolSettings, **changes: Any) -> HttpSettings:
    limits = {
        "arxiv_api": HostLimit(min_interval_seconds=tools.arxiv_delay_seconds, max_connections=1),
        "arxiv_html": HostLimit(min_interval_seconds=tools.page_delay_seconds, max_connections=4),
        "semantic_scholar": HostLimit(tools.semantic_scholar_delay_seconds, SEMANTIC_SCHOLAR_LIMIT.max_connections),
    }
    asked: dict[str, Any] = {
        "max_retries": tools.retries,
        "cache_path": cache_file(tools.cache_dir, "http"),
        "try_timeout_seconds": tools.timeout_seconds or float("inf"),
        "starts_folder": machine_folder(),
    }
    settings = http_settings(_urls(tools), limits, **(asked | changes))
    served = {host_of(tools.library)} if tools.library and is_address(tools.library) else set()
    return replace(settings, allowed_hosts=settings.allowed_hosts | served)


def cache_file(cache_dir: str | None, name: str) -> Path | None:
    """Where `name` is kept in the cache folder; None where nothing is kept."""
    if not cache_dir:
        return None
    if cache_dir != "auto":
        return Path(cache_dir) / name
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pasa" / name


def how_to_go_live() -> str:
    """What to say where the demo library answers."""
    return (
        f"  These are about 200 well-known papers that ship with the tool. To search the world: set {SERPER_KEY} "
        "(Google, a key from serper.dev), or use --engine arxiv (no key), or --library a library of your own "
        "(scripts/build_library.py)."
    )


def _shown(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path

"""The settings of a run: frozen records, filled from YAML, the environment and flags, in that order.

Defaults are the paper's where the paper states them (PAPER.md). Nothing is read at import.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml

from pasa.actions import ArgumentEnd
from pasa.errors import ConfigError
from pasa.prompts import PromptSet, SectionsRendering


@dataclass(frozen=True)
class AgentSettings:
    """How the crawl goes. The last group is where the public code differs from the paper, a setting each."""

    expand_layers: int = 2  # paper: 2
    search_queries: int = 5  # queries kept of a search session
    search_papers: int = 10  # results asked for per query
    expand_papers: int = 20  # papers expanded in each layer but the first
    first_layer_expand_papers: int | None = None  # papers expanded in the first layer; None = all
    cited_by: int = 0  # papers citing it that are taken for each paper expanded; the paper and the public code: none
    select_threshold: float = 0.5  # a paper is selected above it
    reasons: int = 0  # selected papers, the best first, of which the Selector is asked why; a reply of a sentence each
    threads_num: int = 20  # web calls under way at once
    undated: Literal["drop", "keep"] = "drop"  # papers without any date, when there is an end date

    prompts: PromptSet = "pasa"  # chat = for general chat models, with instructions and examples
    temperature: float = 0.0  # of the Crawler; 0 = greedy
    top_p: float = 1.0
    max_new_tokens: int = 512
    seed: int = 0
    ensemble_runs: int = 1  # further runs are sampled and the trees united
    ensemble_temperature: float = 2.0  # paper: 2.0
    ensemble_top_p: float = 0.8  # paper: 0.8

    # Ends a run after so many new papers in a row, led to by papers read, of which none was selected; None = never.
    stop_when_saturated: int | None = None
    max_papers_scored: int | None = None  # budgets; None = no limit
    max_model_calls: int | None = None  # Crawler replies + Selector scores
    max_seconds: float | None = None

    end_date_on_expansion: bool = True  # public code: false
    sections_rendering: SectionsRendering = "json"  # public code: dict_keys
    argument_end: ArgumentEnd = "tag"  # public code: bracket (a last action without a "[" behind it is lost)
    exact_sections: bool = False  # public code: true
    search_question_if_no_query: bool = True  # when the Crawler writes no search action; public code: false
    search_order: Literal["first_first", "last_first"] = "first_first"  # public code: last_first
    search_queries_follow_expand_papers: bool = False  # public code: true (`--search_queries` is ignored)
    same_paper: Literal["id_or_title", "id"] = "id_or_title"  # public code: id
    selector_title: Literal["paper", "cited"] = "paper"  # public code: the title as cited

    @property
    def query_limit(self) -> int:
        """Queries kept of one search session."""
        return self.expand_papers if self.search_queries_follow_expand_papers else self.search_queries


@dataclass(frozen=True)
class ModelSettings:
    """Which models to use. A path is a folder, a hub name, `rules`, or `openai:MODEL` on the server at `api_base`."""

    crawler_path: str = "auto"  # auto = checkpoints/pasa-7b-crawler where it exists, else rules
    selector_path: str = "auto"
    encoder: str = "all-MiniLM-L6-v2"  # reads for `rules`: this, pasa-minilm, or a folder of train_embedder.py
    device: str = "auto"
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    attention: Literal["auto", "flash_attention_2", "sdpa", "eager"] = "auto"
    # Final scores; auto: with `rules`, by all that the crawl tells (pasa.models.rules_ranker);
    # citations: in a large library by who cites whom among the found; none: as the Selector gave them.
    rerank: Literal["auto", "citations", "none"] = "auto"
    # Reads the best papers of the final ranking again and orders them anew (pasa.models.second_reading); null = none.
    second_selector_path: str | None = None
    second_selector_papers: int = 30
    second_selector_share: float = 0.25  # of its word in the order; 1 = the first ranking has none
    title_repair_path: str | None = None  # writes the titles of cited entries that nothing was found for; null = nobody
    batch_size: int = 8  # prompts the Crawler answers at once
    api_base: str | None = None  # of the OpenAI-compatible server; None = the client's own default
    selector_api_base: str | None = None  # of the Selectors' server; None = api_base (vLLM serves one model a server)
    api_timeout_seconds: float = 120.0
    # Requests to it under way at once, of Crawler and Selector each; None = 8, or 4 a query that runs at once.
    api_concurrency: int | None = None
    queries_at_once: int | None = (
        None  # of an input file; None = 8 where a server answers, 1 for models in this process
    )
    price_per_million_prompt_tokens: float = 0.0  # dollars
    price_per_million_reply_tokens: float = 0.0


ENGINES = ("auto", "serper", "scholar", "arxiv", "openalex", "semantic_scholar", "library", "demo")
REFERENCE_SOURCES = ("auto", "openalex", "semantic_scholar")


@dataclass(frozen=True)
class ToolSettings:
    """Where papers come from."""

    engine: str = "auto"  # one of ENGINES, or several with commas between, whose results are fused
    library: str | None = None  # a built library
    # How it is searched: words, meaning, both. auto = hybrid where scripts/embed_library.py has been run, else bm25.
    retrieval: Literal["auto", "bm25", "dense", "hybrid"] = "auto"
    # who tells what papers without a page cite, of REFERENCE_SOURCES: several with commas between, "" = nobody;
    # auto = those that are engines of the run
    reference_sources: str = "auto"
    reference_match: Literal["exact", "fuzzy"] = "fuzzy"  # in a library; public code: exact (title's letters only)
    serper_base: str = "https://google.serper.dev"
    arxiv_api_base: str = "https://export.arxiv.org/api/query"
    arxiv_html_base: str = "https://arxiv.org/html"
    ar5iv_base: str = "https://ar5iv.labs.arxiv.org/html"
    openalex_base: str = "https://api.openalex.org"
    semantic_scholar_base: str = "https://api.semanticscholar.org/graph/v1"
    google_keep_order: bool = True  # public code: false (results pass through a set)
    timeout_seconds: float | None = 60.0  # of one try of a web call, first byte to last; public code: none
    retries: int = 4
    arxiv_delay_seconds: float = 3.0  # arXiv API terms: one request per 3 s
    page_delay_seconds: float = 0.25
    semantic_scholar_delay_seconds: float = 1.0  # one request a second with a free key
    cache_dir: str | None = "auto"  # answers of services; auto = the user's cache folder, null or "" = not kept


@dataclass(frozen=True)
class Settings:
    """Everything a run is told."""

    agent: AgentSettings = field(default_factory=AgentSettings)
    models: ModelSettings = field(default_factory=ModelSettings)
    tools: ToolSettings = field(default_factory=ToolSettings)


_MINIMUM = {
    "expand_layers": 0,
    "search_queries": 1,
    "search_papers": 1,
    "expand_papers": 0,
    "first_layer_expand_papers": 0,
    "cited_by": 0,
    "threads_num": 1,
    "reasons": 0,
    "max_new_tokens": 1,
    "ensemble_runs": 1,
    "stop_when_saturated": 1,
    "max_papers_scored": 0,
    "max_model_calls": 0,
    "max_seconds": 0,
    "temperature": 0,
    "ensemble_temperature": 0,
    "second_selector_papers": 1,
    "second_selector_share": 0,
    "batch_size": 1,
    "api_concurrency": 1,
    "queries_at_once": 1,
    "retries": 0,
    "arxiv_delay_seconds": 0,
    "page_delay_seconds": 0,
    "semantic_scholar_delay_seconds": 0,
    "select_threshold": 0,
    "top_p": 0,
    "ensemble_top_p": 0,
}
_MAXIMUM = {"select_threshold": 1, "second_selector_share": 1, "top_p": 1, "ensemble_top_p": 1}
_ABOVE_ZERO = {"timeout_seconds", "api_timeout_seconds"}
_URLS = {
    "serper_base",
    "arxiv_api_base",
    "arxiv_html_base",
    "ar5iv_base",
    "openalex_base",
    "semantic_scholar_base",
    "api_base",
    "selector_api_base",
}


def engine_names(engine: str, where: str = "engine") -> tuple[str, ...]:
    """The engines that a setting names, each once, in order; ("auto",) for the choice left open. Raises ConfigError."""
    return _names(engine, ENGINES, where, "serper,arxiv")


def reference_source_names(sources: str, where: str = "reference_sources") -> tuple[str, ...]:
    """The reference sources that a setting names, as engine_names; () for none. Raises ConfigError."""
    return _names(sources, REFERENCE_SOURCES, where, "openalex,semantic_scholar") if sources.strip() else ()


def _names(text: str, known: tuple[str, ...], where: str, several: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in known:
            raise ConfigError(f"{where} is {name!r}; it may be {', '.join(known)}, or several: {several}")
    if "auto" in names and len(names) > 1:
        raise ConfigError(f"{where} is {text!r}; auto stands alone, or name them: {several}")
    return names


def load_settings(path: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Settings from a YAML file (groups agent, models, tools), overridden by `flags` (field name -> value).

    A flag that is None leaves the file's value. Raises ConfigError naming the key and what it may be.
    """
    groups = _read_groups(path) if path else {}
    flags = {name: value for name, value in (flags or {}).items() if value is not None}
    made: dict[str, Any] = {}
    for group in dataclasses.fields(Settings):
        record = typing.get_type_hints(Settings)[group.name]
        names = {f.name for f in dataclasses.fields(record)}
        values = {**groups.pop(group.name, {}), **{n: flags.pop(n) for n in names & flags.keys()}}
        made[group.name] = make_record(record, values, f"{path.name if path else 'settings'}: {group.name}")
    for name in groups:
        raise ConfigError(f"{path}: unknown group {name!r}; the groups are agent, models, tools")
    for name in flags:
        known = [field.name for record in made.values() for field in dataclasses.fields(record)]
        raise ConfigError(f"unknown setting {name!r}{_did_you_mean(name, known)}")
    return Settings(**made)


def read_yaml(path: Path) -> Any:
    """What a YAML file holds. Raises ConfigError where it cannot be read or is not YAML."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error


def _read_groups(path: Path) -> dict[str, dict[str, Any]]:
    content = read_yaml(path)
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(v, dict | None) for v in content.values()):
        raise ConfigError(f"{path} must hold groups of settings (agent:, models:, tools:), each `name: value` lines")
    return {name: values or {} for name, values in content.items()}


def make_record(record: type[Any], values: Mapping[str, Any], where: str) -> Any:
    """`record` made of `values`, each checked against its type; raises ConfigError, which `where` begins."""
    hints = typing.get_type_hints(record)
    for name, value in values.items():
        if name not in hints:
            raise ConfigError(f"{where}: unknown setting {name!r}{_did_you_mean(str(name), hints)}")
        _check(f"{where}.{name}", name, value, hints[name])
    return record(**{n: float(v) if hints[n] is float else v for n, v in values.items()})


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _check(where: str, name: str, value: Any, hint: Any) -> None:
    allowed = _members(hint)
    literals = [m for a in allowed if typing.get_origin(a) is Literal for m in typing.get_args(a)]
    if literals:
        if value not in literals and not (value is None and type(None) in allowed):
            raise ConfigError(f"{where} is {value!r}; it may be {', '.join(map(str, literals))}")
        return
    if isinstance(value, bool) and bool not in allowed:
        raise ConfigError(f"{where} is {value!r}; it takes {_spell(allowed)}")
    numeric = isinstance(value, int) and float in allowed
    if not numeric and not isinstance(value, tuple(allowed)):
        raise ConfigError(f"{where} is {value!r}; it takes {_spell(allowed)}")
    if value is not None:
        _check_range(where, name, value)
    if name == "engine":
        engine_names(value, where)
    if name == "reference_sources":
        reference_source_names(value, where)
    if value and name in _URLS and not _is_url(value):
        raise ConfigError(f"{where} is {value!r}; it takes a URL such as http://127.0.0.1:8000/v1")


def _check_range(where: str, name: str, value: Any) -> None:
    if name in _MINIMUM and not value >= _MINIMUM[name]:  # "not >=" so that NaN is refused too
        raise ConfigError(f"{where} is {value!r}; it must be at least {_MINIMUM[name]}")
    if name in _MAXIMUM and value > _MAXIMUM[name]:
        raise ConfigError(f"{where} is {value!r}; it must be at most {_MAXIMUM[name]}")
    if name in _ABOVE_ZERO and not value > 0:
        raise ConfigError(f"{where} is {value!r}; it must be above 0")


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


def _members(hint: Any) -> list[Any]:
    return list(typing.get_args(hint)) if isinstance(hint, types.UnionType) else [hint]


def _spell(allowed: list[Any]) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    return " or ".join(names.get(a, str(a)) for a in allowed)


def to_dict(settings: Settings) -> dict[str, Any]:
    """The settings as plain data, for run records; they hold no secret (keys come from the environment)."""
    return dataclasses.asdict(settings)

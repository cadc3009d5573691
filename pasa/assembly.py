"""Puts an agent together from settings: the one place that chooses models, with tool_assembly.py's engine and sources.

Each choice is told in a line: what is used, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from pasa.config import ModelSettings, Settings, load_settings, to_dict
from pasa.errors import CheckpointError, ConfigError
from pasa.library import Library
from pasa.models.base import Explainer, Generator, Scorer
from pasa.reranking import Rerank
from pasa.runtime import PaperAgent
from pasa.tool_assembly import Choice, Tools, build_tools, cache_file, choose_engine, how_to_go_live
from pasa.tools.base import PaperSource
from pasa.tools.title_repair import TitleRepairSource
from pasa.versions import code_version, library_version, model_version

if TYPE_CHECKING:
    from pasa.models.encoders import MiniLM
    from pasa.models.openai_client import Connection

ROOT = Path(__file__).parents[1]
CHECKPOINTS = {"crawler": "pasa-7b-crawler", "selector": "pasa-7b-selector"}

# Of an input file, where a server answers; and requests to it for each of them.
QUERIES_AT_ONCE = 8
REQUESTS_A_QUERY = 4

# In a library smaller than this everything cites the same few papers: who cites whom alone says nothing.
RERANK_PAPERS = 5000
# In a library with more full texts it would take longer than 10 s to count how often each paper is cited.
CITATIONS_COUNTED_PAPERS = 50_000

Note = Callable[[str], None]


class Assembly:
    """An agent with all it is made of; leaving the context closes everything."""

    def __init__(self, agent: PaperAgent, tools: Tools, record: dict[str, Any], parts: ExitStack) -> None:
        self.agent = agent
        self.tools = tools  # what the agent finds papers with
        self.record = record  # how the agent is made, for result files
        self._parts = parts

    def close(self) -> None:
        self._parts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def choose_settings(given: Settings, config: Path | None, flags: Mapping[str, Any]) -> tuple[Settings, Path, Choice]:
    """The settings with those of the configuration that fits where `config` names none, that one, and the engine.

    `given`: what config and flags say. Raises ConfigError.
    """
    engine = choose_engine(given.tools)
    config = config or choose_config(given, engine)
    return load_settings(config, flags), config, engine


def choose_config(settings: Settings, engine: Choice) -> Path:
    """The configuration for a call that names none: without a language model, on a library, searches cost nothing,
    so that many more results are looked at; else the paper's settings."""
    if engine.name == "library" and choose_model(settings.models.crawler_path, "crawler").name == "rules":
        return ROOT / "configs" / "agent_rules.yaml"
    return ROOT / "configs" / "agent.yaml"


def assemble(
    settings: Settings, note: Note | None = None, config: Path | None = None, engine_choice: Choice | None = None
) -> Assembly:
    """The agent that the settings describe, on the engine chosen before or chosen now.

    Raises UserErrors (keys, checkpoints, libraries, flags).
    """
    tell = note or (lambda _: None)
    with ExitStack() as parts:
        engine_choice = engine_choice or choose_engine(settings.tools)
        tools = build_tools(settings, engine_choice, parts)
        tell(f"engine: {engine_choice.name} ({engine_choice.reason})")
        for line in tools.notes:
            tell(line)
        if tools.retrieval and "no vectors" not in tools.retrieval.reason:
            tell(f"search: {tools.retrieval.name} ({tools.retrieval.reason})")
        if engine_choice.name == "demo":
            tell(how_to_go_live())
        generator, scorer = _models(settings, tools.library, tell)
        if settings.agent.ensemble_runs > 1 and generator.name == "rules":
            tell("  --ensemble_runs is for language models: rules are not sampled, each run is the same")
        if settings.agent.reasons and not isinstance(scorer, Explainer):
            raise ConfigError(f"--reasons: {scorer.name} cannot say why; name a language model with --selector_path")
        searched = tools.library if engine_choice.name in ("library", "demo") else None
        rerank = _rerank(settings.models, scorer, tools.library, searched)
        rerank = _read_again(settings, rerank, tools.library, tell)
        source = _repairing(tools.source, settings.models, tools.library)
        agent = PaperAgent(
            generator,
            scorer,
            tools.engine,
            source,
            settings.agent,
            rerank=rerank,
            citations=tools.citations,
            retries=tools.retries,
        )
        parts.callback(agent.close)
        record = {
            "engine": engine_choice.name,
            "source": source.name,
            "retrieval": tools.retrieval.name if tools.retrieval else None,
            "citations": tools.citations.name if tools.citations else None,
            "crawler": generator.name,
            "selector": scorer.name,
            "reranked": rerank is not None,
            "config": config.name if config else None,
            "settings": to_dict(settings)["agent"],
            "versions": _versions(settings.models, tools.library),
        }
        return Assembly(agent, replace(tools, source=source), record, parts.pop_all())


# -- models ----------------------------------------------------------------------------------------------------------


def choose_model(path: str, role: Literal["crawler", "selector"]) -> Choice:
    """Which model a path means, and why."""
    if path != "auto":
        return Choice(path, "as asked")
    checkpoint = ROOT / "checkpoints" / CHECKPOINTS[role]
    if checkpoint.is_dir():
        return Choice(str(checkpoint), "the checkpoint is here")
    return Choice("rules", f"no checkpoints/{CHECKPOINTS[role]}; no language model is used")


def _models(settings: Settings, library: Library | None, tell: Note) -> tuple[Generator, Scorer]:
    crawler = choose_model(settings.models.crawler_path, "crawler")
    selector = choose_model(settings.models.selector_path, "selector")
    generator = build_generator(crawler.name, settings.models, library)
    tell(f"crawler: {getattr(generator, 'description', generator.name)} ({crawler.reason})")
    scorer = build_scorer(selector.name, settings, library)
    tell(f"selector: {getattr(scorer, 'description', scorer.name)} ({selector.reason})")
    return generator, scorer


def _versions(models: ModelSettings, library: Library | None) -> dict[str, Any]:
    """What the agent is made of, told apart from other versions of it."""
    made = {"code": code_version(), "library": library_version(library)}
    for role, path in (("crawler", models.crawler_path), ("selector", models.selector_path)):
        name = choose_model(path, cast(Literal["crawler", "selector"], role)).name
        made[role] = model_version(name, *([_minilm(models).weights_file] if name == "rules" else []))
    return made


def _repairing(source: PaperSource, models: ModelSettings, library: Library | None) -> PaperSource:
    """The source with a model behind it that repairs titles, where one is asked for."""
    path = models.title_repair_path
    if not path:
        return source
    if path == "rules":
        raise ConfigError("title_repair_path takes a language model, such as openai:gpt-4o-mini; rules write no titles")
    # A model of its own even where the Crawler's is the same: a Generator serves one thread at a time.
    return TitleRepairSource(source, build_generator(path, models, library))


def queries_at_once(models: ModelSettings) -> int:
    """How many queries of an input file run at once: as set, else 8 where a server answers and 1 with local models.

    A server fills its batch from all of them. A model in this process is busy with one query, and what it computes may
    depend in the last digit on what else is in its batch.
    """
    if models.queries_at_once is not None:
        return models.queries_at_once
    paths = choose_model(models.crawler_path, "crawler").name, choose_model(models.selector_path, "selector").name
    served = [path for path in paths if path.startswith("openai:")]
    return QUERIES_AT_ONCE if served and all(path in served or path == "rules" for path in paths) else 1


def build_generator(path: str, models: ModelSettings, library: Library | None) -> Generator:
    """The generator that `path` names, "auto" aside; `library`: for the statistics of `rules`. Raises UserErrors."""
    if path == "rules":
        from pasa.models.rules import RulesGenerator

        return RulesGenerator(library)
    if path.startswith("openai:"):
        from pasa.models.openai_api import OpenAIGenerator

        return OpenAIGenerator(_server_model(path), **_server(models))
    from pasa.models.huggingface import HuggingFaceGenerator

    return HuggingFaceGenerator.load(path, models.device, models.dtype, models.attention, models.batch_size)


def build_scorer(path: str, settings: Settings, library: Library | None) -> Scorer:
    """The scorer that `path` names, "auto" aside; `library`: for the statistics of `rules`. Raises UserErrors."""
    models = settings.models
    if path == "rules":
        from pasa.models.encoders import minilm_store
        from pasa.models.rules import RulesScorer
        from pasa.models.rules_weights import read_weights

        minilm = _minilm(models)
        kept = cache_file(settings.tools.cache_dir, minilm.store_name)
        store = minilm_store(library.path if library else None, kept, minilm.name)
        return RulesScorer(library, minilm.embedder(store), read_weights(minilm.weights_file))
    if path.startswith("openai:"):
        from pasa.models.openai_api import OpenAIScorer

        return OpenAIScorer(_server_model(path), **_server(models, models.selector_api_base))
    from pasa.models.huggingface import load_scorer

    return load_scorer(path, models.device, models.dtype, models.attention)


def _rerank(models: ModelSettings, scorer: Scorer, library: Library | None, searched: Library | None) -> Rerank | None:
    """Who gives the final scores: only where they start from `rules` scores, which it was fitted to.

    `searched`: the library, where it is the engine.
    """
    from pasa.models.rules import RulesScorer

    if models.rerank == "none" or not isinstance(scorer, RulesScorer):
        return None
    if models.rerank == "citations":
        return _rerank_by_citations(models) if searched and searched.num_papers >= RERANK_PAPERS else None
    from pasa.models.rules_ranker import RulesRanker

    counted = searched is not None and searched.info().with_sections <= CITATIONS_COUNTED_PAPERS
    return RulesRanker(scorer.embedder, searched.times_cited if searched and counted else None, library)


def _read_again(settings: Settings, first: Rerank | None, library: Library | None, tell: Note) -> Rerank | None:
    """`first` with the second Selector's word on its best papers, where one is asked for."""
    models = settings.models
    if not models.second_selector_path:
        return first
    from pasa.models.second_reading import SecondReading

    scorer = build_scorer(models.second_selector_path, settings, library)
    tell(f"second selector: {getattr(scorer, 'description', scorer.name)}, the best {models.second_selector_papers}")
    papers, share = models.second_selector_papers, models.second_selector_share
    return SecondReading(scorer, first, settings.agent.prompts, papers, share)


def _rerank_by_citations(models: ModelSettings) -> Rerank:
    from pasa.models.rules_reranker import rerank
    from pasa.models.rules_weights import read_weights

    weights = read_weights(_minilm(models).weights_file)
    return lambda found: rerank(found.scores, found.citations, weights)


def _minilm(models: ModelSettings) -> MiniLM:
    """The encoder of `rules`. Raises CheckpointError when it is none that `rules` can be calibrated to."""
    from pasa.models.encoders import MINILM, PASA_MINILM, find_minilm

    found = find_minilm(models.encoder)
    if found is None:
        raise CheckpointError(
            f"encoder {models.encoder!r} is not here: it may be {MINILM}, {PASA_MINILM}, or a folder that "
            "scripts/train_embedder.py wrote"
        )
    return found


def _server_model(path: str) -> str:
    model = path.removeprefix("openai:")
    if not model:
        raise CheckpointError("openai: needs a model's name, such as openai:gpt-4o-mini")
    return model


def _server(models: ModelSettings, own_base: str | None = None) -> Connection:
    from pasa.models.openai_client import DEFAULT_CONCURRENCY, Prices

    at_once = models.queries_at_once or 1
    return {
        "base_url": own_base or models.api_base,
        "timeout_seconds": models.api_timeout_seconds,
        "concurrency": models.api_concurrency or max(DEFAULT_CONCURRENCY, REQUESTS_A_QUERY * at_once),
        "prices": Prices(models.price_per_million_prompt_tokens, models.price_per_million_reply_tokens),
    }

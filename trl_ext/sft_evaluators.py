"""Evaluation during training: a model in training as the agent's Scorer or Generator, and what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pasa.library import Library
from pasa.models.hf_generator import HuggingFaceGenerator
from pasa.models.hf_likelihood import Calibration, LikelihoodScorer
from pasa.models.hf_loading import LoadedModel
from pasa.models.hf_prompts import MAX_PROMPT_TOKENS
from pasa.models.hf_scorer import HuggingFaceScorer
from pasa.query import read_queries
from trl_ext.sft_data import SftRow
from trl_ext.sft_evaluation import (
    GoldSearch,
    crawler_metrics,
    logistic_fit,
    pair_requests,
    select_requests,
    selector_metrics,
)
from trl_ext.sft_settings import SftSettings

# Of a crawler's file both kinds of session are answered in an evaluation, in this share of searches.
SEARCH_SHARE = 0.5

Evaluator = Callable[[PreTrainedModel], dict[str, Any]]


def evaluator_of(settings: SftSettings, rows: Sequence[SftRow], tokenizer: PreTrainedTokenizerBase) -> Evaluator:
    """Measures a model on held-out rows the way the agent uses it."""
    if settings.task == "selector":

        def decisions(model: PreTrainedModel) -> dict[str, Any]:
            loaded = _loaded(model, tokenizer, settings)
            if settings.objective == "likelihood":
                return _likelihood_metrics(LikelihoodScorer(loaded), rows)
            # not packed: that swaps the attention function of a model which is in training
            scorer = HuggingFaceScorer(loaded, pack=False)
            return selector_metrics(scorer.score(select_requests(rows, settings.uses_chat_template)), rows)

        return decisions
    golds = gold_search(settings)
    chosen = sessions_to_answer(rows, settings.eval_sessions)

    def sessions(model: PreTrainedModel) -> dict[str, Any]:
        generator = HuggingFaceGenerator(_loaded(model, tokenizer, settings), settings.eval_batch_size)
        return crawler_metrics(generator, chosen, settings.eval_max_new_tokens, golds)

    return sessions


def _likelihood_metrics(scorer: LikelihoodScorer, rows: Sequence[SftRow]) -> dict[str, Any]:
    """The Selector's measures once its gains are scores, and the "slope" and "offset" that make them so."""
    requests = pair_requests(rows)
    gains = scorer.gains(requests, scorer.encode(requests))
    slope, offset = logistic_fit(gains, [row.is_answer for row in rows])
    calibration = Calibration(slope, offset)
    metrics = selector_metrics([calibration.score(gain) for gain in gains], rows)
    return {**metrics, "slope": slope, "offset": offset}


def sessions_to_answer(rows: Sequence[SftRow], count: int) -> list[SftRow]:
    """At most `count` rows, the first of each kind, searches and expansions in equal numbers where there are enough."""
    searches = [row for row in rows if row.kind == "search"]
    expansions = [row for row in rows if row.kind == "expand"]
    wanted = max(round(count * SEARCH_SHARE), count - len(expansions))
    searches = searches[:wanted]
    return [*searches, *expansions[: count - len(searches)]]


def gold_search(settings: SftSettings) -> GoldSearch | None:
    """Where the Crawler's queries are tried; None without a library and questions. Raises ConfigError, LibraryError."""
    if not settings.library or not settings.eval_queries:
        return None
    library = Library.open(settings.library)
    questions = {query.text: query for query in read_queries(Path(settings.eval_queries))}
    return GoldSearch(
        lambda query, limit, end: [hit.paper for hit in library.search(query, limit, end)],
        questions,
        settings.eval_search_papers,
    )


def _loaded(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: SftSettings) -> LoadedModel:
    limit = min(MAX_PROMPT_TOKENS, settings.max_seq_length)
    return LoadedModel(model, tokenizer, settings.model_name_or_path, "in training", limit)

"""The models that need no language model, for any laptop: a Generator and a Scorer made of rules."""

from __future__ import annotations

from pasa.models.rules_crawler import RulesGenerator
from pasa.models.rules_reranker import rerank
from pasa.models.rules_selector import RulesScorer
from pasa.models.term_statistics import CommonWords, TermStatistics, common_words

__all__ = ["CommonWords", "RulesGenerator", "RulesScorer", "TermStatistics", "common_words", "rerank"]

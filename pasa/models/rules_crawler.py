"""The Crawler without a language model: queries from the question's words, sections by name and overlap."""

from __future__ import annotations

from collections.abc import Sequence

from pasa.actions import render_actions
from pasa.models.base import CrawlRequest, Reply, Sampling
from pasa.models.term_statistics import TermStatistics, common_words, inverse_document_frequency
from pasa.models.text import subject_phrases, subject_words

MAX_QUERIES = 20  # as many as any configuration carries out (PAPER.md: upstream's 20)
MAX_QUERY_WORDS = 32  # what Google reads of a query


class RulesGenerator:
    """Writes the Crawler's actions by rule; the sampling is not used.

    `statistics` say which words discriminate; None takes the committed table.
    """

    name = "rules"

    def __init__(self, statistics: TermStatistics | None = None) -> None:
        self._statistics = statistics

    def generate(self, requests: Sequence[CrawlRequest], sampling: Sampling) -> list[Reply]:
        """One reply a request, in order."""
        return [Reply(self._session(r)) for r in requests]

    def _session(self, request: CrawlRequest) -> str:
        if request.kind == "search":
            return render_actions("search", search_queries(request.query, self._statistics or common_words()))
        return render_actions("expand", ordered_sections(request.section_names))


def search_queries(question: str, statistics: TermStatistics) -> list[str]:
    """Queries for `question`, the best single one first, at most MAX_QUERIES; [] when it holds no word."""
    words = subject_words(question)
    if not words:
        return []
    weights = {w: inverse_document_frequency(statistics, w) for w in words}
    queries = [_by_weight(words, weights, MAX_QUERY_WORDS)]
    queries.append(_by_weight(words, weights, -(-len(words) // 2)))
    phrases = [list(dict.fromkeys(p)) for p in subject_phrases(question)]
    known = [[w for w in phrase if w in weights] for phrase in phrases]
    known.sort(key=lambda phrase: -sum(weights[w] for w in phrase))
    queries += [" ".join(phrase) for phrase in known if len(phrase) > 1]
    queries.append(f"{queries[1]} survey")
    return list(dict.fromkeys(q for q in queries if q))[:MAX_QUERIES]


def _by_weight(words: Sequence[str], weights: dict[str, float], limit: int) -> str:
    """The `limit` heaviest words in the question's order."""
    if len(words) > limit:
        kept = set(sorted(words, key=lambda w: -weights[w])[:limit])
        words = [w for w in words if w in kept]
    return " ".join(words)


# How a section's name says that it reviews others' work, the best first.
_PRIORITIES = ("related", "background", "literature", "prior work", "introduction", "preliminar", "overview", "survey")


def ordered_sections(names: Sequence[str]) -> list[str]:
    """All section names, those that review others' work first, else in the paper's order."""

    def priority(name: str) -> int:
        lowered = name.lower()
        return next((i for i, word in enumerate(_PRIORITIES) if word in lowered), len(_PRIORITIES))

    return sorted(dict.fromkeys(n for n in names if n.strip()), key=priority)

"""Builds (query, paper) pairs with their decisions, to train the Selector on: scripts/build_sft_selector.py.

Positives are the query's answers. Negatives are papers that a simulated crawl meets: the best hits of the rules
Crawler's queries, the papers those hits cite (few hits have full text: then what others who cite an answer cite in
other sections), and papers cited by anyone, with the query's source paper hidden.

Answers are a fraction of the papers that answer a query, and what a search puts first is often right. A paper met is
therefore no negative where it

- is cited by the source paper, for whatever: its author put both into one context;
- is "selected": its title and abstract hold SELECTED_COVERAGE or more of the question's words, by their weight, or
  SELECTED_COVERAGE_OF_SHORT where the question has but one or two. Only a question that tells what one paper does has
  no other answer, so that for it a paper that holds nearly all words is a negative as well: words alone decide nothing.

With a Selector (`rules`, or a checkpoint of an earlier stage) what it scores above 0.5 is no negative either.

A hard negative is a hit that holds some of the question's telling words; those are preferred.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pasa.evaluation.metrics import SELECT_THRESHOLD
from pasa.library import Library
from pasa.models.base import Scorer
from pasa.models.rules_crawler import search_queries
from pasa.models.term_statistics import common_words
from pasa.paper import Paper
from pasa.prompts import select_request
from pasa.training_data.build import Build, Made, Row, rng_of
from pasa.training_data.by_query import build_by_query
from pasa.training_data.citation_graph import CitationGraph
from pasa.training_data.coverage import coverage, question_weights
from pasa.training_data.judges import Verdict
from pasa.training_data.query_rows import MAX_BAD_ROWS, LabelledQuery

NegativeKind = Literal["search", "cited", "elsewhere"]

SELECTED_COVERAGE = 0.75
SELECTED_COVERAGE_OF_ONE = 0.95  # where the question tells what one paper does
SHORT_QUESTION, SELECTED_COVERAGE_OF_SHORT = 2, 0.6  # words; "submodular maximization": the rarer of two is nearly all
HARD_COVERAGE = 0.25  # a hit that holds less of the question is an easy negative
MAX_PROMPT_CHARACTERS = 6000  # about 1,500 tokens; upstream's rows are cut at 1,024
_HITS = 50  # of each query that are met
_QUERIES = 2  # of the rules Crawler's that are searched
_LOOKED_AT_PER_NEGATIVE = 8  # hits, drawn from all that are met
_CITING_HITS = 4  # hits with full text whose references are followed
_KINDS: tuple[NegativeKind, ...] = ("search", "cited", "elsewhere")


@dataclass(frozen=True, slots=True)
class PairSettings:
    """What the rows depend on, beside library and queries."""

    seed: int = 0
    positives: int = 4  # of a query at most
    negatives_per_positive: float = 1.5
    search_share: float = 0.6  # of the negatives
    cited_share: float = 0.2  # the rest are papers cited by anyone
    max_bad_rows: int = MAX_BAD_ROWS


def build_pairs(
    library: Library,
    queries: Path,
    folder: Path,
    settings: PairSettings,
    verdicts: Mapping[tuple[str, str], Verdict] | None = None,
    selector: Scorer | None = None,
    fresh: bool = False,
    progress: Callable[[Build], None] = lambda build: None,
    workers: int = 1,
) -> dict[str, Any]:
    """Writes the pairs for a folder of queries into `folder` and gives the manifest.

    `verdicts`, by (qid, title key): judges' decisions (pasa/training_data/judges.py), which overrule the labels; their
    reasons follow the decision. A `selector` works in this process alone. Raises ConfigError.
    """
    coverages = [HARD_COVERAGE, SELECTED_COVERAGE, SELECTED_COVERAGE_OF_SHORT, SELECTED_COVERAGE_OF_ONE]
    recorded = {
        "coverage": coverages,
        "verdicts": len(verdicts or {}),
        "selector": selector.name if selector else None,
    }
    maker = partial(_Pairs, CitationGraph.read(library), settings, verdicts or {}, selector)
    workers = 1 if selector else workers
    return build_by_query(
        "build_sft_selector", library, queries, folder, settings, maker, recorded, fresh, progress, workers
    )


class _Pairs:
    """Makes the pairs of one query after the other."""

    def __init__(
        self,
        graph: CitationGraph,
        settings: PairSettings,
        verdicts: Mapping[tuple[str, str], Verdict],
        selector: Scorer | None,
        library: Library,
    ) -> None:
        self._graph = graph
        self._settings = settings
        self._verdicts = verdicts
        self._selector = selector
        self._library = library

    def __call__(self, query: LabelledQuery) -> Made:
        settings, made = self._settings, Made()
        rng = rng_of(settings.seed, query.qid, query.question)
        answers = rng.sample(query.answers, min(settings.positives, len(query.answers)))
        rows = [row for paper in answers if (row := self._row(query, paper, True, None, made))]
        wanted = round(settings.negatives_per_positive * len(rows) + rng.random() - 0.5)  # right on average
        for kind, paper in self._not_selected(query, list(self._negatives(query, wanted, rng, made)), made):
            if row := self._row(query, paper, False, kind, made):
                rows.append(row)
        rng.shuffle(rows)
        for row in rows:
            decision = row["messages"][1]["content"].split("\n")[0]
            made.counts[f"{decision} pairs"] += 1
            if row["negative"]:
                made.counts[f"negatives by {row['negative']}"] += 1
        made.rows = rows
        return made

    def _row(
        self, query: LabelledQuery, paper: Paper, is_answer: bool, kind: NegativeKind | None, made: Made
    ) -> Row | None:
        verdict = self._verdicts.get((query.qid, paper.title_key))
        if verdict is not None and verdict.is_answer != is_answer:
            made.drops["judges disagree with the label"] += 1
            return None
        prompt = select_request(query.question, paper.title, paper.abstract).prompt
        if not paper.abstract.strip():
            made.drops["paper without abstract"] += 1
            return None
        if len(prompt) > MAX_PROMPT_CHARACTERS:
            made.drops["over-long prompt"] += 1
            return None
        return pair_row(query, paper, prompt, is_answer, kind, verdict.reason if verdict else "")

    def _negatives(
        self, query: LabelledQuery, wanted: int, rng: random.Random, made: Made
    ) -> Iterator[tuple[NegativeKind, Paper]]:
        """At most `wanted` papers; where one kind runs out, the hardest that is left stands in."""
        if wanted <= 0:
            return
        settings = self._settings
        shares = (settings.search_share, settings.cited_share, 1 - settings.search_share - settings.cited_share)
        kinds = rng.choices(_KINDS, shares, k=wanted)
        hits = self._hits(query, rng)
        refused = {*query.numbers, *self._graph.cited_by(query.source), query.source}
        words = question_weights(query.question)
        selected = selected_coverage(query, words)
        looked_at = self._read(hits[: _LOOKED_AT_PER_NEGATIVE * wanted])
        pools: dict[NegativeKind, Iterator[tuple[int, Paper]]] = {
            "search": iter(_hard_first(words, selected, looked_at)),
            "cited": self._each(self._cited(query, hits, rng), refused),
            "elsewhere": self._each(self._graph.cited_anywhere(rng), refused),
        }
        for kind in kinds:
            for drawn in dict.fromkeys((kind, *_KINDS)):
                found = next((p for p in pools[drawn] if _is_negative(p, words, selected, refused, made)), None)
                if found is not None:
                    refused.add(found[0])
                    yield drawn, found[1]
                    break

    def _read(self, numbers: Sequence[int]) -> list[tuple[int, Paper]]:
        return list(zip(numbers, self._library.papers_by_number(numbers), strict=True))

    def _cited(self, query: LabelledQuery, hits: Sequence[int], rng: random.Random) -> Iterator[int]:
        """What hits with full text cite, few where few have it; then what others cite apart from the answers."""
        yield from self._graph.cited_by_many(hits, _CITING_HITS, rng)
        yield from self._graph.cited_apart(query.numbers, query.source, rng)

    def _each(self, numbers: Iterator[int], refused: set[int | None]) -> Iterator[tuple[int, Paper]]:
        """The papers one by one, as they are wanted; those refused are not read."""
        for number in numbers:
            if number not in refused:
                yield from self._read([number])

    def _hits(self, query: LabelledQuery, rng: random.Random) -> list[int]:
        """What the rules Crawler's first queries find, as record numbers, in random order."""
        numbers: dict[int, None] = {}
        for text in search_queries(query.question, common_words())[:_QUERIES]:
            numbers.update(dict.fromkeys(hit.number for hit in self._library.hits(text, _HITS)))
        return rng.sample(list(numbers), len(numbers))

    def _not_selected(
        self, query: LabelledQuery, drawn: list[tuple[NegativeKind, Paper]], made: Made
    ) -> list[tuple[NegativeKind, Paper]]:
        """Those that the Selector does not select; all where there is none, or where one paper alone can be right."""
        if self._selector is None or query.tells_one or not drawn:
            return drawn
        scores = self._selector.score([select_request(query.question, p.title, p.abstract) for _, p in drawn])
        kept = [pair for pair, score in zip(drawn, scores, strict=True) if score <= SELECT_THRESHOLD]
        made.drops["selected by the Selector, not labelled"] += len(drawn) - len(kept)
        return kept


def selected_coverage(query: LabelledQuery, words: Mapping[str, float]) -> float:
    """The share of the question's words that makes an unlabelled paper too likely an answer to be a negative."""
    if query.tells_one:
        return SELECTED_COVERAGE_OF_ONE
    return SELECTED_COVERAGE if len(words) > SHORT_QUESTION else SELECTED_COVERAGE_OF_SHORT


def _is_negative(
    found: tuple[int, Paper], words: Mapping[str, float], selected: float, refused: set[int | None], made: Made
) -> bool:
    number, paper = found
    if number in refused:
        return False
    if coverage(words, paper) >= selected:
        made.drops["would be selected, not labelled"] += 1
        return False
    return True


def _hard_first(
    words: Mapping[str, float], selected: float, papers: Sequence[tuple[int, Paper]]
) -> list[tuple[int, Paper]]:
    """The papers, those that hold some of the question first."""
    return sorted(papers, key=lambda paper: not HARD_COVERAGE <= coverage(words, paper[1]) < selected)


def pair_row(
    query: LabelledQuery, paper: Paper, prompt: str, is_answer: bool, kind: NegativeKind | None, reason: str = ""
) -> Row:
    """The pair as a chat (pasa/training_data/__init__.py), the decision token first."""
    decision = "True" if is_answer else "False"
    return {
        "messages": [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": f"{decision}\nReason: {reason}" if reason else decision},
        ],
        "qid": query.qid,
        "kind": "select",
        "title": paper.title,
        "arxiv_id": paper.arxiv_id,
        "negative": kind,
    }

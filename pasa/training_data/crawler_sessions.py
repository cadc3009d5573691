"""Builds sessions to train the Crawler on, labelled by what really finds the answers: scripts/build_sft_crawler.py.

Search session: out of many candidate queries those that together retrieve the answers from the library at the best
cost, chosen greedily by what each adds to what the ones before it found; the query's source paper is hidden. Answers
are few, one for half of the queries, and a session that stops once they are met would teach to search once; so what
else is cited counts too, a fifth of an answer each in the question's section, a tenth elsewhere in the source paper or
beside an answer in another one: such papers are near the question, and a Selector would take some. An answer that is
not among the results but soon after counts a little.

Expand session: a paper with full text that the crawl meets, and those of its sections that cite an answer; each other
section is kept with p = .1 (PAPER.md, supervised data).
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from pasa.actions import render_actions
from pasa.library import Library
from pasa.models.abbreviations import spelled_out
from pasa.models.base import CrawlRequest
from pasa.models.rules_crawler import search_queries
from pasa.models.term_statistics import common_words
from pasa.models.text import stems, subject_words
from pasa.paper import Paper, title_key
from pasa.prompts import expand_request, search_request
from pasa.training_data.build import Build, Made, Row, rng_of
from pasa.training_data.by_query import build_by_query
from pasa.training_data.citation_graph import CitationGraph
from pasa.training_data.phrases import phrases_of
from pasa.training_data.query_rows import MAX_BAD_ROWS, LabelledQuery
from pasa.training_data.restate import in_terms_of_art

ALPHA, SEARCH_COST = 1.5, 0.1  # PAPER.md, reward and return
# Of an answer's worth: cited in the question's section; elsewhere in the source paper; in a section of another paper
# that cites an answer.
COMPANION, SAME_SOURCE, BESIDE = 0.2, 0.1, 0.1
NEAR = 0.3  # of its worth: an answer that a query has after its results, among the first NEAR_RESULTS
RESULTS, NEAR_RESULTS = 10, 30  # of a query: as many as the agent asks for; as many as are looked through
FIELD_TERM_SHARE = 1.25e-4  # of the library's papers that must hold a title's phrase: no name that one paper coined
_LEAST_FIELD_PAPERS = 2
_LEAST_TOGETHER = 3  # papers that hold a term and what the question asks for
_RULES, _NEAR, _JOINED, _ALONE = 6, 4, 3, 2  # candidates of each kind at most
_MAIN_WORDS = 2  # of the question's main phrase that a term of the field is put beside
_TERMS_READ = 30
_HITS_READ = 10  # of the question's first search, whose titles give words of the field too
_COMPANIONS_READ = 15  # whose titles give words of the field
_ANSWER_WEIGHT = 3  # an answer's title says more of the field than a companion's
_MAX_PROMPT_CHARACTERS = 8000
_MET = 100  # hits of the question's first search that count as met
_PAPERS_KEPT, _TERMS_KEPT = 5000, 100_000  # in memory


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What the rows depend on, beside library and queries."""

    seed: int = 0
    search_queries: int = 5  # of a session at most, as the agent carries out
    candidates: int = 15  # tried for each session
    expand_sessions: int = 4  # of a query at most; one of them may find nothing
    other_sections: float = 0.1  # PAPER.md: sections that cite no answer are kept with p = .1
    max_bad_rows: int = MAX_BAD_ROWS


def build_sessions(
    library: Library,
    queries: Path,
    folder: Path,
    settings: SessionSettings,
    fresh: bool = False,
    progress: Callable[[Build], None] = lambda build: None,
    workers: int = 1,
) -> dict[str, Any]:
    """Writes the sessions for a folder of queries into `folder` and gives the manifest. Raises ConfigError."""
    maker = partial(_Sessions, CitationGraph.read(library), settings)
    return build_by_query(
        "build_sft_crawler",
        library,
        queries,
        folder,
        settings,
        maker,
        fresh=fresh,
        progress=progress,
        workers=workers,
    )


class _Sessions:
    """Makes the sessions of one query after the other."""

    def __init__(self, graph: CitationGraph, settings: SessionSettings, library: Library) -> None:
        self._graph = graph
        self._settings = settings
        self._library = library
        self._read: OrderedDict[int, Paper] = OrderedDict()
        self._least_papers = max(_LEAST_FIELD_PAPERS, round(FIELD_TERM_SHARE * library.num_papers))
        self._num_papers_with = lru_cache(maxsize=_TERMS_KEPT)(library.document_frequency)

    def __call__(self, query: LabelledQuery) -> Made:
        made = Made()
        if not query.answers:
            made.drops["no answer in the library"] += 1
            return made
        rng = rng_of(self._settings.seed, query.qid, query.question)
        first = first_query(query.question)
        met = self._find(first, query, _MET)
        field = [*self._companions(query), *map(self._paper, met[:_HITS_READ])]
        candidates = candidate_queries(
            query, field, self._num_papers_with, self._least_papers, self._settings.candidates
        )
        found = {text: met if text == first else self._find(text, query, NEAR_RESULTS) for text in candidates}
        chosen = best_queries(found, self._worth(query), query.numbers, self._settings.search_queries)
        if chosen:
            of_session = {number for text in chosen for number in found[text][:RESULTS]}
            made.counts["answers"] += len(query.answers)
            made.counts["answers found"] += len(of_session.intersection(query.numbers))
            made.counts["answers found by the question alone"] += len(set(met[:RESULTS]).intersection(query.numbers))
            self._put(query, search_request(query.question), chosen, None, made)
        else:
            made.drops["search session: no query finds an answer"] += 1
        for number in self._to_expand(query, met, rng):
            sections = self._graph.sections[number]
            citing = self._graph.sections_citing(number, query.numbers)
            kept = [s.name for s in sections if s.name in citing or rng.random() < self._settings.other_sections]
            paper = self._paper(number)
            names = [section.name for section in sections]
            made.counts["expand sessions that lead to answers"] += bool(citing)
            self._put(query, expand_request(query.question, paper.title, paper.abstract, names), kept, paper, made)
        return made

    def _find(self, text: str, query: LabelledQuery, limit: int) -> list[int]:
        """At most `limit` papers that a search finds, as record numbers, without the source paper."""
        hits = (hit.number for hit in self._library.hits(text, limit + 1))
        return [number for number in hits if number != query.source][:limit]

    def _worth(self, query: LabelledQuery) -> dict[int, float]:
        """Record number -> worth of the answers, of what is cited beside them and of what else the source cites."""
        worth: dict[int, float] = dict.fromkeys(self._graph.cited_by(query.source), SAME_SOURCE)
        for answer in query.numbers:
            for citing in self._graph.citing.get(answer, ()):
                for section in self._graph.sections[citing] if citing != query.source else ():
                    if answer in section.cited:
                        worth |= dict.fromkeys(section.cited, BESIDE)
        for section in self._graph.sections.get(query.source or 0, ()):
            if section.name == query.section:
                worth |= dict.fromkeys(section.cited, COMPANION)
        return worth | dict.fromkeys(query.numbers, 1.0)

    def _companions(self, query: LabelledQuery) -> list[Paper]:
        """Some papers cited beside the answers."""
        sections = [s for s in self._graph.sections.get(query.source or 0, ()) if s.name == query.section]
        numbers = [number for section in sections for number in section.cited if number not in query.numbers]
        return [self._paper(number) for number in numbers[:_COMPANIONS_READ]]

    def _paper(self, number: int) -> Paper:
        if number not in self._read:
            if len(self._read) >= _PAPERS_KEPT:
                self._read.popitem(last=False)
            (self._read[number],) = self._library.papers_by_number([number])
        return self._read[number]

    def _to_expand(self, query: LabelledQuery, hits: Sequence[int], rng: random.Random) -> list[int]:
        """At most `expand_sessions` papers with full text that a crawl may meet, the source left out.

        All but one that cite an answer, those that the search finds first; else, and last, one that it finds and that
        cites none: there is nothing to expand for.
        """
        limit = self._settings.expand_sessions
        met = [number for number in hits if number in self._graph.sections]
        citing = {n for answer in query.numbers for n in self._graph.citing.get(answer, ()) if n != query.source}
        fruitful = [number for number in met if number in citing]
        fruitful += rng.sample(sorted(citing.difference(met)), len(citing.difference(met)))
        barren = [number for number in met if number not in citing]
        return [*fruitful[: limit - 1], *barren[:1]]

    def _put(
        self, query: LabelledQuery, request: CrawlRequest, arguments: Sequence[str], paper: Paper | None, made: Made
    ) -> None:
        if len(request.prompt) > _MAX_PROMPT_CHARACTERS:
            made.drops["over-long prompt"] += 1
            return
        made.rows.append(session_row(query, request, arguments, paper))
        made.counts[f"{request.kind} sessions"] += 1
        made.counts[f"{request.kind} actions"] += len(arguments)


def session_row(
    query: LabelledQuery, request: CrawlRequest, arguments: Sequence[str], paper: Paper | None = None
) -> Row:
    """The session as a chat (pasa/training_data/__init__.py)."""
    row: Row = {
        "messages": [
            {"role": "user", "content": request.prompt},
            {"role": "assistant", "content": render_actions(request.kind, arguments)},
        ],
        "qid": query.qid,
        "kind": request.kind,
        "question": query.question,
        "answer": [answer.title for answer in query.answers],
    }
    return row if paper is None else {**row, "title": paper.title}


# -- search sessions -------------------------------------------------------------------------------------------------


def candidate_queries(
    query: LabelledQuery,
    field: Sequence[Paper],
    num_papers_with: Callable[[str], int],
    least_papers: int,
    limit: int,
) -> list[str]:
    """Queries that somebody who reads the question may try, each once, at most `limit`, the rules Crawler's first.

    Then the question by its term of art, where it is said in other words; the question's words as they stand,
    abbreviations kept; and, which is how a model can learn what a field calls its subjects,
    terms out of the titles of the answers and of other papers of the `field`: alone where they share a word with the
    question, else beside the main words of its main phrase, and alone too, where some papers hold both. A whole title
    is never one. `num_papers_with` says how many papers hold all of some words; terms that fewer than `least_papers`
    hold are names that one paper coined.
    """
    rules = search_queries(query.question, common_words())
    if not rules:
        return []
    words = subject_words(query.question)
    asked = set(stems(spelled_out(" ".join(words))))
    main = _main_words(rules)
    shared = {term: len(asked.intersection(stems(term))) for term in _field_terms(query.answers, field)[:_TERMS_READ]}
    near = (term for term in shared if 0 < shared[term] < len(term.split()) and num_papers_with(term) >= least_papers)
    far = (term for term in shared if not shared[term] and num_papers_with(term) >= least_papers)
    together = list(islice((t for t in far if num_papers_with(f"{main} {t}") >= _LEAST_TOGETHER), _JOINED))
    term_of_art = in_terms_of_art(query.question)
    candidates = [
        *rules[:_RULES],
        *(search_queries(term_of_art, common_words())[:1] if term_of_art else ()),
        *islice(near, _NEAR),
        *(f"{main} {term}" for term in together),
        *together[:_ALONE],
        " ".join(words),
    ]
    titles = {answer.title_key for answer in query.answers}
    return [text for text in dict.fromkeys(candidates) if text and title_key(text) not in titles][:limit]


def first_query(question: str) -> str:
    """What the rules Crawler searches first; "" where the question holds no word."""
    return next(iter(search_queries(question, common_words())), "")


def _main_words(rules: Sequence[str]) -> str:
    """The heaviest words of the question's heaviest phrase; of the whole question where that has no phrase."""
    words = (rules[2] if len(rules) > 3 else rules[0]).split()
    heaviest = sorted(words, key=common_words().document_frequency)[:_MAIN_WORDS]
    return " ".join(word for word in words if word in heaviest)


def _field_terms(answers: Sequence[Paper], field: Sequence[Paper]) -> list[str]:
    """Phrases of several words of the papers' titles, those of most and of answers first."""
    holders: Counter[str] = Counter()
    for papers, weight in ((answers, _ANSWER_WEIGHT), (field, 1)):
        for paper in papers:
            for phrase in phrases_of(paper.title):
                holders[phrase] += weight
    return sorted(holders, key=lambda phrase: (-holders[phrase], len(phrase), phrase))


def best_queries(
    found: Mapping[str, Sequence[int]], worth: Mapping[int, float], answers: Iterable[int], limit: int
) -> list[str]:
    """The queries that together find what is of worth at the best cost, the most fruitful first; [] where none does.

    `found`: query -> papers in order of rank, of which the first RESULTS count; `worth`: paper -> its worth, 1 for an
    answer. Greedy: each time the query that adds most to what is found, ALPHA a worth, less SEARCH_COST, the earlier of
    equals. A query that does not pay is not asked.
    """
    values = {text: _values(numbers, worth, set(answers)) for text, numbers in found.items()}
    chosen: list[str] = []
    met: dict[int, float] = {}

    def gain(text: str) -> float:
        return ALPHA * sum(max(0.0, value - met.get(n, 0.0)) for n, value in values[text].items()) - SEARCH_COST

    while len(chosen) < limit and (left := [text for text in found if text not in chosen]):
        best = max(left, key=gain)
        if gain(best) <= 0:
            break
        chosen.append(best)
        for number, value in values[best].items():
            met[number] = max(value, met.get(number, 0.0))
    return chosen


def _values(numbers: Sequence[int], worth: Mapping[int, float], answers: set[int]) -> dict[int, float]:
    """What a query's papers are worth by their rank; those worth nothing are left out."""
    values = {number: worth[number] for number in numbers[:RESULTS] if number in worth}
    return values | {number: NEAR for number in numbers[RESULTS:NEAR_RESULTS] if number in answers}

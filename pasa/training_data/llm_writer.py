"""Queries written by a language model that reads what a section is called and which papers it cites."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from pasa.models.base import CrawlRequest, Generator, Sampling
from pasa.paper import Paper
from pasa.training_data.build import BadRows, Made
from pasa.training_data.query_writer import WrittenQuery
from pasa.training_data.sections import ReviewedSection

MAX_PAPERS = 30  # shown of a section
QUERIES_A_SECTION = 4
_LEAST_QUESTION_WORDS, _MOST_QUESTION_WORDS = 4, 60
_ABSTRACT_CHARACTERS = 400
_MICRODOLLARS = 1_000_000

PROMPT = """\
A researcher's paper has a section named "{section}". These are papers cited there, numbered:

{papers}

Write at most {queries} questions that somebody who does not know these papers would put to a search engine for \
research papers, and that some of them answer. Each asks for one specific topic, method, finding or resource; it names \
no paper and no author, and does not mention the section or "the above". Vary how the questions are put. For each give \
the numbers of all the papers above that fully answer it, and no others.

Answer with a JSON list and nothing else:
[{{"question": "Which works ...?", "papers": [1, 4]}}]
"""


class LlmWriter:
    """Writes the queries of many sections at once through a Generator; what it took is in the build's counts."""

    def __init__(self, generator: Generator, bad: BadRows, sampling: Sampling | None = None) -> None:
        self._generator = generator
        self._bad = bad  # replies that cannot be read
        self._sampling = sampling or Sampling(temperature=0.0, max_new_tokens=1024)

    def __call__(self, sections: Sequence[ReviewedSection], made: Made) -> list[list[WrittenQuery]]:
        """One list a section, in order. Raises ModelError, and ConfigError for too many unreadable replies."""
        asked = [section for section in sections if section.papers]
        requests = [CrawlRequest("search", "", prompt_of(section)) for section in asked]
        replies = dict(zip(map(id, asked), self._generator.generate(requests, self._sampling), strict=True))
        for reply in replies.values():
            made.counts["replies"] += 1
            made.counts["prompt tokens"] += reply.prompt_tokens
            made.counts["reply tokens"] += reply.reply_tokens
            made.counts["cost in microdollars"] += round(reply.dollars * _MICRODOLLARS)
        return [
            self._read(section, replies[id(section)].text, made) if id(section) in replies else []
            for section in sections
        ]

    def _read(self, section: ReviewedSection, text: str, made: Made) -> list[WrittenQuery]:
        try:
            entries = read_entries(text)
        except ValueError as error:
            self._bad.add(f"the reply on {section.name!r} of {section.source.title!r}", str(error))
            made.drops["reply that cannot be read"] += 1
            return []
        queries = []
        for entry in entries:
            query = query_of(entry, section)
            if isinstance(query, str):
                made.drops[query] += 1
            else:
                queries.append(query)
        return queries


def prompt_of(section: ReviewedSection) -> str:
    """The user message that asks for a section's queries."""
    papers = "\n".join(f"{n}. {_described(paper)}" for n, paper in enumerate(section.papers[:MAX_PAPERS], 1))
    return PROMPT.format(section=section.name, papers=papers, queries=QUERIES_A_SECTION)


def _described(paper: Paper) -> str:
    abstract = " ".join(paper.abstract.split())[:_ABSTRACT_CHARACTERS]
    return f"{paper.title}\n   {abstract}" if abstract else paper.title


def read_entries(text: str) -> list[Any]:
    """The list that a reply holds, with or without a code fence and words around it. Raises ValueError."""
    start, end = text.find("["), text.rfind("]")
    if start < 0 or end < start:
        raise ValueError("holds no JSON list")
    try:
        entries = json.loads(text[start : end + 1])
    except RecursionError as error:
        raise ValueError("is nested too deep") from error
    return entries


def query_of(entry: Any, section: ReviewedSection) -> WrittenQuery | str:
    """The query of one entry of a reply, or why there is none."""
    question = entry.get("question") if isinstance(entry, dict) else None
    numbers = entry.get("papers") if isinstance(entry, dict) else None
    if not isinstance(question, str) or not isinstance(numbers, list):
        return "entry without question or papers"
    question = " ".join(question.split())
    if not _LEAST_QUESTION_WORDS <= len(question.split()) <= _MOST_QUESTION_WORDS:
        return "question too short or too long"
    shown = section.papers[:MAX_PAPERS]
    found = [shown[n - 1] for n in map(_number, numbers) if n is not None and 1 <= n <= len(shown)]
    if len(found) < len(numbers) or not found:
        return "answers that cannot be resolved"
    return WrittenQuery(question, tuple(dict.fromkeys(found)), section.name, "llm")


def _number(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,4}", value.strip()) else None

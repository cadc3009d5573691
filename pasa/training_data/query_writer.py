"""Queries without a language model: from what sections are called and what the papers cited there have in common.

Pure. In AutoScholarQuery's manner, named by what they are made from:

- heading: the topic of a Related Work subsection; answered by all papers cited there;
- topic: the heading under which other papers cite some of a section's papers; answered by these;
- phrase: words that several papers of a section share and that one of their titles holds; answered by those papers;
- theme: words of the citing paper's own title and abstract; answered by the papers of a section that hold them all;
- aspect: two of these subjects together; answered by what both have in common;
- gist: what one cited paper is for or does, told in short; answered by that paper;
- detail: the same as its abstract tells it, without its name.

Subjects are said in other words where pasa/training_data/restate.py knows some; details are a small part, for they
copy what a search by words finds at once.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Literal

from pasa.models.abbreviations import spelled_out
from pasa.models.text import stems
from pasa.paper import Paper, title_key
from pasa.training_data.coverage import coverage, question_weights, stems_held
from pasa.training_data.own_words import own_words
from pasa.training_data.phrases import (
    LEAST_WORD_WEIGHT,
    abstract_phrases,
    phrases_of,
    says,
    shared_phrases,
    title_phrases,
    word_weight,
)
from pasa.training_data.question_forms import detail_question, gist_question, topic_question
from pasa.training_data.restate import abbreviated, restated
from pasa.training_data.sections import ReviewedSection

QueryKind = Literal["heading", "topic", "phrase", "theme", "aspect", "gist", "detail", "llm"]

MAX_ANSWERS = 20  # of a query; a section that cites more is too broad to be one topic
TOPICS_A_SECTION = 2
THEMES_A_SECTION = 2
ASPECTS_A_SECTION = 2
GISTS_A_SECTION = 2
DETAIL_SHARE = 0.25  # of the sections, in which one paper is asked for by what its abstract says
ON_TOPIC = 0.6  # of a topic's words, by weight, that a paper must hold which others cite under it
LEAST_TOPIC_WEIGHT = 6.0  # nats, of its words together; thousands of papers are on "reinforcement learning"
THEME_MOST_OF_SECTION = 0.5  # of its papers; what more of them hold separates nothing
ASPECT_JOINTS = ("for", "in", "in the context of", "and", "with")
_NO_NAME = re.compile(r"(?:ing|ed|ions?|ity|ities|ments?|ness|ance|ence)$")
_VERBS = {
    "accelerate": "accelerating",
    "adapt": "adapting",
    "align": "aligning",
    "compress": "compressing",
    "enhance": "enhancing",
    "evaluate": "evaluating",
    "generate": "generating",
    "improve": "improving",
    "learn": "learning",
    "mitigate": "mitigating",
    "optimize": "optimizing",
    "predict": "predicting",
    "reduce": "reducing",
    "scale": "scaling",
    "train": "training",
    "understand": "understanding",
}
_IN_PARENTHESES = re.compile(r"\s*\([^)]*\)")


@dataclass(frozen=True, slots=True)
class WrittenQuery:
    """A question, the papers that answer it and the section it was made from."""

    question: str
    answers: tuple[Paper, ...]
    section: str
    writer: QueryKind


@dataclass(frozen=True, slots=True)
class _Subject:
    """Something that can be asked for, and the papers that answer."""

    words: str
    answers: tuple[Paper, ...]
    kind: QueryKind


def write_queries(section: ReviewedSection, rng: random.Random) -> list[WrittenQuery]:
    """The queries of one section, in a fixed order for the same `rng`; [] where nothing good can be asked."""
    papers = tuple(paper for paper in section.papers if paper.abstract)
    subjects = _subjects(section, papers, rng)
    found = [*subjects, *_aspects(subjects, rng)]
    queries = [
        WrittenQuery(
            topic_question(abbreviated(restated(subject.words, rng), rng), len(subject.answers), rng),
            subject.answers,
            section.name,
            subject.kind,
        )
        for subject in found
        if 1 <= len(subject.answers) <= MAX_ANSWERS
    ]
    queries += _of_one_paper(papers, section.name, rng)
    return [query for query in queries if not names_an_answer(query)]


def _subjects(section: ReviewedSection, papers: Sequence[Paper], rng: random.Random) -> list[_Subject]:
    """What the section's papers can be asked for by, no two in the same words."""
    found: list[_Subject] = []
    if section.topic:
        topic = natural_case(_IN_PARENTHESES.sub("", section.topic), papers)
        found.append(_Subject(topic, on_topic(topic, papers), "heading"))
    known = frozenset(section.papers).intersection(papers)
    more = [
        *_topics(section, known, rng),
        *(_Subject(words, answers, "phrase") for words, answers in shared_phrases(papers)),
        *_themes(section.source, papers),
    ]
    for subject in more:
        if not any(_overlap(subject.words, other.words) for other in found):
            found.append(subject)
    return found


def _topics(section: ReviewedSection, known: frozenset[Paper], rng: random.Random) -> list[_Subject]:
    """Topics that other papers have for papers of this section, for several rather than for one."""
    found = []
    for topic, places in section.elsewhere:
        weights = question_weights(topic)
        cited = [paper for at in places if (paper := section.papers[at]) in known]
        answers = tuple(paper for paper in cited if coverage(weights, paper) >= ON_TOPIC)
        if answers and sum(weights.values()) >= LEAST_TOPIC_WEIGHT:
            words = natural_case(_IN_PARENTHESES.sub("", topic), answers)
            found.append(_Subject(words, answers, "topic"))
    rng.shuffle(found)
    return sorted(found, key=lambda subject: -min(len(subject.answers), 2))[:TOPICS_A_SECTION]


def _themes(source: Paper, papers: Sequence[Paper]) -> list[_Subject]:
    """The most telling words of the citing paper's own that some of the papers hold: of its abstract, several."""
    most = max(1, int(THEME_MOST_OF_SECTION * len(papers)))
    held = [(paper, stems_held(paper)) for paper in papers]
    in_title = {written.lower() for written in phrases_of(source.title)}
    found = []
    for stemmed, words in (abstract_phrases(source) | title_phrases(source)).items():
        answers = tuple(paper for paper, stems_of in held if stems_of.issuperset(stemmed))
        spoken = len(answers) > 1 and any(says(paper, stemmed) for paper in answers)
        if 1 <= len(answers) <= most and (spoken or words in in_title):
            found.append((-sum(map(word_weight, stemmed)) * len(answers) ** 0.5, words, answers))
    return [_Subject(words, answers, "theme") for _, words, answers in sorted(found)[:THEMES_A_SECTION]]


def _aspects(subjects: Sequence[_Subject], rng: random.Random) -> list[_Subject]:
    """Pairs of subjects that some papers have in common, of which one does not imply the other."""
    found = []
    for one, other in combinations(subjects, 2):
        both = tuple(paper for paper in one.answers if paper in other.answers)
        if both and len(both) < max(len(one.answers), len(other.answers)):
            found.append(_Subject(f"{other.words} {rng.choice(ASPECT_JOINTS)} {one.words}", both, "aspect"))
    return rng.sample(found, min(ASPECTS_A_SECTION, len(found)))


def _of_one_paper(papers: Sequence[Paper], section: str, rng: random.Random) -> list[WrittenQuery]:
    """Questions for single papers, drawn at random, by what they say that they do."""
    found: list[WrittenQuery] = []
    details = int(rng.random() < DETAIL_SHARE)
    gists = GISTS_A_SECTION
    for paper in rng.sample(papers, len(papers)):
        if not details + gists:
            break
        if not (told := own_words(paper)):
            continue
        verb, clause = told
        if gists and (question := gist_question(clause, rng)):
            found.append(WrittenQuery(question, (paper,), section, "gist"))
            gists -= 1
        elif details:
            found.append(
                WrittenQuery(detail_question(verb, abbreviated(clause, rng), rng), (paper,), section, "detail")
            )
            details -= 1
    return found


def names_an_answer(query: WrittenQuery) -> bool:
    """Whether the question holds the title of a paper that answers it."""
    letters = title_key(query.question)
    return any(paper.title_key in letters for paper in query.answers if paper.title_key)


def _overlap(phrase: str, topic: str) -> bool:
    """Whether the phrase repeats the topic, in whole or in part, abbreviated or not."""
    return not _stems_of(phrase).isdisjoint(_stems_of(topic)) or title_key(phrase) in title_key(topic)


@lru_cache(maxsize=10_000)
def _stems_of(subject: str) -> frozenset[str]:
    return frozenset(stems(spelled_out(subject)))


def on_topic(topic: str, papers: Sequence[Paper]) -> tuple[Paper, ...]:
    """The papers that share a telling word with the topic: the others are cited there for what they lend to it."""
    words = {stem for stem in stems(spelled_out(topic)) if word_weight(stem) >= LEAST_WORD_WEIGHT}
    return tuple(paper for paper in papers if not words.isdisjoint(stems_held(paper)))


# -- words -----------------------------------------------------------------------------------------------------------


def natural_case(heading: str, papers: Iterable[Paper]) -> str:
    """The heading as it would stand in a sentence: Title Case goes, names and abbreviations stay.

    A capitalised word stays where the papers' abstracts know it only with its capital ("Bayesian", "Mamba"); words with
    an ending that names do not have go. "Improve CLIP" becomes "improving CLIP".
    """
    known = frozenset[str]().union(*(_written_words(paper.abstract) for paper in papers))

    def lowered(match: re.Match[str]) -> str:
        word = match[0]
        is_name = word in known and word.lower() not in known and not _NO_NAME.search(word)
        return word if is_name or not word[1:].islower() else word.lower()

    text = re.sub(r"[A-Za-z]+", lowered, heading)
    first = text.split(" ", 1)[0]
    return _VERBS[first] + text[len(first) :] if first in _VERBS else text


@lru_cache(maxsize=60_000)
def _written_words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[A-Za-z]+", text))

"""The words that several papers have in common and that can name a subject. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from pasa.models.term_statistics import common_words, inverse_document_frequency
from pasa.models.text import STOP, names_subject, stems, subject_phrases, tokens_and_stops
from pasa.paper import Paper
from pasa.training_data.memo import Memo

PHRASES_A_SECTION = 4
_PHRASE_WORDS = (2, 4)
_PHRASE_ANSWERS = (2, 10)
_PHRASE_MOST_OF_SECTION = 0.8  # words that more of a section's papers share are its topic, not a part of it
_LEAST_PHRASE_WEIGHT = 4.6  # of its rarest word; the mean is held to the weight of a word
_SAME_ANSWERS = 0.6  # Jaccard; above it two phrases ask for the same papers
_ABSTRACT_CHARACTERS = 700  # what of an abstract is read for phrases: later it tells of experiments
LEAST_WORD_WEIGHT = 2.2  # nats; below it a word ("models", "learning") separates nothing


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words of abstracts that say how good a paper is, not what it is about; no phrase begins or ends with one.
_PRAISE = _words(
    """
    state art result results performance performances novel new existing significantly significant effective
    effectively efficient improved improve improves improving better best outperform outperforms achieve achieves
    achieving superior extensive code available key important recent small high low different multiple several simple
    general first second two three four five one great success number set wide range variety time previous end finally
    addition furthermore however moreover promising remarkable powerful standard popular toward towards beyond case long
    longer short fast faster more less many single full deep good strong weak tight tighter optimal training-free bit
    shot layer level order free aware based driven guided thought way d based scale
    """
)
# Nouns that fit everything: a phrase may end with one, not begin.
_ANY_NOUN = _words(
    """
    method methods approach approaches technique techniques framework frameworks task tasks problem problems algorithm
    algorithms solution solutions system systems process processes analysis study experiment experiments challenge
    challenges dataset datasets benchmark benchmarks models learning training
    """
)
# Of these, the ones that say nothing at a phrase's end either: "diagnostic approach".
_EMPTY_NOUN = _words(
    """
    method methods approach approaches technique techniques framework frameworks task tasks problem problems solution
    solutions study experiment experiments challenge challenges analysis algorithm algorithms
    """
)
_SET_PHRASES = frozenset(
    {
        *("shed light", "third party", "monte carlo", "ground truth", "real world", "closed form", "open source"),
        *("null space", "black box", "upper bound", "lower bound", "upper bounds", "lower bounds", "np hard"),
        *("open problem", "deep dive", "driving force"),
    }
)
_PREFIXES = frozenset(
    {"non", "pre", "co", "multi", "self", "semi", "anti", "sub", "re", "un", "inter", "intra", "carlo"}
)
_LOOSE_ENDS = re.compile(
    r"(ed|ly|ive|able|ible|ous|ful|less|ic|al|ary|based|driven|aware|free|level|ize|ise|ular|near|variant|hoc)$"
)
_ING_NOUNS = _words(
    """learning modeling modelling training reasoning processing understanding planning clustering matching tuning
    pruning sampling tracking mapping embedding encoding decoding coding editing rendering ranking prompting smoothing
    splatting forecasting scheduling gaming unlearning parsing captioning grounding routing padding bootstrapping
    proving reranking traveling watermarking sensing imaging hashing pooling scaling finetuning pretraining"""
)


@lru_cache(maxsize=60_000)
def _phrases(text: str) -> dict[tuple[str, ...], str]:
    """The text's phrases: stems -> the words as written, lower case."""
    few, many = _PHRASE_WORDS
    found: dict[tuple[str, ...], str] = {}
    for run in subject_phrases(text):
        words = list(map(_WORD.__getitem__, run))
        for start in range(len(run) - few + 1):
            if not words[start].begins:
                continue
            for end in range(start + few, min(start + many, len(run)) + 1):
                if words[end - 1].ends and _is_subject(words[start:end]):
                    written = " ".join(run[start:end])
                    if written not in _SET_PHRASES:
                        found.setdefault(tuple(word.stem for word in words[start:end]), written)
    return found


@lru_cache(maxsize=60_000)
def phrases_of(title: str) -> list[str]:
    """The phrases of a title that can name a subject, as written there; shorter and longer ones of the same words."""
    return [written for words in _phrases(title).values() if (written := _as_written(words, title))]


def title_phrases(paper: Paper) -> dict[tuple[str, ...], str]:
    """The phrases of the paper's title that can name a subject: stems -> the words, lower case."""
    return _phrases(paper.title)


def abstract_phrases(paper: Paper) -> dict[tuple[str, ...], str]:
    """The phrases of the abstract's first sentences that can name a subject: stems -> the words, lower case."""
    return _phrases(paper.abstract[:_ABSTRACT_CHARACTERS])


def says(paper: Paper, stemmed: tuple[str, ...]) -> bool:
    """Whether the title or the abstract's first sentences hold these stems in a row."""
    return _phrase(stemmed) in _said_by(paper)


def _phrase(stemmed: tuple[str, ...]) -> str:
    """The stems as `_said_by` holds them."""
    return f" {' '.join(stemmed)} "


def _said_by(paper: Paper) -> str:
    return _stemmed_runs(f"{paper.title}. {paper.abstract[:_ABSTRACT_CHARACTERS]}")


@lru_cache(maxsize=60_000)
def _stemmed_runs(text: str) -> str:
    """The stems of the runs of subject words, runs apart; to look for phrases costs a tenth of listing them."""
    return f" {' '.join(map(_STEM_OR_STOP.__getitem__, tokens_and_stops(text)))} "


_GERUND_NEXT = re.compile(r" [a-z]+ing\b", re.I)


class _Word(NamedTuple):
    stem: str
    weight: float  # nats
    begins: bool  # a phrase may begin with it
    ends: bool  # a noun, mostly
    is_praise: bool


def _word(word: str) -> _Word:
    praise = word in _PRAISE
    begins = not word.endswith("ly") and not word.isdigit() and word not in _ANY_NOUN | _PREFIXES
    ends = not _LOOSE_ENDS.search(word) and not word.isdigit() and len(word) > 1
    ends = ends and word not in _EMPTY_NOUN
    if word.endswith("ing"):
        begins, ends = begins and word in _ING_NOUNS, word in _ING_NOUNS
    return _Word(_stem(word), word_weight(word), begins and not praise, ends and not praise, praise)


def _stem(word: str) -> str:
    return (stems(word) or [word])[0]


def _stem_or_stop(token: str) -> str:
    return _stem(token) if names_subject(token) else STOP


_WORD, _STEM_OR_STOP = Memo(_word), Memo(_stem_or_stop)


def _is_subject(words: Sequence[_Word]) -> bool:
    """Whether the words, which begin and end well, can name a subject: no praise, words that separate."""
    heaviest = total = 0.0
    for word in words:  # called for every run of words of every abstract: one plain loop
        if word.is_praise:
            return False
        total += word.weight
        heaviest = max(heaviest, word.weight)
    return heaviest >= _LEAST_PHRASE_WEIGHT and total >= LEAST_WORD_WEIGHT * len(words)


def shared_phrases(papers: Sequence[Paper]) -> list[tuple[str, tuple[Paper, ...]]]:
    """At most PHRASES_A_SECTION (words, the papers that share them), the most telling first.

    A phrase counts where one paper's title holds it; the words are as that title writes them.
    """
    titles: dict[tuple[str, ...], tuple[str, str]] = {}  # the words in the first title that holds them, and the title
    for paper in papers:
        for stemmed, words in title_phrases(paper).items():
            titles.setdefault(stemmed, (words, paper.title))
    runs = [_said_by(paper) for paper in papers]
    holders = {
        stemmed: [at for at, said in enumerate(runs) if phrase in said]
        for stemmed, phrase in zip(titles, map(_phrase, titles), strict=True)
    }
    few, many = _PHRASE_ANSWERS
    most = max(few, min(many, int(_PHRASE_MOST_OF_SECTION * len(papers))))
    ranked = sorted(
        (-_telling(stemmed) * len(holders[stemmed]), stemmed)
        for stemmed in titles
        if few <= len(holders[stemmed]) <= most
    )
    kept: list[tuple[str, frozenset[int]]] = []
    for _, stemmed in ranked:
        sharing = frozenset(holders[stemmed])
        if len(kept) == PHRASES_A_SECTION:
            break
        apart = all(len(sharing & other) / len(sharing | other) <= _SAME_ANSWERS for _, other in kept)
        if apart and (written := _as_written(*titles[stemmed])):
            kept.append((written, sharing))
    return [(written, tuple(papers[at] for at in sorted(sharing))) for written, sharing in kept]


@lru_cache(maxsize=400_000)
def _telling(stemmed: tuple[str, ...]) -> float:
    return sum(word_weight(word) for word in stemmed)


def _as_written(words: str, title: str) -> str | None:
    """The words with the hyphens and capitals of abbreviations that the title gives them.

    None where they are but a part of a hyphenated word, "shot detection" of "few-shot detection", or lack the noun that
    they qualify: "automated theorem" of "automated theorem proving".
    """
    run = words.split()
    places = _places(title)
    for at in range(len(places) - len(run) + 1):
        if all(place[0] == word for place, word in zip(places[at:], run, strict=False)):
            start, end = places[at][1], places[at + len(run) - 1][2]
            if "-" not in (title[start - 1 : start], title[end : end + 1]) and not _GERUND_NEXT.match(title, end):
                return re.sub(r"[A-Za-z]+", _uncapitalised, title[start:end])
    return None


@lru_cache(maxsize=60_000)
def _places(title: str) -> list[tuple[str, int, int]]:
    """The title's words, lower case, and where they begin and end."""
    return [(found[0].lower(), *found.span()) for found in re.finditer(r"[^\W_]+", title)]


def _uncapitalised(word: re.Match[str]) -> str:
    return word[0] if not word[0][1:].islower() and len(word[0]) > 1 else word[0].lower()


@lru_cache(maxsize=200_000)
def word_weight(word: str) -> float:
    """How far a word separates papers, in nats (BM25's, by the committed table)."""
    return inverse_document_frequency(common_words(), word)

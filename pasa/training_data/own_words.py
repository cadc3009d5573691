"""What a paper says that it does, in the words of its abstract and without its name. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

from pasa.models.text import ASK_WORDS, FUNCTION_WORDS, stems, subject_words
from pasa.paper import Paper
from pasa.training_data.phrases import word_weight
from pasa.training_data.question_forms import DETAIL_VERBS

_DETAIL_SUBJECT_WORDS = (5, 12)
_MOST_OF_TITLE = 0.5  # of the title's words that a clause may hold: with more, any search finds the paper
# "We", "this paper", "the authors" at a word's start; their first letters stand first, where re looks for them fast.
_SPEAKER = (
    r"[WwTt](?<!\w.)(?i:(?<=w)e|(?<=t)(?:his (?:paper|work|article|study)|he (?:paper|authors?)))"
    r"(?i:\s+(?:(?:also|further|then|\w+ly)\s+)?)"
)
_CLAUSE = re.compile(
    rf"{_SPEAKER}(?i:({'|'.join(DETAIL_VERBS)})(?:e?s)?\s+((?:that\s+)?(?:[^.;:?!]|(?<=\d)\.(?=\d))+))"
)
_IN_PARENTHESES = re.compile(r"\([^)]*\)")
_NAME_FIRST = re.compile(r"^(?:the\s+)?[^\s,]*[A-Z][^\s,]*(?:\s+[A-Z][^\s,]*){0,4}\s*,\s*(?=(?:an?|the)\s)")
_CALLED = re.compile(
    r",?\s*(?:which (?:we|is)|that we|we|is)?\s*(?:call(?:ed)?|dub(?:bed)?|named?|termed|refer\w* to as)\b.*$", re.I
)
_CALLING = ("call", "dub", "name", "termed", "refer")  # one of which _CALLED's clauses hold: soon told
_CUT = re.compile(
    r"(,? (?:which|where|while|whereas|in order|such that|so that|and (?:then |also |further )?(?:show|demonstrate|"
    r"evaluate|achieve|conduct|prove|apply|use|validate|provide|analyze|study|discuss|"
    r"present|propose)\w*)\b.*|, .*| - .*)$"
)
_COINED_WEIGHT = 7.5  # nats
_DANGLING = re.compile(
    r"that (although|while|despite|even|if|when|in|for|under|by)\b|"
    r"(is|are|was|were|and|or|has|have|by|in|on|as|can|the results?)\b",
    re.I,
)
_OWN_VOICE = re.compile(
    r"\b(we|our|us|this|these|here|it|its|their|his|paper|above|below|latter|former)\b|[\\${}<>|^_=*`\"“”]", re.I
)


@lru_cache(maxsize=60_000)
def own_words(paper: Paper) -> tuple[str, str] | None:
    """(verb, what follows it) of the sentence in which the abstract says what the paper does; None without one.

    The paper's own name is taken out: "we introduce CLIP-Fields, an implicit scene model that ..." gives
    ("introduce", "an implicit scene model that ...").
    """
    for found in _CLAUSE.finditer(_without_parentheses(paper.abstract)):
        clause = _shortened(_unnamed(" ".join(found[2].split())))
        few, many = _DETAIL_SUBJECT_WORDS
        name = paper.title.split(":")[0].strip() if ":" in paper.title else ""
        named = bool(name) and len(name.split()) <= 3 and name.lower() in clause.lower()
        named = named or any(_is_coined(word) for word in clause.split())
        if (
            not named
            and not _DANGLING.match(clause)
            and few <= len(subject_words(clause)) <= many
            and not _OWN_VOICE.search(clause)
            and not _tells_title(clause, paper.title)
        ):
            return found[1].lower(), clause
    return None


def _unnamed(clause: str) -> str:
    clause = _NAME_FIRST.sub("", clause)
    lower = clause.lower()
    return _CALLED.sub("", clause) if any(word in lower for word in _CALLING) else clause


def _without_parentheses(text: str) -> str:
    *before, last = _IN_PARENTHESES.split(text)
    return "".join([part.rstrip() for part in before]) + last


def _tells_title(clause: str, title: str) -> bool:
    words = set(stems(" ".join(subject_words(title))))
    return len(words.intersection(stems(clause))) > _MOST_OF_TITLE * len(words)


def _is_coined(word: str) -> bool:
    """Whether the word looks like a name of the paper's making: capitals inside, and hardly any other paper has it."""
    return sum(map(str.isupper, word)) >= 3 and word_weight(word) >= _COINED_WEIGHT


def _shortened(clause: str) -> str:
    cut = _CUT.sub("", clause)
    few, _ = _DETAIL_SUBJECT_WORDS
    chosen = cut if len(subject_words(cut)) >= few else clause
    words = chosen.split()
    while (
        words
        and words[-1].lower().strip(",") in FUNCTION_WORDS | {"new", "novel"}
        and words[-1].lower() not in ASK_WORDS
    ):
        words.pop()
    return " ".join(words).strip(" ,")

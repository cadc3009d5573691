"""How people ask for papers: the forms that a topic, or what one paper does, is put into. Pure."""

from __future__ import annotations

import random
import re

from pasa.models.text import subject_words
from pasa.training_data.phrases import word_weight
from pasa.training_data.restate import abbreviated, restated

_MANY = ("papers", "works", "studies", "research papers", "articles", "research works")
_ONE = ("paper", "work", "study", "research paper", "article")
_MANY_OPENINGS = (
    "Which {papers}",
    "What {papers}",
    "Could you list some {papers} that",
    "Can you name {papers} that",
    "Could you provide me with {papers} that",
    "Are there any {papers} that",
    "I am looking for {papers} that",
    "What are the {papers} that",
)
_ONE_OPENINGS = (
    "Which {paper}",
    "What {paper}",
    "Could you name a {paper} that",
    "Can you tell me about the {paper} that",
    "Could you provide the {paper} that",
    "Is there a {paper} that",
)
# (for several papers, for one); {s} is the topic.
_TOPIC_ENDS = (
    ("study {s}", "studies {s}"),
    ("focus on {s}", "focuses on {s}"),
    ("explore {s}", "explores {s}"),
    ("investigate {s}", "investigates {s}"),
    ("discuss {s}", "discusses {s}"),
    ("address {s}", "addresses {s}"),
    ("are about {s}", "is about {s}"),
    ("deal with {s}", "deals with {s}"),
    ("have looked at {s}", "has looked at {s}"),
    ("have contributed to {s}", "has contributed to {s}"),
    ("are related to {s}", "is related to {s}"),
    ("work on {s}", "works on {s}"),
)
_TOPIC_BARE = (
    "{papers} on {s}",
    "Could you list {papers} on {s}?",
    "What are some {papers} about {s}?",
    "Can you recommend {papers} on {s}?",
    "What recent {papers} are there on {s}?",
    "What research has been done on {s}?",
    "Give me {papers} related to {s}",
)
_BARE_SHARE = 0.35

# What abstracts say that a paper does -> how a question tells of it.
DETAIL_VERBS = {
    "propose": ("proposed", "proposes"),
    "introduce": ("introduced", "introduces"),
    "present": ("presented", "presents"),
    "develop": ("developed", "develops"),
    "design": ("designed", "designs"),
    "describe": ("described", "describes"),
    "study": ("studied", "studies"),
    "investigate": ("investigated", "investigates"),
    "explore": ("explored", "explores"),
    "analyze": ("analyzed", "analyzes"),
    "examine": ("examined", "examines"),
    "consider": ("considered", "considers"),
    "address": ("addressed", "addresses"),
    "show": ("showed", "shows"),
    "demonstrate": ("demonstrated", "demonstrates"),
    "prove": ("proved", "proves"),
    "establish": ("established", "establishes"),
}
_DETAIL_OPENINGS = (*_ONE_OPENINGS[:2], "Which {paper} first", "Who", *_ONE_OPENINGS[2:5])


_THINGS = (
    "method|approach|framework|algorithm|model|architecture|technique|strategy|system|mechanism|scheme|pipeline|"
    "paradigm|network|formulation|procedure|solution|module|objective|loss|dataset|benchmark|estimator|policy|toolkit"
)
_THING = re.compile(
    rf"^(?:an?|the|two|three|several)?\s*(?:[\w/,-]+\s+){{0,7}}?(?P<thing>{_THINGS})(?P<many>s?),?\s+"
    r"(?P<joint>for|to|that|which|of)\s+(?P<rest>.+)$",
    re.I,
)
_HOW = re.compile(r",|\b(?:by|via|using|through|based on|without|while|which|where|under|given|from|and)\b")
_OPEN_END = re.compile(r"\b(?:is|are|be|been|the|an?|its|and|or|of|to|not|more|most)$", re.I)
_LEAST_GIST_WORDS, _MOST_GIST_WORDS = 3, 16
_LEAST_GIST_WEIGHT = 13.0  # nats, of all its words; "appropriate correlations" tells nothing
_TO_FORMS = (
    "How can one {s}?",
    "Which {papers} show how to {s}?",
    "Is there a {paper} on how to {s}?",
    "I am looking for {papers} on how to {s}",
    "Which {paper} proposed a way to {s}?",
)
_THAT_FORMS = (
    "Is there {a} that {s}?",
    "Which {paper} describes {a} that {s}?",
    "Which {paper} introduced {a} that {s}?",
    "Do you know {papers} with {a} that {s}?",
    "I am looking for {a} that {s}",
)


def topic_question(topic: str, num_answers: int, rng: random.Random) -> str:
    """A question for the papers on a topic; one that asks for a single paper at times where there is one answer."""
    one = num_answers == 1 and rng.random() < 0.5
    noun = rng.choice(_ONE if one else _MANY)
    if not one and rng.random() < _BARE_SHARE:
        text = rng.choice(_TOPIC_BARE).format(papers=noun, s=topic)
    else:
        opening = rng.choice(_ONE_OPENINGS if one else _MANY_OPENINGS).format(paper=noun, papers=noun)
        end = rng.choice(_TOPIC_ENDS)[1 if one else 0].format(s=topic)
        text = f"{opening} {end}"
    return _sentence(text)


def detail_question(verb: str, clause: str, rng: random.Random) -> str:
    """A question for the one paper that did what `verb` (of DETAIL_VERBS) and `clause` say."""
    past, present = DETAIL_VERBS[verb]
    opening = rng.choice(_DETAIL_OPENINGS)
    tense = past if "first" in opening or opening == "Who" or rng.random() < 0.6 else present
    return _sentence(f"{opening.format(paper=rng.choice(_ONE))} {tense} {clause}")


def gist_question(clause: str, rng: random.Random) -> str | None:
    """A question for what the thing of `clause`, "a new framework for X that does Y", is for or does, in short.

    None where the clause tells of no such thing, or where too little of it would be left.
    """
    if not (found := _THING.match(clause)):
        return None
    thing, joint, rest = found["thing"].lower(), found["joint"].lower(), _short(found["rest"])
    if found["many"] and joint in ("that", "which"):  # "that overcome": the verb is a plural
        return None
    if joint == "of" and thing in ("dataset", "benchmark"):  # of so many samples
        return None
    if not rest or len(rest.split()) > _MOST_GIST_WORDS or _OPEN_END.search(rest):
        return None
    rest = abbreviated(restated(rest, rng, share=1.0), rng)
    if joint in ("for", "of") or rest.split()[0].endswith("ing"):  # "an approach to computing"
        return topic_question(rest, 1, rng)
    if joint == "to":
        return _sentence(rng.choice(_TO_FORMS).format(paper=rng.choice(_ONE), papers=rng.choice(_MANY), s=rest))
    form = rng.choice(_THAT_FORMS)
    return _sentence(form.format(a=_with_article(thing), papers=rng.choice(_MANY), paper=rng.choice(_ONE), s=rest))


def _short(text: str) -> str:
    """The text up to where it tells how, the first place before which it says enough; "" where it never does."""
    for end in [found.start() for found in _HOW.finditer(text)] + [len(text)]:
        cut = text[:end].strip(" ,")
        weight = sum(map(word_weight, subject_words(cut)))
        if len(subject_words(cut)) >= _LEAST_GIST_WORDS and weight >= _LEAST_GIST_WEIGHT and "," not in cut:
            return cut
    return ""


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _sentence(text: str) -> str:
    text = text.replace(" a article", " an article")
    text = text[0].upper() + text[1:]
    is_question = not text.startswith(("I am", "Give me")) and text.split()[0].lower() not in {*_MANY, "research"}
    return text if text.endswith("?") or not is_question else f"{text}?"

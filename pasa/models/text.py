"""A research question's words: tokens, what only asks for papers, and what names the subject.

Pure; shared by the rules models.
"""

from __future__ import annotations

import re
from functools import lru_cache

import tantivy

_TOKEN = re.compile(r"[^\W_]+")
_TOKEN_OR_STOP = re.compile(
    r"[^\W_]+|[^\w\s\-/'’]"
)  # punctuation parts phrases; hyphens and the like stand within them
_MAX_WORD_BYTES = 41  # exclusive; longer "words" are broken text


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words of English grammar: they name no subject.
FUNCTION_WORDS = _words(
    """
    a about above across after again against all along also although always am among amongst an and another any
    anything are around as aside at back be became because been before behind being below besides between beyond both
    but by came can cannot could d did do does doing done down during each either else especially ever every few first
    for from further get gets given gives go had has have having he hence her here him his how however i if in include
    included includes including indeed inside instead into is it its itself just least less let like ll make makes made
    making mainly many may me might more moreover most mostly much must my namely neither no nor not notably now of off
    often on once one only onto or other others otherwise our out outside over own part particularly per perhaps please
    quite rather re s same several shall she should since so some something such t than that the their them themselves
    then there thereby therefore these they thing things this those though through throughout thus to together too
    toward towards under unless until up upon us use used useful uses using usage utilize utilized utilizes utilizing
    utilise utilised via ve versus very vs was way ways we well were what whatever when where whereas whether which
    while who whom whose why will with within without would yet you your
    """
)

# Words of asking for papers: in a question they belong to the request, not to its subject.
ASK_WORDS = _words(
    """
    academic address addressed addresses addressing aim aimed aims apply applied applies applying article articles
    aspect aspects attempt attempted attempts author authored authors based call called carried cite cited cites
    conduct conducted consider considered considering considers contribute contributed contribution contributions cover
    covered covers deal deals dealt deliver demonstrate demonstrated demonstrates describe described describes
    describing develop developed develops discuss discussed discusses discussing employ employed employing employs
    enumerate establish established example examples exist existing exists explain explained explains explore explored
    explores exploring find focus focused focuses focusing found give idea ideas implement implemented implements
    indicate indicated indicates inform introduce introduced introduces introducing investigate investigated
    investigates investigating involve involved involves know known list literature look looked looking mention
    mentioned mentions name offer offered offers paper papers perform performed present presented presents previous
    prior produce produced projected propose proposed proposes proposing provide provided provides providing
    publication publications publish published question recent recently recommend refer references referred related
    relevant report reported reports research researched researcher researchers researches scholar scholarly scholars
    show showed showing shown shows specific specifically studied studies study studying suggest suggested suggests
    survey talk talked talks tell tried try trying various want wanted work worked working works write written wrote
    """
)


STOP = "|"
_NO_SUBJECT_OR_STOP = FUNCTION_WORDS | ASK_WORDS | {STOP}


def _ascii_table(stop: str) -> bytes:
    """For bytes.translate: letters in lower case and digits stay, what stands within a phrase becomes a space."""

    def kept(character: str) -> str:
        if character.isalnum():
            return character.lower()
        return " " if character.isspace() or character in "_-/'" else stop

    return "".join(kept(chr(code)) for code in range(128)).encode() + bytes(range(128, 256))


_WORDS, _WORDS_AND_STOPS = _ascii_table(" "), _ascii_table(STOP)


def tokens(text: str) -> list[str]:
    """The words of `text` in lower case, in order: runs of letters and digits."""
    if text.isascii():  # as nearly all are; half the time
        return text.encode().translate(_WORDS).decode().split()
    return _TOKEN.findall(text.lower())


def tokens_and_stops(text: str) -> list[str]:
    """The words of `text` as `tokens` gives them, and STOP for each mark between them that parts phrases."""
    if text.isascii():
        return text.encode().translate(_WORDS_AND_STOPS).replace(b"|", b" | ").decode().split()
    return [token if token.isalnum() else STOP for token in _TOKEN_OR_STOP.findall(text.lower())]


def names_subject(token: str) -> bool:
    """Whether the token can stand in a subject's name: neither STOP nor a word of grammar or of asking."""
    return token not in _NO_SUBJECT_OR_STOP


def stems(text: str) -> list[str]:
    """The words of `text` in order, lower case and without their endings (Snowball's English rules, by tantivy).

    Words of more than 40 characters, which are broken text, are left out.
    """
    return _analyzer().analyze(text.encode("utf-8", "replace").decode())


@lru_cache(maxsize=1)
def _analyzer() -> tantivy.TextAnalyzer:
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    steps = (tantivy.Filter.remove_long(_MAX_WORD_BYTES), tantivy.Filter.lowercase(), tantivy.Filter.stemmer("english"))
    for step in steps:
        builder = builder.filter(step)
    return builder.build()


def subject_words(question: str) -> list[str]:
    """The question's words that name its subject, each once, in order.

    Never empty when `question` holds a letter or digit: a question of ask words alone keeps them.
    """
    words = list(dict.fromkeys(tokens(question)))
    content = [w for w in words if w not in FUNCTION_WORDS]
    return [w for w in content if w not in ASK_WORDS] or content or words


def subject_phrases(question: str) -> list[list[str]]:
    """Runs of subject words with no other word or punctuation between them, in order.

    "Which papers apply slot attention to novel view synthesis?" gives slot attention | novel view synthesis.
    """
    phrases: list[list[str]] = []
    phrase: list[str] = []
    for word in tokens_and_stops(question):
        if word not in _NO_SUBJECT_OR_STOP:  # names_subject, without the call
            phrase.append(word)
        elif phrase:
            phrases.append(phrase)
            phrase = []
    return [*phrases, phrase] if phrase else phrases

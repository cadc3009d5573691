"""Titles and abstracts that hold LaTeX, as arXiv's do: made readable, or made safe for LaTeX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# Math as pandoc tells it from money: no blank inside the dollars, no digit behind them.
_MATH = re.compile(r"(?<!\\)\$(?=\S)((?:\\.|[^$\\])+?)(?<=\S)(?<!\\)\$(?!\d)")
_ACCENTS = {
    **{"'": "\u0301", "`": "\u0300", "^": "\u0302", '"': "\u0308", "~": "\u0303", "=": "\u0304", ".": "\u0307"},
    **{"u": "\u0306", "v": "\u030c", "H": "\u030b", "c": "\u0327", "k": "\u0328", "r": "\u030a", "d": "\u0323"},
}
_LETTERS = {
    **{"ss": "ß", "o": "ø", "O": "Ø", "l": "ł", "L": "Ł", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ"},
    **{"aa": "å", "AA": "Å", "i": "ı", "j": "ȷ"},
}
_ACCENTED = r"\\(?:(['`^\"~=.])\s*(?:\{\\?([A-Za-z])\}|\\?([A-Za-z]))|([uvHckrd])\{\\?([A-Za-z])\})"
_ACCENT = re.compile(rf"\{{{_ACCENTED}\}}|{_ACCENTED}")
_LETTER = re.compile(r"\{\\(ss|ae|AE|oe|OE|aa|AA|[oOlL])\}|\\(ss|ae|AE|oe|OE|aa|AA|[oOlL])(?:\{\}|(?![A-Za-z])\s?)")
_STYLED = re.compile(r"\\(?:emph|text(?:it|bf|tt|sc|rm|sf|sl|normal|up)?|mbox|uppercase)\{([^{}]*)\}")
_ESCAPED = re.compile(r"\\([&%$#_{}])")
_TIE = re.compile(r"(?<=[^\s\\])~(?=\S)")
# What LaTeX reads as a command -> how it is written; no brace is left single, since BibTeX counts those too.
_SPECIAL = {
    **{
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    },
    **{"\\": r"\textbackslash{}", "{": r"\textbraceleft{}", "}": r"\textbraceright{}"},
}
# Noncharacters and control characters, lone surrogates: no file format has a place for them.
_NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")
_WORD = re.compile(r"\S+")
_PARTS = re.compile(r"[-–/()\[\]:,.;!?\"'“”‘’]+")
_LONG_WORD = 4  # letters; shorter ones stay lower case in headings too
_HEADING = 0.75  # from this share of its long words with a capital on, a title has capitals everywhere


def one_line(text: str) -> str:
    """The text on one line, without characters that no format has a place for."""
    return " ".join(_NO_TEXT.sub(" ", text).split())


def readable(text: str) -> str:
    """The text on one line, LaTeX's accents, letters and emphasis as Unicode; math stays as it is."""
    return "".join(f"${part}$" if is_math else part for is_math, part in _parts(text))


def to_latex(text: str) -> str:
    r"""The text for a LaTeX document, in Unicode: math stays, what LaTeX would read as a command is escaped."""
    return "".join(f"${part}$" if is_math else _escaped(part) for is_math, part in _parts(text))


def title_to_latex(text: str) -> str:
    """As to_latex, with braces around math and words whose capitals a bibliography style must leave alone."""
    parts = list(_parts(text))
    protect_names = not _is_heading(" ".join(part for is_math, part in parts if not is_math))
    out, is_first = [], True
    for is_math, part in parts:
        if is_math:
            out.append(f"{{${part}$}}")
            is_first = False
            continue
        at = 0
        for match in _WORD.finditer(part):
            word = match[0]
            keeps = _has_own_capitals(word) or (protect_names and not is_first and word[0].isupper())
            out += [_escaped(part[at : match.start()]), _protected(word) if keeps else _escaped(word)]
            at, is_first = match.end(), word.endswith(":")
        out.append(_escaped(part[at:]))
    return "".join(out)


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """(is math, text) of each part, in order; other text is readable."""
    text, at = one_line(text), 0
    for match in _MATH.finditer(text):
        if _is_balanced(match[1]) and "%" not in match[1]:
            yield False, _unicode(text[at : match.start()])
            yield True, match[1]
            at = match.end()
    yield False, _unicode(text[at:])


def _is_balanced(text: str) -> bool:
    """Whether each brace has its partner, as BibTeX counts them: backslashes before them do not matter."""
    depth = 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    return depth == 0 and not text.endswith("\\")


def _unicode(text: str) -> str:
    if "\\" not in text:
        return text
    text = _ACCENT.sub(_accented, text)
    text = _LETTER.sub(lambda match: _LETTERS[match[1] or match[2]], text)
    text = _STYLED.sub(lambda match: match[1], _TIE.sub(" ", text))
    return _ESCAPED.sub(lambda match: match[1], text)


def _accented(match: re.Match[str]) -> str:
    accent, letter = (group for group in match.groups() if group)
    return unicodedata.normalize("NFC", letter + _ACCENTS[accent])


def _escaped(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in text)


def _protected(word: str) -> str:
    core = word.rstrip(":,.;!?")  # a style looks for the colon behind the word
    return f"{{{_escaped(core)}}}{_escaped(word[len(core) :])}"


def _has_own_capitals(word: str) -> bool:
    """Whether the word is an acronym, a name such as PaSa or a single letter: its capitals say something."""
    for part in _PARTS.split(word):
        letters = [character for character in part if character.isalpha()]
        if any(letter.isupper() for letter in letters[1:]):
            return True
        if len(letters) == 1 and letters[0].isupper() and letters != ["A"]:
            return True
    return False


def _is_heading(text: str) -> bool:
    """Whether the title is written with capitals everywhere, so that a capital does not show a name."""
    words = [word for word in _PARTS.sub(" ", text).split()[1:] if len(word) >= _LONG_WORD and word[0].isalpha()]
    return not words or sum(word[0].isupper() for word in words) >= _HEADING * len(words)

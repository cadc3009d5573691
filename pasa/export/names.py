"""Authors' names in their parts, as bibliographies want them."""

from __future__ import annotations

from dataclasses import dataclass

_SUFFIXES = frozenset({"jr", "sr", "ii", "iii", "iv"})
# A name with one of these is no person's, and has no parts.
_BODIES = frozenset(
    {
        *("collaboration", "collaborations", "team", "group", "consortium", "project", "initiative", "university"),
        *("institute", "institution", "laboratory", "lab", "labs", "research", "foundation", "inc", "ltd", "llc"),
        *("gmbh", "corporation", "corp", "company", "association", "society", "committee", "network", "organization"),
        *("organisation", "center", "centre", "department", "community", "the"),
    }
)
_OF_BODIES = frozenset({"and", "for", "of", "&"})
_NOT_IN_NAMES = str.maketrans(dict.fromkeys("{}", ""))


@dataclass(frozen=True, slots=True)
class Name:
    """A person's name; a body's, or one without parts, is its family name alone."""

    family: str
    given: str = ""
    suffix: str = ""  # "Jr.", "III"
    is_whole: bool = False  # a body's name: not to be taken apart

    @property
    def sorted(self) -> str:
        """ "Family, Given, Suffix", as RIS has it."""
        return ", ".join(filter(None, [self.family, self.given, self.suffix]))


def read_name(text: str) -> Name | None:
    """The parts of "Given von Family Jr." or "von Family, Given"; None for a text without a name.

    As BibTeX reads names, the family name begins with the first word in lower case, else is the last word.
    """
    words = text.translate(_NOT_IN_NAMES).split()
    whole = " ".join(words).strip(" ,")
    if not whole:
        return None
    if _is_body(words):
        return Name(whole, is_whole=True)
    if "," in whole:
        return _read_sorted(whole)
    suffix = words.pop() if len(words) > 1 and _is_suffix(words[-1]) else ""
    if len(words) == 1:
        return Name(words[0], "", suffix)
    start = next((at for at, word in enumerate(words[1:-1], 1) if word[0].islower()), len(words) - 1)
    return Name(" ".join(words[start:]), " ".join(words[:start]), suffix)


def _read_sorted(text: str) -> Name:
    """ "Family, Given", "Family, Given, Jr.", "Family, Jr., Given" or "Given Family, Jr."."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    suffixes = [part for part in parts[1:] if _is_suffix(part)]
    others = [part for part in parts if part not in suffixes]
    if len(suffixes) > 1 or not 1 <= len(others) <= 2:
        return Name(" ".join(parts), is_whole=True)
    suffix = suffixes[0] if suffixes else ""
    if len(others) == 2:
        return Name(others[0], others[1], suffix)
    name = read_name(others[0])
    return Name(name.family, name.given, suffix, name.is_whole) if name else Name(text, is_whole=True)


def _is_suffix(word: str) -> bool:
    return word.rstrip(".").lower() in _SUFFIXES


def _is_body(words: list[str]) -> bool:
    return any(w.strip(".,").lower() in _BODIES for w in words) or not _OF_BODIES.isdisjoint(words)

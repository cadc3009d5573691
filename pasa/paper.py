"""Papers, references and the keys by which they are compared.

The only place that normalises titles, arXiv ids and dates.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

# arXiv identifier scheme: https://info.arxiv.org/help/arxiv_identifier.html
_NEW_ID = r"\d{4}\.\d{4,5}"
_OLD_ID = r"[a-z][a-z\-]*(?:\.[A-Z]{2})?/\d{7}"
_ID_IN_TEXT = re.compile(rf"(?<![\d.])({_NEW_ID}|{_OLD_ID})(?:v\d+)?(?![\d])", re.IGNORECASE)
_ID_ALONE = re.compile(rf"(?:arxiv:)?({_NEW_ID}|{_OLD_ID})(?:v\d+)?", re.IGNORECASE)
_ID_IN_URL = re.compile(rf"arxiv\.org/(?:abs|pdf|html|format|src)/({_NEW_ID}|{_OLD_ID})", re.IGNORECASE)
_DATE = re.compile(r"(\d{4})(?:-?(\d{2})(?:-?(\d{2}))?)?")


def title_key(title: str) -> str:
    """The title's letters only, lower case: how titles are compared (PAPER.md, file formats).

    Two titles without a letter ("1984") both give "", which names no paper.
    """
    return "".join(filter(str.isalpha, title)).lower()


def parse_arxiv_id(text: str) -> str | None:
    """The arXiv id that `text` is ("2501.10120v2", "arXiv:cs/0112017", an arxiv.org URL), without its version.

    None when `text` is anything else.
    """
    text = text.strip()
    match = _ID_ALONE.fullmatch(text) or _ID_IN_URL.search(text)
    return match.group(1) if match else None


def find_arxiv_id(text: str) -> str | None:
    """The first arXiv id inside running text ("... arXiv preprint arXiv:1707.08567, 2017"), or None."""
    match = _ID_IN_URL.search(text)
    if match is None and "arxiv" in text.lower():
        match = _ID_IN_TEXT.search(text)
    return match.group(1) if match else None


def arxiv_id_month(arxiv_id: str) -> str | None:
    """The month an arXiv id was given out, "YYYY-MM"; None for an id that states none."""
    digits = arxiv_id.rsplit("/", 1)[-1][:4]
    if not digits.isdigit() or not 1 <= int(digits[2:]) <= 12:
        return None
    year = int(digits[:2])
    return f"{1900 + year if year >= 91 else 2000 + year}-{digits[2:]}"


def last_day(date: str) -> dt.date | None:
    """The last day a "YYYY", "YYYY-MM" or "YYYY-MM-DD" date can mean (dashes optional); None if not a date."""
    match = _DATE.match(date.strip())
    if match is None:
        return None
    year, month, day = int(match[1]), int(match[2] or 12), int(match[3] or 0)
    try:
        return dt.date(year, month, day or calendar.monthrange(year, month)[1])
    except (ValueError, calendar.IllegalMonthError):
        return None


@dataclass(frozen=True, slots=True)
class Reference:
    """One entry of a paper's bibliography; a field is "" or None where the page did not state it."""

    title: str
    arxiv_id: str | None = None
    doi: str | None = None
    authors: str = ""
    year: str = ""
    venue: str = ""
    raw: str = ""  # the entry as printed
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a paper and the references cited in it, in order of first citation."""

    name: str
    references: tuple[Reference, ...] = ()


@dataclass(frozen=True, slots=True)
class Paper:
    """A paper as a search engine or paper source describes it."""

    title: str
    abstract: str = ""
    arxiv_id: str | None = None  # without version
    date: str | None = None  # "YYYY", "YYYY-MM" or "YYYY-MM-DD"
    authors: tuple[str, ...] = ()
    sections: tuple[Section, ...] | None = field(default=None, repr=False)  # None = not looked up yet
    source: str = ""  # who described it, upstream's words: "SearchFrom:local_paper_db", "SearchFrom:arxiv"

    @property
    def title_key(self) -> str:
        return title_key(self.title)

    @property
    def key(self) -> str:
        """What the paper is filed under: its arXiv id, else its title key."""
        return self.arxiv_id or f"title:{self.title_key}"

    @property
    def url(self) -> str | None:
        return f"https://arxiv.org/abs/{self.arxiv_id}" if self.arxiv_id else None

    def last_possible_day(self) -> dt.date | None:
        """The latest day the paper can have appeared, from its date, else from its arXiv id's month."""
        day = last_day(self.date) if self.date else None
        if day is None and self.arxiv_id and (month := arxiv_id_month(self.arxiv_id)):
            day = last_day(month)
        return day


def sections_from_titles(sections: dict[str, list[str]]) -> tuple[Section, ...]:
    """Sections from upstream's form, section name -> cited titles."""
    return tuple(Section(name, tuple(Reference(t) for t in titles)) for name, titles in sections.items())


def sections_to_titles(sections: Iterable[Section] | None) -> dict[str, list[str]]:
    """Upstream's form of sections, name -> cited titles."""
    return {s.name: [r.title for r in s.references] for s in sections or ()}

"""Papers from the rows of the formats a library is built from. Pure: no files here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

from pasa.paper import Paper, Reference, Section, arxiv_id_month, last_day, parse_arxiv_id

_DATE = re.compile(r"(\d{4})(?:-?(\d{2})(?:-?(\d{2}))?)?(?!\d)")
_NUMBER = re.compile(r"(\d{3,4})\.(\d+)")
_FIRST_LONG_ID_MONTH = "1501"
_NUMBER_NOISE_DIGITS = 10  # after the point; so many are a binary fraction's, not an id's
_SNAPSHOT_FIELDS = ("versions", "update_date", "authors_parsed")  # of which a metadata snapshot's rows have some

Repair = Callable[[str], None]  # told why a field of a row was left out


class MalformedRow(ValueError):
    """The row describes no paper; the message is the reason, the same words for the same kind of row."""


def paper_from_row(row: object, repair: Repair) -> Paper:
    """The paper that a row of a JSON-lines file describes: this project's form, or arXiv's metadata snapshot's.

    A field that cannot be used is left out and `repair` is told why. Raises MalformedRow.
    """
    if not isinstance(row, dict):
        raise MalformedRow("not a JSON object")
    if any(name in row for name in _SNAPSHOT_FIELDS):
        return _paper_from_snapshot(row, repair)
    return _checked(
        Paper(
            title=_title(row),
            abstract=_text(row, "abstract", repair),
            arxiv_id=_arxiv_id(row.get("arxiv_id"), repair),
            date=_date(row.get("date"), repair),
            authors=_authors(row.get("authors"), repair),
            sections=_sections(row.get("sections"), repair),
        )
    )


def _paper_from_snapshot(row: Mapping, repair: Repair) -> Paper:
    """A row of arXiv's metadata snapshot (Kaggle, Cornell-University/arxiv); the date is the first version's."""
    arxiv_id = _arxiv_id(row.get("id"), repair)
    date = _first_version_day(row.get("versions"), repair)
    if date is None and not (arxiv_id and arxiv_id_month(arxiv_id)):
        date = _date(row.get("update_date"), repair)
    names = row.get("authors_parsed")
    return _checked(
        Paper(
            title=_title(row),
            abstract=_text(row, "abstract", repair),
            arxiv_id=arxiv_id,
            date=date,
            authors=_parsed_authors(names, repair),
        )
    )


def _checked(paper: Paper) -> Paper:
    if not paper.arxiv_id and not any(map(str.isalpha, paper.title)):  # that is, no title key
        raise MalformedRow("neither an arXiv id nor a letter in the title")
    return paper


def _title(row: Mapping) -> str:
    title = row.get("title")
    if not isinstance(title, str):
        raise MalformedRow("no title" if title is None else "title is not text")
    title = _one_line(title)
    if not title:
        raise MalformedRow("no title")
    return title


def _text(row: Mapping, name: str, repair: Repair) -> str:
    text = row.get(name)
    if text is None or isinstance(text, str):
        return _one_line(text or "")
    repair(f"{name} is not text (left out)")
    return ""


def _arxiv_id(value: object, repair: Repair) -> str | None:
    if value is None or value == "":
        return None
    text = str(value) if isinstance(value, str | float) else ""
    mended = _unnumbered(text)
    if mended != text:
        repair("arXiv id was written as a number (restored)")
    arxiv_id = parse_arxiv_id(mended)
    if arxiv_id is None:
        repair("arXiv id cannot be read (left out)")
    return arxiv_id


def _unnumbered(text: str) -> str:
    """The arXiv id that a spreadsheet or data frame took for a number; any other text as it is.

    Public dumps have "1903.0153899999998" for 1903.01539 and "1904.13" for 1904.13000: ids have five digits after the
    point from 1501 on, four before (https://info.arxiv.org/help/arxiv_identifier.html).
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        return text
    month = match[1].zfill(4)
    digits = 5 if month >= _FIRST_LONG_ID_MONTH else 4
    if len(match[1]) == 4 and digits <= len(match[2]) < _NUMBER_NOISE_DIGITS:
        return text
    return f"{month}.{round(float('0.' + match[2]) * 10**digits):0{digits}d}"


def _date(value: object, repair: Repair) -> str | None:
    """A date as "YYYY", "YYYY-MM" or "YYYY-MM-DD"; a time after it is dropped."""
    if value is None or value == "":
        return None
    match = _DATE.match(str(value).strip()) if isinstance(value, str | int) else None
    date = "-".join(part for part in match.groups() if part) if match else ""
    if last_day(date) is None:
        repair("date cannot be read (left out)")
        return None
    return date


def _first_version_day(versions: object, repair: Repair) -> str | None:
    if not versions:
        return None
    try:
        return parsedate_to_datetime(versions[0]["created"]).date().isoformat()  # type: ignore[index]
    except (ValueError, TypeError, KeyError, IndexError):
        repair("date of the first version cannot be read (left out)")
        return None


def _authors(value: object, repair: Repair) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return tuple(name for name in map(_one_line, value) if name)
    if value:
        repair("authors are not a list of names (left out)")
    return ()


def _parsed_authors(value: object, repair: Repair) -> tuple[str, ...]:
    """Names from [last, first, suffix, ...] lists."""
    try:
        return _authors([" ".join([parts[1], parts[0], *parts[2:3]]) for parts in value or ()], repair)  # type: ignore
    except (TypeError, IndexError, KeyError):
        repair("authors are not a list of names (left out)")
        return ()


def _one_line(text: str) -> str:
    """The text with single spaces only."""
    if text.isprintable() and "  " not in text:  # a quick look that spares most texts the slow way
        return text.strip()
    return " ".join(text.split())


def _sections(value: object, repair: Repair) -> tuple[Section, ...] | None:
    """Sections from name -> cited titles; None for a row without any."""
    if not value:
        return None
    if not isinstance(value, dict) or not all(isinstance(titles, list) for titles in value.values()):
        repair("sections are not name -> list of titles (left out)")
        return None
    sections = []
    for name, titles in value.items():
        cited = [_one_line(title) for title in titles if isinstance(title, str) and title.strip()]
        sections.append(Section(_one_line(name), tuple(map(Reference, cited))))
        if any(not isinstance(title, str) for title in titles):
            repair("a cited title is not text (left out)")
    return tuple(sections)

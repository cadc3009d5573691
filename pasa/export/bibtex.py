"""BibTeX, for BibTeX and biblatex alike: UTF-8 text, what LaTeX would read as a command escaped."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from pasa.export.names import Name, read_name
from pasa.export.run_view import date_parts, doi
from pasa.export.tex_text import one_line, readable, title_to_latex, to_latex
from pasa.paper import Paper
from pasa.result_tree import RankedPaper

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")  # BibTeX's own macros
_NOT_IN_KEYS = re.compile("[^a-z0-9]+")
# Words that tell no title from another.
_SMALL = frozenset(
    [
        "a",
        "an",
        "the",
        "on",
        "in",
        "of",
        "for",
        "to",
        "and",
        "with",
        "from",
        "by",
        "at",
        "as",
        "is",
        "are",
        "do",
        "does",
        "can",
        "how",
        "what",
        "towards",
        "toward",
    ]
)
_PARTS = re.compile(r"[\s\-–:/]+")
_AND = re.compile(r"\sand\s", re.IGNORECASE)  # what parts authors


def to_bibtex(papers: Sequence[RankedPaper]) -> str:
    """An entry a paper, in order, each under a key of its own."""
    entries = zip(citation_keys([ranked.paper for ranked in papers]), papers, strict=True)
    return "\n".join(_entry(key, ranked.paper) for key, ranked in entries)


def citation_keys(papers: Iterable[Paper]) -> list[str]:
    """A key a paper: first author, year, first word of the title; "-2", "-3" ... behind one that is taken."""
    keys: list[str] = []
    taken: set[str] = set()
    for paper in papers:
        base = key = _key(paper)
        number = 1
        while key in taken:
            number += 1
            key = f"{base}-{number}"
        taken.add(key)
        keys.append(key)
    return keys


def _key(paper: Paper) -> str:
    author = read_name(paper.authors[0]) if paper.authors else None
    words = [_ascii(word) for word in _PARTS.split(readable(paper.title).lower())]
    word = next((word for word in words if word and word not in _SMALL), "")
    year = str(date_parts(paper)[0]) if date_parts(paper) else ""
    name = _ascii(author.family) if author else ""
    return (name + year + word if name else word + year) or _ascii(paper.arxiv_id or "") or "paper"


def _ascii(text: str) -> str:
    return _NOT_IN_KEYS.sub("", unicodedata.normalize("NFKD", text).lower())


def _entry(key: str, paper: Paper) -> str:
    dates = date_parts(paper)
    fields = {
        "title": _braced(title_to_latex(paper.title)),
        "author": _braced(" and ".join(_author(name) for name in map(read_name, paper.authors) if name)),
        "year": _braced(str(dates[0]) if dates else ""),
        "month": _MONTHS[dates[1] - 1] if len(dates) > 1 and dates[1] <= len(_MONTHS) else "",
        "eprint": _braced(paper.arxiv_id or ""),
        "archiveprefix": _braced("arXiv" if paper.arxiv_id else ""),
        "doi": _braced(doi(paper) or ""),
        "url": _braced(paper.url or ""),
        "abstract": _braced(to_latex(paper.abstract)),
    }
    lines = [f"  {name} = {value}" for name, value in fields.items() if value and value != "{}"]
    return f"@misc{{{key},\n" + ",\n".join(lines) + "\n}\n"


def _braced(text: str) -> str:
    return f"{{{text}}}"


def _author(name: Name) -> str:
    """The name as BibTeX takes it apart again: "von Family, Jr., Given"; a body's in braces."""
    family, given, suffix = (to_latex(one_line(part)) for part in (name.family, name.given, name.suffix))
    if name.is_whole or _AND.search(f" {family} ") or _AND.search(f" {given} "):
        return f"{{{' '.join(filter(None, [given, family, suffix]))}}}"
    if not given and not suffix:
        return f"{{{family}}}" if " " in family else family
    return ", ".join([family, *([suffix] if suffix else []), given])

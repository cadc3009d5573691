"""RIS, which Zotero, EndNote and Mendeley read: https://en.wikipedia.org/wiki/RIS_(file_format)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pasa.export.names import read_name
from pasa.export.run_view import date_parts, doi
from pasa.export.tex_text import one_line, readable
from pasa.paper import Paper
from pasa.result_tree import RankedPaper

_PREPRINT, _OTHER = "UNPB", "GEN"  # of the format's types: unpublished work, anything


def to_ris(papers: Sequence[RankedPaper]) -> str:
    """A record a paper, in order."""
    return "\n".join("".join(f"{tag}  - {text}\n" for tag, text in _lines(ranked.paper)) for ranked in papers)


def _lines(paper: Paper) -> Iterator[tuple[str, str]]:
    yield "TY", _PREPRINT if paper.arxiv_id else _OTHER
    yield "TI", readable(paper.title)
    for name in map(read_name, paper.authors):
        if name:
            yield "AU", one_line(name.sorted)
    dates = date_parts(paper)
    if dates:
        yield "PY", str(dates[0])
        yield "DA", "/".join([str(dates[0]), *(f"{part:02d}" for part in dates[1:])]) + "/" * (4 - len(dates))
    if paper.abstract.strip():
        yield "AB", readable(paper.abstract)
    if paper.arxiv_id:
        yield "DO", doi(paper) or ""
        yield "UR", paper.url or ""
        yield "PB", "arXiv"
        yield "AN", f"arXiv:{paper.arxiv_id}"
    yield "ER", ""

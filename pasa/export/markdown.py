"""A list of papers in Markdown (CommonMark), for notes, issues and chats."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pasa.export.evidence import evidence
from pasa.export.run_view import ExportedRun, date_text, pdf_url
from pasa.export.tex_text import one_line, readable
from pasa.result_tree import RankedPaper
from pasa.results import describe_path

# Characters that CommonMark reads as markup, and "$" for those that render math.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#|~!$&])")
_LIST_START = re.compile(r"^(\d+)([.)])|^([-+=])")
AUTHORS_SHOWN = 6


def to_markdown(run: ExportedRun, papers: Sequence[RankedPaper]) -> str:
    """The question, what was done for it, and the papers as a numbered list."""
    lines = [f"# {plain(run.question)}", "", _summary(run, papers), ""]
    told = evidence(run, papers)
    for place, ranked in enumerate(papers, 1):
        lines += [*_item(place, ranked, told.get(ranked.paper.key, "")), ""]
    return "\n".join(lines)


def plain(text: str) -> str:
    """The text on one line, as Markdown that shows it letter by letter where a line begins."""
    return _LIST_START.sub(lambda m: f"{m[1]}\\{m[2]}" if m[1] else f"\\{m[3]}", within(text))


def within(text: str) -> str:
    """The same inside a line."""
    return _MARKUP.sub(r"\\\1", one_line(text))


def _summary(run: ExportedRun, papers: Sequence[RankedPaper]) -> str:
    found = f"{len(run.papers)} papers found, {len(run.selected)} selected"
    return found + (f"; these are {len(papers)} of them." if len(papers) != len(run.papers) else ".")


def _item(place: int, ranked: RankedPaper, told: str) -> list[str]:
    paper = ranked.paper
    title = plain(readable(paper.title))
    head = f"**[{title}]({paper.url})**" if paper.url else f"**{title}**"
    authors = ", ".join(paper.authors[:AUTHORS_SHOWN]) + " et al." * (len(paper.authors) > AUTHORS_SHOWN)
    facts = " · ".join(filter(None, [plain(authors), date_text(paper), f"score {ranked.score:.2f}", _pdf(ranked)]))
    more = {"found by": describe_path(ranked.path), "speaks for it": told, "the Selector's reason": ranked.reason}
    lines = [f"{name}: {plain(text)}" for name, text in more.items() if text]
    return [f"{place}. {head}  ", *(f"   {line}  " for line in (facts, *lines[:-1])), f"   {lines[-1]}"]


def _pdf(ranked: RankedPaper) -> str:
    url = pdf_url(ranked.paper)
    return f"[PDF]({url})" if url else ""

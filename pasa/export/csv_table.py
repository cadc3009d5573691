"""A table that spreadsheets open: RFC 4180, and no cell that one of them would run as a formula."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO

from pasa.export.evidence import evidence
from pasa.export.run_view import ExportedRun, date_text, pdf_url
from pasa.export.tex_text import one_line
from pasa.result_tree import RankedPaper
from pasa.results import describe_path

COLUMNS = (
    *("rank", "title", "authors", "date", "arxiv_id", "url", "pdf_url", "score", "selected", "is_seed", "depth"),
    *("how_found", "evidence", "reason", "described_by", "abstract"),
)
# What a cell begins with that spreadsheets run: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def to_csv(run: ExportedRun, papers: Sequence[RankedPaper]) -> str:
    """A line a paper below the names of the columns; authors are parted by "; "."""
    told = evidence(run, papers)
    return table([COLUMNS, *(_row(ranked, told.get(ranked.paper.key, "")) for ranked in papers)])


def table(rows: Sequence[Sequence[object]]) -> str:
    """The rows as CSV; numbers as they are, texts on one line and never a formula."""
    text = StringIO()
    csv.writer(text).writerows([safe_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def safe_cell(cell: object) -> object:
    """The cell; a text that a spreadsheet would run has an apostrophe before it, which shows it as text."""
    if not isinstance(cell, str):
        return "" if cell is None else cell
    text = one_line(cell)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _row(ranked: RankedPaper, told: str) -> list[object]:
    paper = ranked.paper
    return [
        ranked.rank,
        paper.title,
        "; ".join(paper.authors),
        date_text(paper),
        paper.arxiv_id,
        paper.url,
        pdf_url(paper),
        round(ranked.score, 6),
        str(ranked.selected).lower(),
        str(ranked.is_seed).lower(),
        ranked.depth,
        describe_path(ranked.path),
        told,
        ranked.reason,
        paper.source,
        paper.abstract,
    ]

"""The forms in which a run leaves the house, by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pasa.errors import ConfigError
from pasa.export.bibtex import to_bibtex
from pasa.export.csl_json import to_csl_json
from pasa.export.csv_table import to_csv
from pasa.export.evidence import evidence
from pasa.export.html_page import to_html
from pasa.export.markdown import to_markdown
from pasa.export.methods import to_decisions, to_methods
from pasa.export.ris import to_ris
from pasa.export.run_view import ExportedRun
from pasa.result_tree import RankedPaper
from pasa.results import ranking_json

Papers = Sequence[RankedPaper]


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """One form: what a file of it is called, and how it is written."""

    name: str
    label: str
    suffix: str
    media_type: str
    takes_all: bool  # whether papers that were not selected are in it unless others are named
    write: Callable[[ExportedRun, Papers], str]


_TOTALS = (
    *("papers_found", "papers_scored", "papers_selected", "searches", "papers_expanded", "crawler_calls"),
    *("selector_calls", "prompt_tokens", "reply_tokens", "dollars", "seconds", "budget_reached", "problems"),
)


def _to_json(run: ExportedRun, papers: Papers) -> str:
    """As `--format json` of run_paper_agent.py."""
    totals = {name: run.run[name] for name in _TOTALS if name in run.run}
    shown = {"query": run.question, "papers": ranking_rows(run, papers), "run": totals}
    return json.dumps(shown, indent=2, ensure_ascii=False) + "\n"


def ranking_rows(run: ExportedRun, papers: Papers | None = None) -> list[dict[str, Any]]:
    """The papers, or else all of the run's, as plain data, each with what speaks for it."""
    papers, told = run.papers if papers is None else papers, evidence(run, papers)
    rows = zip(papers, ranking_json(papers), strict=True)
    return [{**row, "evidence": told.get(ranked.paper.key, "")} for ranked, row in rows]


def _to_jsonl(run: ExportedRun, papers: Papers) -> str:
    rows = [{"query": run.question, **row} for row in ranking_rows(run, papers)]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


_ALL = (
    ExportFormat("json", "JSON", ".json", "application/json", True, _to_json),
    ExportFormat("jsonl", "JSON lines", ".jsonl", "application/x-ndjson", True, _to_jsonl),
    ExportFormat("csv", "CSV table", ".csv", "text/csv", True, to_csv),
    ExportFormat("bibtex", "BibTeX", ".bib", "application/x-bibtex", False, lambda _, papers: to_bibtex(papers)),
    ExportFormat("ris", "RIS", ".ris", "application/x-research-info-systems", False, lambda _, papers: to_ris(papers)),
    ExportFormat(
        "csl-json",
        "CSL-JSON",
        ".csl.json",
        "application/vnd.citationstyles.csl+json",
        False,
        lambda _, papers: to_csl_json(papers),
    ),
    ExportFormat("markdown", "Markdown", ".md", "text/markdown", False, to_markdown),
    ExportFormat("methods", "Methods text (Markdown)", ".md", "text/markdown", True, lambda run, _: to_methods(run)),
    ExportFormat("decisions", "Decisions (CSV)", ".csv", "text/csv", True, to_decisions),
    ExportFormat("html", "HTML report", ".html", "text/html", True, to_html),
)
FORMATS = {form.name: form for form in _ALL}


def export(run: ExportedRun, form: str, papers: Papers | None = None) -> str:
    """The run in this form: `papers`, or else those that the form takes by itself. Raises ConfigError."""
    if form not in FORMATS:
        raise ConfigError(f"there is no format {form!r}; it may be {', '.join(FORMATS)}")
    chosen = FORMATS[form]
    if papers is None:
        papers = run.papers if chosen.takes_all else run.selected
    return chosen.write(run, papers)

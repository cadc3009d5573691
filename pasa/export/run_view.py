"""A finished run as every export reads it: from the agent's result, or from a saved result tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pasa.config import AgentSettings
from pasa.evaluation.trees import node_from_json
from pasa.events import RunResult
from pasa.paper import Paper, arxiv_id_month
from pasa.result_tree import Node, RankedPaper, rank
from pasa.results import stats_json
from pasa.search_record import SearchRecord, read_record, record_of

ARXIV_DOI = "10.48550/arXiv."  # DataCite's prefix for arXiv; every paper there has one: info.arxiv.org/help/doi.html
_UPSTREAM_THRESHOLD = AgentSettings().select_threshold  # where a tree does not say


@dataclass(frozen=True, slots=True)
class ExportedRun:
    """One question's run."""

    question: str
    papers: tuple[RankedPaper, ...]  # all that were found, best first
    root: Node  # the crawl
    run: Mapping[str, Any]  # how it was made and its totals: a result file's `extra.run`
    end_date: str | None = None  # YYYY-MM-DD
    record: SearchRecord = field(default_factory=SearchRecord)  # every way to papers; empty where none was noted

    @property
    def selected(self) -> tuple[RankedPaper, ...]:
        return tuple(paper for paper in self.papers if paper.selected)

    def chosen(self, ranks: Iterable[int]) -> tuple[RankedPaper, ...]:
        """The papers of these ranks, best first; a rank that there is not is passed over."""
        wanted = set(ranks)
        return tuple(paper for paper in self.papers if paper.rank in wanted)


def of_result(result: RunResult, record: Mapping[str, Any]) -> ExportedRun:
    """What a run gave; `record`: how the agent is made."""
    seeds = {"seeds": list(result.query.seeds)} if result.query.seeds else {}
    run = {**record, **seeds, **stats_json(result.stats)}
    end_date = result.query.end_date.isoformat() if result.query.end_date else None
    return ExportedRun(result.query.text, tuple(result.papers), result.root, run, end_date, record_of(result))


def of_tree(tree: Mapping[str, Any]) -> ExportedRun:
    """A saved result tree, as evaluation.trees.read_tree gives it."""
    root = node_from_json(dict(tree))
    extra = tree["extra"]
    _describe(root, extra.get("papers") or {})
    run = extra.get("run") or {}
    threshold = (run.get("settings") or {}).get("select_threshold", _UPSTREAM_THRESHOLD)
    return ExportedRun(
        root.paper.title, tuple(rank(root, threshold)), root, run, extra.get("end_date"), read_record(extra)
    )


def _describe(root: Node, described: Mapping[str, Any]) -> None:
    """Gives the papers of a tree the dates and authors that its file has of them."""
    for node in root.walk():
        known = described.get(node.paper.key) or {}
        authors, source = tuple(known.get("authors") or ()), node.source.partition(" ")[2]
        node.paper = replace(node.paper, date=known.get("date"), authors=authors, source=source)


def date_parts(paper: Paper) -> tuple[int, ...]:
    """(year), (year, month) or (year, month, day) of the paper's date, else of the month its arXiv id names; or ()."""
    text = paper.date or (arxiv_id_month(paper.arxiv_id) if paper.arxiv_id else None) or ""
    digits = text.replace("-", "")
    parts = [digits[:4], digits[4:6], digits[6:8]]
    return tuple(int(part) for part in parts if part.isdecimal() and int(part))


def date_text(paper: Paper) -> str:
    """The same as "2024", "2024-05" or "2024-05-01"; "" where nothing is known."""
    return "-".join(f"{part:04d}" if place == 0 else f"{part:02d}" for place, part in enumerate(date_parts(paper)))


def doi(paper: Paper) -> str | None:
    return f"{ARXIV_DOI}{paper.arxiv_id}" if paper.arxiv_id else None


def pdf_url(paper: Paper) -> str | None:
    return f"https://arxiv.org/pdf/{paper.arxiv_id}" if paper.arxiv_id else None


def html_url(paper: Paper) -> str | None:
    """Where arXiv may have the paper as a page; it has none of most papers before December 2023."""
    return f"https://arxiv.org/html/{paper.arxiv_id}" if paper.arxiv_id else None

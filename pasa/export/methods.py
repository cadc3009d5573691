"""A search in words and numbers, as a methods section reports it (PRISMA 2020, PRISMA-S), and every decision in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pasa.export.csv_table import table
from pasa.export.markdown import within
from pasa.export.missing import estimate_missing, told_of_missing
from pasa.export.run_view import ExportedRun, date_text
from pasa.result_tree import RankedPaper
from pasa.results import describe_path
from pasa.saturation import BEST
from pasa.search_record import Flow, SearchRecord, WayTaken, flow, searches

_KINDS = {
    "search": "search queries",
    "section": "reference lists of papers read",
    "cited_by": "papers citing those read",
    "seed": "seed papers named by the user",
}
SELECTED = "selected"
_LATE = {"after_end_date": "published after the end date", "undated": "without a date"}
_UNUSUAL = ("asked again", "search: ", "look-up: ", "cited by: ", "page: ", "metadata: ", "reference: ", "selector: ")
_DECISIONS = (
    *("rank", "title", "arxiv_id", "date", "score", "decision", "reason", "layer", "times_found", "found_by"),
    *("ways",),
)


def to_methods(run: ExportedRun) -> str:
    """Markdown with the search strings and dates, the flow of papers, versions and settings."""
    parts = [_search(run), _flow(run), _missing(run), _versions(run), _settings(run)]
    return f"# Record of the search: {within(run.question)}\n\n" + "\n\n".join(filter(None, parts)) + "\n"


def to_decisions(run: ExportedRun, papers: Sequence[RankedPaper]) -> str:
    """CSV: every paper with its score, what was decided and why, and all the ways that led to it."""
    ways = _ways_of(run.record)
    threshold = (run.run.get("settings") or {}).get("select_threshold", "the threshold")
    rows = [_decision(ranked, ways.get(ranked.paper.key, []), threshold) for ranked in papers]
    return table([_DECISIONS, *rows])


def _decision(ranked: RankedPaper, ways: list[str], threshold: Any) -> list[object]:
    paper = ranked.paper
    return [
        ranked.rank,
        paper.title,
        paper.arxiv_id,
        date_text(paper),
        round(ranked.score, 6),
        "selected" if ranked.selected else "excluded",
        f"score {'above' if ranked.selected else 'not above'} {threshold}",
        ranked.depth,
        len(ways) or None,
        describe_path(ranked.path),
        " | ".join(ways),
    ]


def _ways_of(record: SearchRecord) -> dict[str, list[str]]:
    """Paper -> in words, each way that led to it."""
    ways: dict[str, list[str]] = {}
    for way in record.ways:
        words = f"{way.kind}: {way.name}" + (f" of {way.of.removeprefix('title:')}" if way.of else "")
        for number in way.found:
            ways.setdefault(record.keys[number], []).append(words)
    return ways


# -- the text ----------------------------------------------------------------------------------------------------------


def _search(run: ExportedRun) -> str:
    made = run.run
    day = str(made.get("started") or "")[:10]
    lines = ["## Search", "", f"Question: {within(run.question)}", ""]
    where = f"Searched in: {within(str(made.get('engine', 'not recorded')))}"
    how = f" ({within(str(made['retrieval']))})" if made.get("retrieval") else ""
    lines += [
        f"{where}{how}, on {day or 'a day not recorded'}. Papers described by: {within(str(made.get('source', '')))}."
    ]
    if run.end_date:
        lines += ["", f"No paper later than {run.end_date} was taken, seed papers aside."]
    asked = searches(run.record)
    if asked:
        lines += ["", "| search string | run | date | papers found | new among them |", "|---|---|---|---|---|"]
        lines += [
            f"| {within(way.name)}{' (seed)' * (way.kind == 'seed')} | {way.run + 1} | {day} | "
            f"{len(way.found)}{_by_engine(way)} | {way.new} |"
            for way in asked
        ]
    return "\n".join(lines)


def _by_engine(way: WayTaken) -> str:
    """How many of a search's papers each engine gave, where several searched as one."""
    told = ", ".join(f"{within(engine)} {len(found)}" for engine, found in way.by_engine.items())
    return f" ({told})" if told else ""


def flow_rows(run: ExportedRun) -> list[tuple[str, int]]:
    """(step, papers) of the flow from what was identified to what was selected; [] where no ways were noted."""
    if not run.record.ways:
        return []
    problems = run.run.get("problems") or {}
    counted = flow(run.record, len(run.papers), len(run.selected), problems)
    return [*_flow_rows(counted, run), *_unusual(problems)]


def _flow(run: ExportedRun) -> str:
    rows = [(f"**{name}**" if name == SELECTED else within(name), total) for name, total in flow_rows(run)]
    if not rows:
        return f"## Flow\n\n{len(run.papers)} papers were screened by score and {len(run.selected)} selected."
    return "\n".join(["## Flow", "", "| step | papers |", "|---|---|", *(f"| {name} | {n} |" for name, n in rows)])


def _flow_rows(counted: Flow, run: ExportedRun) -> Iterator[tuple[str, int]]:
    for source, total in counted.identified.items():
        kind, _, engine = source.partition(": ")
        yield f"identified through {_KINDS[kind]}" + (f" in {engine}" if engine else ""), total
    for reason, total in counted.too_late.items():
        yield f"dropped before: {_LATE.get(reason, reason)}", total
    yield "duplicates removed", counted.duplicates
    yield "distinct papers", counted.distinct
    if counted.without_score:
        yield "not screened (a budget was reached, or no score was to be had)", counted.without_score
    yield "screened by the Selector on title and abstract", counted.screened
    threshold = (run.run.get("settings") or {}).get("select_threshold")
    yield (
        "excluded: score not above " + (f"{threshold}" if threshold is not None else "the threshold"),
        (counted.below_threshold),
    )
    yield SELECTED, counted.selected


def _unusual(problems: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """What could not be had, from the counts of what was skipped."""
    for reason, times in problems.items():
        if reason.startswith(_UNUSUAL):
            yield f"not to be had: {reason}", times


def _missing(run: ExportedRun) -> str:
    """The estimate of what was not found, and how it was made."""
    told = told_of_missing(run)
    if not told:
        return ""
    how = (
        f" The {BEST} papers of the best scores stand for the relevant ones; searches and citations are two samples of "
        "them (Chapman 1951), calibrated on questions whose answers are known (pasa/saturation.py)."
    )
    is_told = estimate_missing(run)[1] is not None
    return f"## Estimate of what is missing\n\n{told[0].upper()}{told[1:]}.{how * is_told}"


def _versions(run: ExportedRun) -> str:
    made, versions = run.run, run.run.get("versions") or {}
    lines = ["## Versions", ""]
    if versions.get("code"):
        lines.append(f"- Software: pasa {within(str(versions['code']))}")
    for role in ("crawler", "selector"):
        model = versions.get(role) or {"name": made.get(role, "not recorded")}
        digest = f", digest {model['digest']}" if model.get("digest") else ""
        lines.append(f"- {role.capitalize()}: {within(str(model['name']))}{digest}")
    if made.get("reranked"):
        lines.append("- Final scores: the Selector's, corrected by what the crawl tells of each paper")
    library = versions.get("library")
    if library:
        sources = ", ".join(map(within, library["sources"]))
        lines.append(
            f"- Library: {within(library['name'])}, {library['papers']} papers ({library['with_sections']} with full "
            f"text), built {library['built']} from {sources}, digest {library['digest']}"
        )
    return "\n".join(lines)


def _settings(run: ExportedRun) -> str:
    settings = run.run.get("settings") or {}
    if not settings:
        return ""
    seeds = run.run.get("seeds") or []
    lines = ["## Settings", "", "| setting | value |", "|---|---|"]
    lines += [f"| {within(name)} | {within(str(value))} |" for name, value in settings.items()]
    return "\n".join([*lines, *([f"| seed papers | {within(', '.join(seeds))} |"] if seeds else [])])

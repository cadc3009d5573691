#!/usr/bin/env python
"""How good the estimate of what is missing is, and what ending early saves at what loss.

    python benchmarks/saturation.py estimate --runs results/small --larger results/large results/larger [--figure F.svg]
    python benchmarks/saturation.py stopping --base results/small --stopped results/stopped100 results/stopped50

`estimate` compares, question by question, what a run's ways tell with what larger crawls of the same questions selected
and it did not find; a paper that no crawl found is not counted, so the true number is at least that. It also fits the
correction of pasa/saturation.py anew, four times on three quarters of the questions and tried on the fourth.
`stopping` compares runs with --stop_when_saturated with one without it, on the questions that all of them have.
Markdown on stdout. Folders hold result trees; those of --runs, --base and --stopped note their ways, as
run_paper_agent.py writes them.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.config import AgentSettings
from pasa.errors import PasaError
from pasa.evaluation.report_figures import Axis, Line, LineChart, to_svg
from pasa.evaluation.trees import iter_trees
from pasa.export.run_view import ExportedRun, of_tree
from pasa.paper import title_key
from pasa.results import write_whole
from pasa.saturation import CORRECTION, Correction, Overlap, chao2, chapman, estimate, overlap

FOLDS = 4
BOUNDS = (0.0, 0.4, 0.6, 0.7, 0.8, 1.001)  # of the estimated share found, for the table
QUANTILES = (0.05, 0.95)
FIFTHS = 5
QUESTIONS_TO_FIT = 20
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question's run, without its texts."""

    question: str
    found: frozenset[str]  # title keys
    selected: frozenset[str]
    golds: frozenset[str]
    seen: Overlap  # of selected papers
    seen_golds: Overlap
    run: dict[str, Any]


def read_runs(folder: Path) -> Iterator[Asked]:
    """Every result of the folder, one tree in memory at a time."""
    for _, tree in iter_trees(folder):
        run = of_tree(tree)
        golds = frozenset(map(title_key, tree["extra"].get("answer") or ()))
        chosen = {ranked.paper.key for ranked in run.selected}
        yield Asked(
            run.question,
            frozenset(ranked.paper.title_key for ranked in run.papers),
            frozenset(ranked.paper.title_key for ranked in run.selected),
            golds,
            overlap(run.record, chosen),
            overlap(run.record, _keys(run, golds)),
            dict(run.run),
        )


def _keys(run: ExportedRun, titles: frozenset[str]) -> set[str]:
    return {ranked.paper.key for ranked in run.papers if ranked.paper.title_key in titles}


def selected_in(folders: Sequence[Path]) -> dict[str, set[str]]:
    """Question -> title keys of what any of the crawls selected."""
    selected: dict[str, set[str]] = {}
    for folder in folders:
        for _, tree in iter_trees(folder):
            settings = (tree["extra"].get("run") or {}).get("settings") or {}
            threshold = settings.get("select_threshold", AgentSettings().select_threshold)
            titles = {title_key(title) for title, score in _papers(tree) if score > threshold}
            selected.setdefault(tree["title"], set()).update(titles)
    return selected


def _papers(tree: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """(title, score) of every paper in a tree."""
    for kids in tree["child"].values():
        for kid in kids:
            yield kid["title"], kid["select_score"]
            yield from _papers(kid)


# -- estimates ---------------------------------------------------------------------------------------------------------


def report_estimates(runs: Sequence[Asked], larger: dict[str, set[str]]) -> Iterator[str]:
    """The estimate against what larger crawls selected."""
    told = [(one, estimated) for one in runs if (estimated := estimate(one.seen)) and one.question in larger]
    missing = np.array([len(larger[one.question] - one.found) for one, _ in told], float)
    rows = np.array([(e.missing, e.low, e.high, e.chao2, e.found, e.share_found) for _, e in told], float)
    yield f"{len(runs)} questions; for {len(told)} the ways tell (5 or more led to papers)."
    yield ""
    inside = (missing >= np.floor(rows[:, 1])) & (missing <= np.ceil(rows[:, 2]))
    bound = np.array([max(0.0, chapman(o.by_search, o.by_citation, o.by_both) - o.found) for o in _seen(told)])
    yield "| estimate | sum over questions | rank correlation with the true number |"
    yield "|---|---|---|"
    for name, column in (("Chapman (searches x citations)", bound), ("Chao2", rows[:, 3]), ("as told", rows[:, 0])):
        yield f"| {name} | {column.sum():.0f} | {_rank_correlation(column, missing):.2f} |"
    yield f"| true (selected by larger crawls, not found) | {missing.sum():.0f} | |"
    yield ""
    yield f"The 90 % interval held the true number for {inside.mean():.0%} of the questions."
    yield ""
    yield "| estimated share found | questions | estimated missing, mean | true missing, mean | true share found |"
    yield "|---|---|---|---|---|"
    for low, high in pairwise(BOUNDS):
        at = (rows[:, 5] >= low) & (rows[:, 5] < high)
        if at.any():
            share = rows[at, 4].sum() / (rows[at, 4].sum() + missing[at].sum())
            yield (
                f"| {low:.1f} to {min(high, 1):.1f} | {at.sum()} | {rows[at, 0].mean():.1f} | "
                f"{missing[at].mean():.1f} | {share:.2f} |"
            )


def _seen(told: Sequence[tuple[Asked, Any]]) -> list[Overlap]:
    return [one.seen for one, _ in told]


def report_golds(runs: Sequence[Asked]) -> str:
    """The two estimators on the benchmark's own answers, all questions taken together."""
    once, twice = sum(one.seen_golds.once for one in runs), sum(one.seen_golds.twice for one in runs)
    ways = max(one.seen_golds.ways for one in runs)
    sums = [sum(getattr(one.seen_golds, name) for one in runs) for name in ("by_search", "by_citation", "by_both")]
    found = sum(one.seen_golds.found for one in runs)
    true = sum(len(one.golds - one.found) for one in runs)
    two = chapman(*sums) - found
    return (
        f"Golds, all questions together: {found} found ({once} by one way, {twice} by two), {true} not. Chao2 says "
        f"{chao2(ways, once, twice):.0f} are missing, Chapman {two:.0f}."
    )


def fit(runs: Sequence[Asked], larger: dict[str, set[str]]) -> Correction:
    """The correction that fits these questions best, by least squares in log(1 + missing)."""
    known, target = _features(runs, larger)
    weights = np.linalg.lstsq(known, target, rcond=None)[0]
    low, high = np.quantile(target - known @ weights, QUANTILES)
    return Correction(*(round(float(w), 3) for w in (*weights, low, high)))


def _features(runs: Sequence[Asked], larger: dict[str, set[str]]) -> tuple[Array, Array]:
    asked = [one for one in runs if one.question in larger]
    bounds = [chao2(one.seen.ways, one.seen.once, one.seen.twice) for one in asked]
    known = [(1.0, math.log1p(one.seen.found), math.log1p(b)) for one, b in zip(asked, bounds, strict=True)]
    return np.array(known), np.log1p([len(larger[one.question] - one.found) for one in asked])


def report_fit(runs: Sequence[Asked], larger: dict[str, set[str]]) -> str:
    """How well a correction fitted to other questions does, and that of all of them."""
    questions = sorted({one.question for one in runs if one.question in larger})
    if len(questions) < QUESTIONS_TO_FIT:
        return f"{QUESTIONS_TO_FIT} questions or more are needed to fit a correction."
    fold_of = {question: at % FOLDS for at, question in enumerate(questions)}
    errors, spread, inside = [], [], []
    for fold in range(FOLDS):
        fitted = fit([one for one in runs if fold_of[one.question] != fold], larger)
        known, target = _features([one for one in runs if fold_of[one.question] == fold], larger)
        error = target - known @ np.array([fitted.constant, fitted.of_found, fitted.of_chao2])
        errors.append(error)
        spread.append(target)
        inside.append((error >= fitted.low) & (error <= fitted.high))
    error, target = np.concatenate(errors), np.concatenate(spread)
    r2 = 1 - (error**2).mean() / target.var()
    return (
        f"Correction fitted to other questions: held-out R2 {r2:.2f} in log(1 + missing), 90 % intervals hold "
        f"{np.concatenate(inside).mean():.0%}. Fitted to all: {fit(runs, larger)}; in use: {CORRECTION}."
    )


def _rank_correlation(first: Array, second: Array) -> float:
    """Spearman's, ties at their mean rank."""
    ranks = [np.array([(values < v).sum() + (values == v).sum() / 2 for v in values]) for values in (first, second)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]) if all(rank.std() > 0 for rank in ranks) else math.nan


def chart(runs: Sequence[Asked], larger: dict[str, set[str]]) -> LineChart:
    """Estimate against truth, each point a fifth of the questions."""
    told = [(e, len(larger[o.question] - o.found)) for o in runs if (e := estimate(o.seen)) and o.question in larger]
    told.sort(key=lambda one: one[0].missing)
    fifths = [told[len(told) * n // FIFTHS : len(told) * (n + 1) // FIFTHS] for n in range(FIFTHS)]
    fifths = [part for part in fifths if part]
    places = [1 + float(np.mean([e.missing for e, _ in part])) for part in fifths]

    def line(name: str, value: Any) -> Line:
        points = tuple(
            (x, 1 + float(np.mean([value(one) for one in part]))) for x, part in zip(places, fifths, strict=True)
        )
        return Line(name, points, tuple(places))

    lines = (
        line("true", lambda one: one[1]),
        line("interval, from", lambda one: one[0].low),
        line("interval, to", lambda one: one[0].high),
    )
    return LineChart(
        "saturation",
        "Relevant papers not found: estimated and true",
        "For each fifth of the questions, by estimate, the mean true number of missing papers beside the estimate.",
        Axis("1 + estimated missing papers", "log"),
        Axis("1 + true missing papers", "log"),
        lines,
        Line("estimate = truth", ((places[0], places[0]), (places[-1], places[-1]))),
    )


# -- stopping ----------------------------------------------------------------------------------------------------------

_COSTS = {
    "papers_expanded": "papers read",
    "papers_scored": "papers scored",
    "crawler_calls": "Crawler calls",
}


def report_stopping(base: Sequence[Asked], stopped: Mapping[str, Sequence[Asked]]) -> Iterator[str]:
    """What each way of ending early did, against the base."""
    common = set.intersection(*({one.question for one in runs} for runs in (base, *stopped.values())))
    by_question = {one.question: one for one in base if one.question in common}
    yield f"{len(common)} questions."
    yield ""
    yield f"| run | ended early | {' | '.join(_COSTS.values())} | golds found | golds selected | selected papers kept |"
    yield "|---" * (len(_COSTS) + 5) + "|"
    for name, runs in {"without": base, **stopped}.items():
        kept = [one for one in runs if one.question in common]
        costs = [f"{sum(one.run[cost] for one in kept) / len(kept):.1f}" for cost in _COSTS]
        golds = sum(len(one.golds) for one in kept)
        early = sum(one.run.get("budget_reached") == "saturated" for one in kept)
        whole = sum(len(by_question[one.question].selected) for one in kept)
        again = sum(len(by_question[one.question].selected & one.found) for one in kept)
        shares = (
            sum(len(one.golds & one.found) for one in kept) / golds,
            sum(len(one.golds & one.selected) for one in kept) / golds,
            again / whole,
        )
        yield f"| {name} | {early} | {' | '.join(costs)} | {' | '.join(f'{share:.3f}' for share in shares)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    estimates = commands.add_parser("estimate")
    estimates.add_argument("--runs", type=Path, nargs="+", required=True)
    estimates.add_argument("--larger", type=Path, nargs="+", required=True)
    estimates.add_argument("--figure", type=Path)
    stopping = commands.add_parser("stopping")
    stopping.add_argument("--base", type=Path, required=True)
    stopping.add_argument("--stopped", type=Path, nargs="+", required=True)
    args = parser.parse_args()
    try:
        if args.command == "stopping":
            runs = {folder.name: list(read_runs(folder)) for folder in args.stopped}
            print("\n".join(report_stopping(list(read_runs(args.base)), runs)))
            return 0
        larger = selected_in(args.larger)
        all_runs = []
        for folder in args.runs:
            runs_here = list(read_runs(folder))
            all_runs += runs_here
            print(
                "\n".join(
                    [f"### {folder.name}", "", *report_estimates(runs_here, larger), "", report_golds(runs_here), ""]
                )
            )
        print(report_fit(all_runs, larger))
        if args.figure:
            write_whole(args.figure, to_svg(chart(all_runs, larger)))
    except PasaError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

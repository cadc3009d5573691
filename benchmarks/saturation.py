#!/usr/bin/env python
"""How good the estimate of what is missing is, and what ending early saves at what loss.

    python benchmarks/saturation.py estimate --runs results/default results/cited_by [--figure F.svg]
    python benchmarks/saturation.py stopping --base results/default --stopped results/stopped100 results/stopped50

`estimate` compares, question by question, what share of the relevant papers a run is said to have found with the share
of the benchmark's answers that it did find, selected or not. It also fits the calibration of pasa/saturation.py anew,
four times on three quarters of the questions and tried on the fourth. `stopping` compares runs with
--stop_when_saturated with one without it, on the questions that all of them have. Markdown on stdout. Folders hold
result trees with answers, which note their ways, as run_paper_agent.py --input_file writes them.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.errors import PasaError
from pasa.evaluation.report_figures import Axis, Line, LineChart, to_svg
from pasa.evaluation.trees import iter_trees
from pasa.export.missing import estimate_missing
from pasa.export.run_view import of_tree
from pasa.paper import title_key
from pasa.results import write_whole
from pasa.saturation import CALIBRATION, Calibration, Overlap, chapman_share, estimate

FOLDS = 4
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
    best: Overlap
    run: dict[str, Any]


def read_runs(folder: Path) -> Iterator[Asked]:
    """Every result of the folder, one tree in memory at a time."""
    for _, tree in iter_trees(folder):
        run = of_tree(tree)
        yield Asked(
            run.question,
            frozenset(ranked.paper.title_key for ranked in run.papers),
            frozenset(ranked.paper.title_key for ranked in run.selected),
            frozenset(map(title_key, tree["extra"].get("answer") or ())),
            estimate_missing(run)[0],
            dict(run.run),
        )


# -- estimates ---------------------------------------------------------------------------------------------------------


def report_estimates(runs: Sequence[Asked]) -> Iterator[str]:
    """The share told against the share of the benchmark's answers that were found, question by question."""
    told = [(one, estimated) for one in runs if one.golds and (estimated := estimate(one.best))]
    yield f"{len(runs)} questions; for {len(told)} the ways tell."
    if not told:
        return
    answers, found = _counts([one for one, _ in told])
    if not found.any():
        yield "No answer was found."
        return
    share = np.array([estimated.share for _, estimated in told])
    alone = np.array([chapman_share(one.best) for one, _ in told])
    ranges = np.array([estimated.missing(int(y)) for (_, estimated), y in zip(told, found, strict=True)])
    missing, some = answers - found, found > 0
    inside = (missing >= np.floor(ranges[:, 1])) & (missing <= np.ceil(ranges[:, 2]))
    rank = _rank_correlation(share, found / answers)
    weights = answers / answers.sum()
    yield (
        f"Answers found: {found.sum():.0f} of {answers.sum():.0f} ({found.sum() / answers.sum():.0%}); told: "
        f"{share @ weights:.0%}, by Chapman alone {alone @ weights:.0%}. "
        f"Rank correlation of share told and share found {rank:.2f}. Of the {some.sum()} questions with an answer "
        f"found, the 90 % interval held the number of missing answers for {inside[some].mean():.0%}."
    )
    yield ""
    yield "| share told, by fifths of the questions | share of answers found | by Chapman alone |"
    yield "|---|---|---|"
    order = np.argsort(share, kind="stable")
    for part in np.array_split(order, min(FIFTHS, len(order))):
        weights = answers[part] / answers[part].sum()
        true = found[part].sum() / answers[part].sum()
        yield f"| {share[part] @ weights:.2f} | {true:.2f} | {alone[part] @ weights:.2f} |"


def _counts(runs: Sequence[Asked]) -> tuple[Array, Array]:
    """(answers, answers found) of each question."""
    return np.array([len(one.golds) for one in runs], float), np.array([len(one.golds & one.found) for one in runs])


def report_fit(runs: Sequence[Asked]) -> str:
    """How well a calibration fitted to other questions does, and that of all of them."""
    runs = [one for one in runs if one.golds and estimate(one.best)]
    questions = sorted({one.question for one in runs})
    if len(questions) < QUESTIONS_TO_FIT:
        return f"{QUESTIONS_TO_FIT} questions or more are needed to fit a calibration."
    fold_of = {question: at % FOLDS for at, question in enumerate(questions)}
    folds = np.array([fold_of[one.question] for one in runs])
    known = np.array([(1.0, math.log(chapman_share(one.best))) for one in runs])
    answers, found = _counts(runs)
    gains = np.zeros(len(runs))
    for fold in range(FOLDS):
        rest, held = folds != fold, folds == fold
        for columns, sign in ((known, 1), (known[:, :1], -1)):  # against the same share for every question
            weights = _fitted(columns[rest], answers[rest], found[rest])
            gains[held] += sign * _log_likelihood(columns[held], answers[held], found[held], weights)
    *weights, spread = _fitted(known, answers, found)
    fitted = Calibration(*(round(float(w), 2) for w in (*weights, math.exp(spread))))
    error = gains.std() / math.sqrt(len(gains))
    return (
        f"Calibration fitted to other questions: {gains.mean():.4f} (standard error {error:.4f}) nats a question "
        f"better than one share for all. Fitted to all: {fitted}; in use: {CALIBRATION}."
    )


_KNOTS, _MASS = np.polynomial.hermite_e.hermegauss(21)


def _fitted(known: Array, answers: Array, found: Array) -> Array:
    """The weights and the log of the spread under which the answers found are likeliest."""
    start = np.array([1.0, *np.zeros(known.shape[1])])
    return np.asarray(minimize(lambda w: -_log_likelihood(known, answers, found, w).sum(), start, method="BFGS").x)


def _log_likelihood(known: Array, answers: Array, found: Array, weights: Array) -> Array:
    """Of each question: binomial, its log-odds normal around known @ weights; without what no weight changes."""
    odds = (known @ weights[:-1])[:, None] + math.exp(weights[-1]) * _KNOTS
    likelihood = np.exp(-found[:, None] * np.logaddexp(0, -odds) - (answers - found)[:, None] * np.logaddexp(0, odds))
    return np.asarray(np.log(likelihood @ (_MASS / _MASS.sum())))


def _rank_correlation(first: Array, second: Array) -> float:
    """Spearman's, ties at their mean rank."""
    ranks = [np.array([(values < v).sum() + (values == v).sum() / 2 for v in values]) for values in (first, second)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]) if all(rank.std() > 0 for rank in ranks) else math.nan


def chart(runs: Sequence[Asked]) -> LineChart:
    """Share told against share found, each point a fifth of the questions."""
    told = sorted((e.share, len(o.golds), len(o.golds & o.found)) for o in runs if o.golds and (e := estimate(o.best)))
    fifths = [told[len(told) * n // FIFTHS : len(told) * (n + 1) // FIFTHS] for n in range(FIFTHS)]
    fifths = [part for part in fifths if part]
    answers = [sum(golds for _, golds, _ in part) for part in fifths]
    places = [sum(s * golds for s, golds, _ in part) / n for part, n in zip(fifths, answers, strict=True)]
    points = [sum(found for *_, found in part) / n for part, n in zip(fifths, answers, strict=True)]
    errors = [1.96 * math.sqrt(y * (1 - y) / n) for y, n in zip(points, answers, strict=True)]

    def line(name: str, values: Sequence[float]) -> Line:
        return Line(name, tuple(zip(places, values, strict=True)), tuple(places))

    return LineChart(
        "saturation",
        "Share of the relevant papers that were found: told and true",
        "For each fifth of the questions, by the share told, the share of the benchmark's answers that the run found.",
        Axis("share told"),
        Axis("share of answers found"),
        (
            line("true", points),
            line("95%, from", [y - error for y, error in zip(points, errors, strict=True)]),
            line("95%, to", [y + error for y, error in zip(points, errors, strict=True)]),
        ),
        Line("told = true", ((places[0], places[0]), (places[-1], places[-1]))),
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
        all_runs = []
        for folder in args.runs:
            runs_here = list(read_runs(folder))
            all_runs += runs_here
            print("\n".join([f"### {folder.name}", "", *report_estimates(runs_here), ""]))
        print(report_fit(all_runs))
        if args.figure and any(one.golds and estimate(one.best) for one in all_runs):
            write_whole(args.figure, to_svg(chart(all_runs)))
    except PasaError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

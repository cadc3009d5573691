#!/usr/bin/env python
"""Scores a run: the paper's metrics and more over a folder of result trees, upstream's or ours.

  python scripts/evaluate.py --output_folder results --json scores.json
  python scripts/evaluate.py --input_file q.jsonl --output_folder results --run -- --library data/library
  python scripts/evaluate.py --output_folder both --ensemble results results-sampled
  python scripts/evaluate.py --output_folder results --compare other --worst 10 --library data/library --csv q.csv

Golds come from each tree's `extra.answer`, or from --input_file, whose n-th query belongs to n.json. By default a gold
is found where a title has the same letters: the same trees give upstream's numbers to the last digit. Means are over
the queries with golds and a result, in brackets their 95% interval (bootstrap over queries); queries without golds or
result are counted in the first line. Of calls, tokens, dollars and seconds they are over the queries that state them.
"""

from __future__ import annotations

import argparse
import gc
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.errors import ConfigError, PasaError
from pasa.evaluation.comparison import Comparison, compare_runs
from pasa.evaluation.datasets import DatasetFormat
from pasa.evaluation.ensembles import unite_runs
from pasa.evaluation.metrics import Match
from pasa.evaluation.scores import RunScores, score_run
from pasa.evaluation.summary import comparison_json, comparison_lines, csv_text, means_lines, run_json, worst_lines
from pasa.flags import OneLineParser
from pasa.library import Library
from pasa.results import write_json, write_whole


def main() -> int:
    own, agent_flags = _split(sys.argv[1:])
    args = build_parser().parse_args(own)
    try:
        if agent_flags and not args.run:
            raise ConfigError("flags after -- are the agent's; add --run to run it first")
        if args.ensemble:
            unite_runs(args.ensemble, args.output_folder)
        if args.run and (code := _run_agent(args, agent_flags)):
            return code
        with _library(args.library) as library:
            run = _score(args, args.output_folder, library)
            other = _score(args, args.compare, None) if args.compare else None
        comparison = compare_runs(run, other) if other else None
        if args.json:
            write_json(args.json, run_json(run) | ({"compare": comparison_json(comparison)} if comparison else {}))
        if args.csv:
            write_whole(args.csv, csv_text(run))
    except PasaError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for line in _lines(args, run, comparison):
        print(line)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--output_folder", type=Path, required=True, metavar="DIR", help="holds 0.json, 1.json, ...")
    add("--input_file", type=Path, metavar="FILE", help="the questions with their golds")
    add(
        "--dataset_format",
        choices=get_args(DatasetFormat),
        default="auto",
        help="of the input file (default: auto, seen by its fields)",
    )
    add("--only_covered", action="store_true", help="queries whose `in_corpus` is true for every gold")
    add(
        "--match",
        choices=get_args(Match),
        default="title",
        help="a gold is found by title alone, as upstream counts (default), or also by its arXiv id, once",
    )
    add("--run", action="store_true", help="run the agent first; flags after -- are run_paper_agent.py's")
    add("--ensemble", type=Path, nargs="+", metavar="DIR", help="unite these runs into --output_folder first")
    add("--compare", type=Path, metavar="DIR", help="another run: paired differences, intervals and p of each metric")
    add("--json", type=Path, metavar="OUT", help="write the numbers here")
    add("--csv", type=Path, metavar="FILE", help="write a row a query here")
    add("--worst", type=int, metavar="N", help="list the N worst queries, the golds missed and where each was lost")
    add("--library", type=Path, metavar="PATH", help="tells of missed golds who cites them and which it does not hold")
    return parser


def evaluate(folder: Path, input_file: Path | None, only_covered: bool) -> dict[str, Any]:
    """The means and counts that --json writes. Raises ConfigError."""
    return run_json(score_run(folder, input_file, only_covered))


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our flags, and the agent's after "--"."""
    at = words.index("--") if "--" in words else len(words)
    return list(words[:at]), list(words[at + 1 :])


def _run_agent(args: argparse.Namespace, flags: list[str]) -> int:
    """Runs what of the input file is not done yet; the exit code of run_paper_agent.py."""
    from pasa.app import main as run_agent

    if args.input_file is None:
        raise ConfigError("--run needs --input_file: the questions")
    if args.ensemble:
        raise ConfigError("--run and --ensemble do not go together: unite runs when they are finished")
    own = ["--input_file", args.input_file, "--output_folder", args.output_folder]
    return run_agent([*map(str, own), "--dataset_format", args.dataset_format, *flags])


@contextmanager
def _library(path: Path | None) -> Iterator[Library | None]:
    if path is None:
        yield None
        return
    with Library.open(path) as library:
        yield library


def _score(args: argparse.Namespace, folder: Path, library: Library | None) -> RunScores:
    return score_run(
        folder,
        args.input_file,
        args.only_covered,
        match=args.match,
        library=library,
        format=args.dataset_format,
    )


def _lines(args: argparse.Namespace, run: RunScores, comparison: Comparison | None) -> Iterator[str]:
    yield from means_lines(run)
    if comparison:
        yield ""
        yield from comparison_lines(comparison, str(args.output_folder), str(args.compare))
    if args.worst is not None:
        yield ""
        yield from worst_lines(run, args.worst)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it quietly
    gc.disable()  # trees hold no cycles, and looking for some in their thousands of objects takes a sixth of the time
    sys.exit(main())

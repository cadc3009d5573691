#!/usr/bin/env python
"""Runs and checks the rows of configs/reproduce.yaml: the paper's tables, the frozen benchmark, the demo library.

    python scripts/reproduce.py --list                        every row, and what this machine lacks for it
    python scripts/reproduce.py --dry-run --row 'auto/*'      the commands, nothing is run
    python scripts/reproduce.py --check                       runs and checks every row that can run here
    python scripts/reproduce.py --check --row 'frozen/*'      the frozen benchmark: files, library, questions, numbers
    python scripts/reproduce.py --row demo/bm25               runs a row and prints its numbers
    python scripts/reproduce.py --table docs/REPRODUCE.md     writes the results page

Result trees go to --work; stopped, the same command goes on where it was. Trees of other code or another command are
never taken for these: --fresh runs such a row again. A world's files, library and questions are checked first.

Exit codes: 0 done, every row checked is OK · 1 a number is off · 2 something to mend · otherwise the failed command's
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.display import note
from pasa.errors import ConfigError, PasaError
from pasa.evaluation.reproduce import Row, choose_rows, commands, deviations, page, read_rows, rows_before, unmet_needs
from pasa.evaluation.scores import score_run
from pasa.evaluation.worlds import World, check_files, check_library, select_questions
from pasa.flags import RaisingParser
from pasa.library.generations import is_library
from pasa.results import write_json, write_whole

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "reproduce.yaml"
MADE_BY = "reproduce.json"  # in a row's folder of trees: the digest of the code and commands that made them
OFF = 1  # exit code where a number is off


@dataclass(frozen=True)
class _Numbers:
    """What came out of a row."""

    queries: int
    means: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    def rounded(self) -> dict[str, Any]:
        return {
            "queries": self.queries,
            "means": {metric: round(value, 4) for metric, value in self.means.items()},
            "intervals": {metric: [round(end, 4) for end in ends] for metric, ends in self.intervals.items()},
        }


class _Failed(PasaError):
    """A row's command ended with an error."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    try:
        args = _parser().parse_args(argv)
        known = read_rows(args.config)
        rows = choose_rows(known, args.row)
        if args.table:
            return _write_page(args.table, known)
        if args.list or args.dry_run:
            print("\n".join(line for row in rows for line in _told(row, args)))
            return 0
        return _run_rows(rows, known, args)
    except PasaError as error:
        note(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        note("interrupted; the same command goes on where it was")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = RaisingParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--row", action="append", default=[], metavar="NAME", help="only this row; a pattern such as 'frozen/*' too")
    add("--list", action="store_true", help="the rows, and what this machine lacks for each")
    add("--dry-run", "--dry_run", action="store_true", help="show the commands, run nothing")
    add("--check", action="store_true", help="compare with the expected numbers")
    add("--fresh", action="store_true", help="run rows again whose trees are there")
    add("--library", type=Path, metavar="L", help="a library built before, for worlds that build one (checked as well)")
    add("--work", type=Path, default=ROOT / "results" / "reproduce", metavar="DIR", help="default: results/reproduce")
    add("--json", type=Path, metavar="OUT", help="write numbers and intervals of the rows here")
    add("--table", type=Path, metavar="FILE", help="write the results page (Markdown) here")
    add("--config", type=Path, default=CONFIG, metavar="FILE", help="default: configs/reproduce.yaml")
    return parser


def _write_page(path: Path, rows: list[Row]) -> int:
    write_whole(path, page(rows))
    note(f"{len(rows)} rows: {path}")
    return 0


def _told(row: Row, args: argparse.Namespace) -> list[str]:
    unmet = unmet_needs(row, ROOT, os.environ)
    lines = [f"{row.name:32} {row.title}" + (f" - needs: {', '.join(unmet)}" if unmet else "")]
    if args.dry_run:
        place = _Place(row, args)
        lines += ["    " + shlex.join(words) for words in commands(row, place.names)]
        if row.trees:
            lines.append(f"    trees: {row.trees}")
    return lines


def _run_rows(rows: list[Row], known: list[Row], args: argparse.Namespace) -> int:
    """Runs the rows that can run here, and checks them if asked; the exit code, of the first row that failed."""
    code, results = 0, {}
    ready: dict[str, PasaError | None] = {}  # world -> what is wrong with it
    for row in rows:
        if unmet := unmet_needs(row, ROOT, os.environ):
            print(f"needs   {row.name}: {', '.join(unmet)}", flush=True)
            continue
        try:
            _make_ready(row, args, ready)
            for before in rows_before(row, known):
                _Place(before, args).run()
            scores = _Place(row, args).scores()
        except PasaError as error:
            print(f"error   {row.name}: {error}", flush=True)
            code = code or error.exit_code
            continue
        results[row.name] = scores.rounded()
        line, is_off = _verdict(row, scores, args.check)
        print(line, flush=True)
        code = code or OFF * is_off
    if args.row and not results and not code:
        raise ConfigError("none of these rows can run here; what they need is said above")
    if args.json:
        write_json(args.json, results)
    return code


def _make_ready(row: Row, args: argparse.Namespace, ready: dict[str, PasaError | None]) -> None:
    """Checks the row's world, once for all its rows. Raises what is wrong with it."""
    if row.world.name not in ready:
        ready[row.world.name] = None
        try:
            check_files(row.world, ROOT)
            _Place(row, args).prepare_library()
        except PasaError as error:
            ready[row.world.name] = error
    if wrong := ready[row.world.name]:
        raise wrong


def _verdict(row: Row, scores: _Numbers, is_check: bool) -> tuple[str, bool]:
    """The line on a row that ran, and whether a number is off."""
    if not is_check:
        shown = " ".join(f"{metric} {scores.means.get(metric, float('nan')):.4f}" for metric in row.expected)
        return f"ran     {row.name}: {shown}", False
    if off := deviations(row, scores.means):
        return f"FAIL    {row.name}: {'; '.join(map(str, off))}", True
    return f"OK      {row.name}: {len(row.expected)} numbers, {scores.queries} queries", False


class _Place:
    """Where a row's files are, and what is done there."""

    def __init__(self, row: Row, args: argparse.Namespace) -> None:
        self._row = row
        self._world: World = row.world
        self._args = args
        self._folder: Path = args.work / row.world.name
        self._output = self._folder / row.name.split("/", 1)[1]

    @property
    def names(self) -> dict[str, str]:
        """What stands for the places in a command."""
        return {
            "library": str(self._library),
            "questions": str(self._questions),
            "output": str(self._output),
            "runs": str(self._folder),
            "cache": str(self._args.work / "cache"),
        }

    @property
    def _library(self) -> Path:
        if self._world.build:
            return self._args.library or self._folder / "library"
        return ROOT / self._world.library

    @property
    def _questions(self) -> Path:
        if self._row.scores:
            return ROOT / self._world.questions
        return self._folder / (f"questions-{self._row.first}.jsonl" if self._row.first else "questions.jsonl")

    def prepare_library(self) -> None:
        """Builds the world's library where it has one and it is not there, and checks it."""
        if not self._world.build:
            return
        if not is_library(self._library):
            if self._args.library:
                raise ConfigError(f"no library at {self._library}; leave --library out to build one")
            inputs = [str(ROOT / path) for path in self._world.build]
            self._call([sys.executable, str(ROOT / "scripts/build_library.py"), *inputs, "--out", str(self._library)])
        check_library(self._world, self._library)

    def scores(self) -> _Numbers:
        """The row's numbers, of trees made now or begun before by the same code."""
        if self._row.trees:
            scores = score_run(ROOT / self._row.trees)
            return _Numbers(len(scores.queries), scores.means, scores.intervals)
        self.run()
        if self._row.scores:
            return _read_numbers(self._output / self._row.scores)
        scores = score_run(self._output, self._questions)
        if scores.without_result:
            raise _Failed(f"{len(scores.without_result)} questions without a result; run it again", 3)
        return _Numbers(len(scores.queries), scores.means, scores.intervals)

    def run(self) -> None:
        """Makes the row's trees, or what of them is not there yet."""
        if not self._row.scores:
            questions = select_questions(self._world, ROOT, self._row.first)
            text = "".join(json.dumps(question, ensure_ascii=False) + "\n" for question in questions)
            write_whole(self._questions, text)
        self._claim_folder()
        if self._row.vectors:
            self._call([sys.executable, str(ROOT / "scripts/embed_library.py"), "--library", str(self._library)])
        for program, *words in commands(self._row, self.names):
            start = [sys.executable] if program == "python" else [program]
            self._call([*start, *words])

    def _claim_folder(self) -> None:
        """Makes the folder of trees this code's and this command's. Raises ConfigError where it is another's."""
        made_by = self._output / MADE_BY
        ours = {"code": _code_digest(), "commands": list(self._row.command), "first": self._row.first}
        if self._output.exists() and (self._args.fresh or not made_by.exists()):
            if not self._args.fresh and any(self._output.iterdir()):
                raise ConfigError(f"{self._output} was not made by this script; take it away, or --fresh replaces it")
            shutil.rmtree(self._output)
        if made_by.exists() and json.loads(made_by.read_text(encoding="utf-8")) != ours:
            raise ConfigError(f"{self._output} was made by other code or another command; --fresh runs it again")
        write_json(made_by, ours)

    def _call(self, words: list[str]) -> None:
        note("+ " + shlex.join(words))
        done = subprocess.run(words, cwd=ROOT, check=False, stdout=sys.stderr)  # ours are the verdicts alone
        if done.returncode:
            raise _Failed(f"the command ended with {done.returncode}", done.returncode)


def _read_numbers(path: Path) -> _Numbers:
    """The numbers in a JSON object. Raises ConfigError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _Numbers(content["pairs"], {name: value for name, value in content.items() if isinstance(value, float)})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} holds no numbers ({error}); --fresh runs the row again") from error


@cache
def _code_digest() -> str:
    """A sha256 of the code and settings that results depend on."""
    digest = hashlib.sha256()
    for path in [
        ROOT / "run_paper_agent.py",
        ROOT / "scripts" / "run_baseline.py",
        ROOT / "scripts" / "evaluate_selector.py",
        *sorted((ROOT / "pasa").rglob("*")),
    ]:
        if path.is_file() and path.suffix != ".pyc":
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    for path in sorted((ROOT / "configs").glob("agent*.yaml")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it quietly
    sys.exit(main())

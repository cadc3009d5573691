#!/usr/bin/env python
"""Build a paper library, or add to one.

    python scripts/build_library.py papers.jsonl.xz fulltext.jsonl.gz --out data/library
    python scripts/build_library.py cs_paper_2nd.zip --id2paper id2paper.json --out data/library
    python scripts/build_library.py arxiv-metadata-oai-snapshot.json --out data/library

INPUTs are JSON lines (.jsonl .json .ndjson, also with .gz .xz .zst) of this project's rows (title; as known: abstract,
arxiv_id, date, authors, sections = name -> cited titles) or of arXiv's metadata snapshot, or upstream's zip. Rows with
the same title or arXiv id are one paper, each field kept from the row that has more of it. Run again, it adds to the
library at --out; programs that have it open keep what they opened. A build that fails leaves the old library in place.

--ray spreads the reading over a Ray cluster (pip install -r requirements-ray.txt) and gives the same library: plain
JSON lines and upstream's zip are cut into parts, a packed file is one part, so name many files rather than one big
one. Every machine must find the inputs under the same paths.

Exit codes: 0 built · 1 built, but an input is cut off or damaged · 2 something to mend in the call · 130 interrupted
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from pasa.errors import LibraryError
from pasa.flags import OneLineParser
from pasa.library import BuildProgress, BuildReport, build_library
from pasa.library.build import Progress as ProgressListener
from pasa.library.generations import is_library

_LINE_EVERY_SECONDS = 5.0  # of progress when piped


def main(arguments: list[str] | None = None) -> int:
    """Builds as the command line says; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.update and not is_library(options.out):
            raise LibraryError(f"no library at {options.out} to update: leave --update out to build one")
        with _shown_progress() as listener:
            report = _build(options, listener)
    except LibraryError as error:
        print(f"build_library: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("build_library: interrupted; the library is as it was", file=sys.stderr)
        return 130
    print("\n".join(_summary(report, options.out)))
    return 1 if report.problems.damaged else 0


def _build(options: argparse.Namespace, listener: ProgressListener) -> BuildReport:
    if options.ray is None:
        return build_library(options.inputs, options.out, listener, options.id2paper, options.fresh, options.processes)
    from pasa.library.ray_build import build_with_ray

    address = options.ray or None
    report, machines = build_with_ray(options.inputs, options.out, address, listener, options.id2paper, options.fresh)
    print(f"read by {machines} machine{'s' if machines != 1 else ''} of the Ray cluster", file=sys.stderr)
    return report


def _address(text: str) -> str:
    if Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text} is a file, not a cluster's address: name the inputs before --ray")
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is not a number of processes: name 1 or more")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="a file of papers")
    parser.add_argument("--out", required=True, type=Path, metavar="L", help="the library's folder")
    parser.add_argument(
        "--id2paper", type=Path, metavar="FILE", help="upstream's id2paper.json: ids for the zip's papers"
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const="",
        type=_address,
        metavar="ADDRESS",
        help="read the inputs on the Ray cluster at ADDRESS (default: the one that RAY_ADDRESS or Ray itself names)",
    )
    parser.add_argument(
        "--processes", type=_positive, metavar="N", help="that parse the inputs (default: one a core, at most 4)"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--update", action="store_true", help="add to the library at --out, which must be there")
    mode.add_argument("--fresh", action="store_true", help="replace the library at --out instead of adding to it")
    return parser


@contextmanager
def _shown_progress() -> Iterator[ProgressListener]:
    """A listener that draws a bar on a terminal and prints a line now and then where there is none (stderr)."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[papers]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as bars:
        yield _Bars(bars)


class _Bars:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, now: BuildProgress) -> None:
        name = _stage(now)
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=now.total, papers="")
        self._bars.update(self._tasks[name], completed=now.done, total=now.total, papers=f"{now.papers:,} papers")


class _Lines:
    def __init__(self) -> None:
        self._last_time = time.monotonic()

    def __call__(self, now: BuildProgress) -> None:
        if now.done == now.total or time.monotonic() - self._last_time > _LINE_EVERY_SECONDS:
            self._last_time = time.monotonic()
            print(f"{_stage(now)}: {now.done / now.total:.0%}, {now.papers:,} papers", file=sys.stderr, flush=True)


def _stage(now: BuildProgress) -> str:
    return f"reading {now.source}" if now.stage == "reading" else "indexing"


def _summary(report: BuildReport, out: Path) -> Iterator[str]:
    found = report.manifest
    yield f"{out}: {found.papers:,} papers, of them {found.with_sections:,} with sections"
    yield f"with an arXiv id {found.with_arxiv_id:,}, a date {found.with_date:,}, an abstract {found.with_abstract:,}"
    yield f"{report.rows:,} rows in {report.seconds:.1f} s, {report.papers_per_second:,.0f} a second"
    yield f"{report.added:,} added, {report.changed:,} merged, {report.unchanged:,} already known"
    if report.ids_joined or report.ids_left:
        yield f"id2paper: {report.ids_joined:,} joined, {report.ids_left:,} name no paper here or one with another id"
    problems = report.problems
    for word, counts in (("skipped", problems.skipped), ("mended", problems.repaired)):
        for reason, count in sorted(counts.items()):
            yield f"{word} {count.times:,}: {reason} (first: {count.first})"
    for name, reason in problems.damaged.items():
        yield f"damaged: {name} ends early ({reason}); what came before is in the library"


if __name__ == "__main__":
    sys.exit(main())

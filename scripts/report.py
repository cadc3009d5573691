#!/usr/bin/env python
"""Writes a page that compares runs: `python scripts/report.py results other=results2 --out report`.

A run is a folder of result trees, or NAME=FOLDER. The first run is what the others are compared with. In the folder of
--out: report.html (one file, nothing else needed), report.md and its figures.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.errors import ConfigError, PasaError
from pasa.evaluation.report import named_folders, read_runs, write_report
from pasa.evaluation.report_content import Published
from pasa.evaluation.reproduce import choose_rows, read_rows
from pasa.flags import OneLineParser

REPRODUCE = Path(__file__).resolve().parents[1] / "configs" / "reproduce.yaml"


def main() -> int:
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder with 0.json, 1.json, ..., or NAME=FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the report goes")
    parser.add_argument(
        "--input_file", type=Path, metavar="FILE", help="JSON lines with the golds; default: the trees' own"
    )
    parser.add_argument("--only_covered", action="store_true", help="queries whose `in_corpus` is true for every gold")
    parser.add_argument("--match", choices=("title", "title_or_id"), default="title", help="when a paper is a gold")
    parser.add_argument(
        "--published",
        action="append",
        default=[],
        metavar="ROWS",
        help="set these rows of configs/reproduce.yaml beside the runs: 'auto/*', 'real/*', 'frozen/*', auto/pasa-7b",
    )
    args = parser.parse_args()
    try:
        published = _published(args.published)
        runs = read_runs(named_folders(args.runs), args.input_file, args.only_covered, args.match)
        page = write_report(runs, args.out, published)
    except PasaError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(page)
    return 0


def _published(patterns: list[str]) -> list[Published]:
    """The rows of configs/reproduce.yaml that a pattern matches, in the file's order."""
    if not patterns:
        return []
    known = read_rows(REPRODUCE)
    try:
        rows = choose_rows(known, patterns)
    except ConfigError as error:
        raise ConfigError(f"--published: {error} (of python scripts/reproduce.py)") from error
    return [Published(f"{row.title} ({row.world.title})", row.source, row.expected) for row in rows]


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it quietly
    sys.exit(main())

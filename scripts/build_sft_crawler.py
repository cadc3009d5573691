#!/usr/bin/env python
"""Crawler sessions, to train a Crawler on, in upstream's sft_crawler form.

    python scripts/build_sft_crawler.py --library L --queries data/queries --output_folder data/sft_crawler
    python scripts/build_sft_crawler.py --output_folder data/sft_crawler --sample 20      read what was built

Search sessions teach the queries that really retrieve the answers from the library at the best cost; expand sessions
the sections that cite an answer (pasa/training_data/crawler_sessions.py). The query's source paper is hidden. An
interrupted build goes on when called again.

Exit codes as run_paper_agent.py's: 0 done · 2 something to mend in the call
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.errors import PasaError
from pasa.library import Library
from pasa.training_data.build import Row, tell_stderr
from pasa.training_data.command import DataParser, progress_line, required, show_manifest, show_sample
from pasa.training_data.crawler_sessions import SessionSettings, build_sessions
from pasa.training_data.query_rows import MAX_BAD_ROWS


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    try:
        args = _parser().parse_args(argv)
        if args.sample:
            show_sample(args.output_folder, args.sample, args.seed, shown)
            return 0
        settings = SessionSettings(args.seed, args.search_queries, max_bad_rows=args.max_bad_rows)
        queries = Path(required(args.queries, "--queries"))
        with Library.open(required(args.library, "--library")) as library:
            folder, fresh = args.output_folder, args.fresh
            manifest = build_sessions(library, queries, folder, settings, fresh, progress_line, args.workers)
    except PasaError as error:
        tell_stderr(f"error: {error}")
        return error.exit_code
    show_manifest(manifest)
    return 0


def shown(row: Row) -> str:
    """A row as a person reads it."""
    reply = row["messages"][1]["content"].replace("\n", "\n  ")
    paper = f"\n  of {row['title']}" if "title" in row else ""
    return f"[{row['kind']}] {row['question']}{paper}\n  {reply}"


def _parser() -> DataParser:
    parser = DataParser(__doc__)
    add = parser.add_argument
    add("--library", metavar="L", help="the library that the queries were made from")
    add("--queries", metavar="FOLDER", help="what scripts/build_queries.py wrote: train.jsonl, dev.jsonl, test.jsonl")
    add("--search_queries", type=int, default=5, metavar="N", help="of a session at most (default: 5)")
    add("--max_bad_rows", type=int, default=MAX_BAD_ROWS, metavar="N", help=f"let pass (default: {MAX_BAD_ROWS})")
    return parser


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python
"""Pairs of query and paper with their decisions, to train a Selector on, in upstream's sft_selector form.

    python scripts/build_sft_selector.py --library L --queries data/queries --output_folder data/sft_selector
    python scripts/build_sft_selector.py --output_folder data/sft_selector --sample 20      read what was built

Positives are the queries' answers; negatives what a simulated crawl meets, the query's source paper hidden
(pasa/training_data/selector_pairs.py says how they are chosen). --verdicts: judges' decisions, which overrule labels.
An interrupted build goes on when called again.

Exit codes as run_paper_agent.py's: 0 done · 2 something to mend in the call
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.config import Settings
from pasa.errors import PasaError
from pasa.library import Library
from pasa.models.base import Scorer
from pasa.training_data.build import BadRows, Row, tell_stderr
from pasa.training_data.command import DataParser, progress_line, required, show_manifest, show_sample
from pasa.training_data.judges import read_verdicts
from pasa.training_data.query_rows import MAX_BAD_ROWS
from pasa.training_data.selector_pairs import PairSettings, build_pairs


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    try:
        args = _parser().parse_args(argv)
        if args.sample:
            show_sample(args.output_folder, args.sample, args.seed, shown)
            return 0
        settings = PairSettings(args.seed, args.positives, args.negatives_per_positive, max_bad_rows=args.max_bad_rows)
        queries = Path(required(args.queries, "--queries"))
        verdicts = read_verdicts(args.verdicts, BadRows(args.max_bad_rows, tell_stderr)) if args.verdicts else None
        with Library.open(required(args.library, "--library")) as library:
            selector = _selector(args.selector, library) if args.selector else None
            folder, fresh = args.output_folder, args.fresh
            manifest = build_pairs(
                library, queries, folder, settings, verdicts, selector, fresh, progress_line, args.workers
            )
    except PasaError as error:
        tell_stderr(f"error: {error}")
        return error.exit_code
    show_manifest(manifest)
    return 0


def _selector(path: str, library: Library) -> Scorer:
    from pasa.assembly import build_scorer  # takes as long to import as a tenth of a build without it

    return build_scorer(path, Settings(), library)


def shown(row: Row) -> str:
    """A row as a person reads it."""
    prompt, reply = (message["content"] for message in row["messages"])
    question = prompt.split("conducting research on ", 1)[-1].split(". Evaluate whether", 1)[0]
    return f"[{row['negative'] or 'answer'}] {question}\n  {row['title']}\n  -> {reply}"


def _parser() -> DataParser:
    parser = DataParser(__doc__)
    add = parser.add_argument
    add("--library", metavar="L", help="the library that the queries were made from")
    add("--queries", metavar="FOLDER", help="what scripts/build_queries.py wrote: train.jsonl, dev.jsonl, test.jsonl")
    add("--positives", type=int, default=4, metavar="N", help="of a query at most (default: 4)")
    add("--negatives_per_positive", type=float, default=1.5, metavar="X", help="on average (default: 1.5)")
    add("--verdicts", type=Path, metavar="FILE", help="judges' decisions, JSON lines (pasa/training_data/judges.py)")
    add("--selector", metavar="MODEL", help="what it selects is no negative: rules, or a checkpoint (default: none)")
    add("--max_bad_rows", type=int, default=MAX_BAD_ROWS, metavar="N", help=f"let pass (default: {MAX_BAD_ROWS})")
    return parser


if __name__ == "__main__":
    sys.exit(main())

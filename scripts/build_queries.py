#!/usr/bin/env python
"""Queries with known answers from the papers of a library, in AutoScholarQuery's form, to train on.

    python scripts/build_queries.py --library L --output_folder data/queries --held_out dev.jsonl
    python scripts/build_queries.py --library L --output_folder data/queries --writer openai:gpt-4o-mini
    python scripts/build_queries.py --output_folder data/queries --sample 20      read what was built

Answers are the papers that a review section cites. The writer needs no language model unless one is named: any
OpenAI-compatible server's (openai:MODEL, $OPENAI_API_KEY, --api_base) or a local checkpoint. Its replies are kept in
--cache, so that none is paid for twice, and what they cost is told. An interrupted build goes on when called again.
Queries near one of --held_out (by words or by answers: pasa/training_data/contamination.py) are dropped.

Exit codes as run_paper_agent.py's: 0 done · 2 something to mend in the call · 4 a model failed
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.config import ModelSettings
from pasa.errors import ConfigError, PasaError
from pasa.library import Library
from pasa.query import read_queries
from pasa.training_data.build import BadRows, Row, tell_stderr
from pasa.training_data.command import DataParser, progress_line, required, show_manifest, show_sample
from pasa.training_data.llm_writer import LlmWriter
from pasa.training_data.queries import QuerySettings, Writer, build_queries, offline_writer
from pasa.training_data.query_rows import MAX_BAD_ROWS
from pasa.training_data.reply_cache import CachedGenerator

DEFAULT_CONCURRENCY = 32


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    try:
        args = _parser().parse_args(argv)
        if args.sample:
            show_sample(args.output_folder, args.sample, args.seed, _shown)
            return 0
        settings = QuerySettings(args.seed, args.sections, args.writer, args.max_sources)
        held_out = [query for path in args.held_out for query in read_queries(path)]
        with ExitStack() as parts:
            library = parts.enter_context(Library.open(required(args.library, "--library")))
            writer = _writer(args, parts)
            folder, fresh = args.output_folder, args.fresh
            workers = args.workers if args.writer == "offline" else 1
            manifest = build_queries(
                library, folder, settings, writer, held_out, args.held_out, fresh, progress_line, workers
            )
    except PasaError as error:
        tell_stderr(f"error: {error}")
        return error.exit_code
    show_manifest(manifest)
    if "replies" in (counts := manifest["counts"]):
        dollars = counts["cost in microdollars"] / 1e6
        tell_stderr(f"{counts['prompt tokens']} + {counts['reply tokens']} tokens, {dollars:.4f} dollars")
    return 0


def _writer(args: argparse.Namespace, parts: ExitStack) -> Writer:
    """The writer that --writer names; what it opens is closed with `parts`. Raises ConfigError."""
    if args.writer == "offline":
        return offline_writer(args.seed)
    if args.writer in ("rules", "auto"):
        raise ConfigError("--writer is offline, openai:MODEL or a checkpoint's path; the rules write no questions")
    from pasa.assembly import build_generator  # takes as long to import as a tenth of an offline build

    prices = args.price_per_million_prompt_tokens, args.price_per_million_reply_tokens
    models = ModelSettings(
        api_base=args.api_base,
        api_concurrency=args.api_concurrency,
        price_per_million_prompt_tokens=prices[0],
        price_per_million_reply_tokens=prices[1],
    )
    cache = args.cache or args.output_folder / "replies.db"
    generator = CachedGenerator(build_generator(args.writer, models, None), cache)
    parts.callback(generator.close)
    return LlmWriter(generator, BadRows(args.max_bad_rows, tell_stderr))


def _shown(row: Row) -> str:
    answers = "".join(f"\n    {title}" for title in row["answer"])
    return f"[{row['writer']}] {row['question']}\n  from {row['source_meta']['section']!r}{answers}"


def _parser() -> DataParser:
    parser = DataParser(__doc__)
    add = parser.add_argument
    add("--library", metavar="L", help="a built library (scripts/build_library.py) or a plain file of papers")
    add("--held_out", type=Path, nargs="*", default=[], metavar="FILE", help="benchmarks that no query may be near to")
    add("--sections", choices=("review", "all"), default="review", help="which sections queries are made from")
    add("--writer", default="offline", metavar="W", help="offline (default), openai:MODEL or a checkpoint")
    add("--api_base", metavar="URL", help="of an OpenAI-compatible server")
    add("--api_concurrency", type=int, default=DEFAULT_CONCURRENCY, metavar="N", help="requests at once (default: 32)")
    add("--price_per_million_prompt_tokens", type=float, default=0.0, metavar="X", help="dollars")
    add("--price_per_million_reply_tokens", type=float, default=0.0, metavar="X", help="dollars")
    add("--cache", type=Path, metavar="FILE", help="where replies are kept (default: FOLDER/replies.db)")
    add(
        "--max_bad_rows", type=int, default=MAX_BAD_ROWS, metavar="N", help="unreadable replies let pass (default: 100)"
    )
    add("--max_sources", type=int, metavar="N", help="source papers at most (default: all of the library)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

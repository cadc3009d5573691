#!/usr/bin/env python
"""Compares Crawlers on held-out queries, such as the checkpoints of a PPO run with the one it began with.

    python scripts/compare_crawlers.py --config configs/ppo_small_cpu.yaml --library data/library \\
        --queries data/queries/test.jsonl --output_dir results/compared \\
        --crawlers checkpoints/pasa-crawler-135m results/ppo_small/checkpoint-5 results/ppo_small/checkpoint-10

Each crawls every query as a training run's evaluation does: by the settings named eval_..., with the paper hidden that
a query was made from. Settings and flags are train_ppo.py's; --queries are the held-out ones here. Matched papers and
reward are judged by the answers and the Selector. The others are compared with the first Crawler, query by query: mean
difference, 95% interval (bootstrap over queries) and p (sign flips). output_dir/crawlers.json keeps the numbers of
every query, after each Crawler anew.

Exit codes as run_paper_agent.py's: 0 done · 2 something to mend in the call · 3 a service or model failed
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.display import note
from pasa.errors import ConfigError, PasaError
from pasa.flags import RaisingParser
from pasa.models.hf_loading import resolve_checkpoint
from pasa.results import check_writable, write_json
from trl_ext.session_ppo.run_names import names_of
from trl_ext.session_ppo.run_settings import PpoRun, add_flags, run_of_flags

if TYPE_CHECKING:
    from trl_ext.session_ppo.comparison import Comparison

OUT_FILE = "crawlers.json"
SERVICE_FAILED = 3  # exit code where a Crawler could crawl no query
INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    try:
        args = vars(_parser().parse_args(argv))
        crawlers = args.pop("crawlers")
        names = names_of([Path(path) for path in crawlers], "--crawlers")
        for path in crawlers:
            resolve_checkpoint(path)
        if not args["queries"]:  # a config file names those that are trained on
            raise ConfigError("--queries is missing: name a file of held-out queries")
        run = run_of_flags(args | {"model_name_or_path": crawlers[0]})  # a run's start, which is not asked here
        if args["max_queries"] is None:
            run = replace(run, run=replace(run.run, max_queries=None))
        if not Path(run.run.queries).is_file():
            raise ConfigError(f"cannot read {run.run.queries}: name a file of held-out queries")
        check_writable(Path(run.run.output_dir))
        from trl_ext.session_ppo.comparison import compare  # takes seconds, which a mistyped flag need not wait

        compared = compare(run, dict(zip(names, crawlers, strict=True)), note, lambda so_far: keep(run, so_far))
    except PasaError as error:
        note(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        note(f"interrupted; {OUT_FILE} holds the Crawlers that were done")
        return INTERRUPTED
    width = max(map(len, names))
    for name, means in compared.means().items():
        told = "  ".join(f"{metric} {value:8.3f}" for metric, value in means.items())
        print(f"{name:{width}}  {len(compared.records[name])} queries  {told}")
    for name, difference in compared.differences().items():
        for metric, test in difference.tests.items():
            low, high = test.interval
            told = f"{metric} {test.difference:+.3f} [{low:+.3f}, {high:+.3f}], p={test.p:.3f}"
            print(f"{name} less {names[0]} on {difference.queries} queries: {told}")
    note(f"every query's numbers: {Path(run.run.output_dir) / OUT_FILE}")
    return 0 if all(compared.records.values()) else SERVICE_FAILED


def keep(run: PpoRun, compared: Comparison) -> None:
    """Writes what was found so far."""
    folder = Path(run.run.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / OUT_FILE, {"records": compared.records, "failed": compared.failed})


def _parser() -> argparse.ArgumentParser:
    parser = RaisingParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--crawlers", nargs="+", required=True, metavar="FOLDER", help="checkpoints; the first is the base"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings as YAML, in groups")
    add_flags(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python
"""Trains the Crawler with session-level PPO: it learns from what its own searches find.

  accelerate launch --config_file configs/accelerate/zero3.yaml scripts/train_ppo.py --config configs/ppo_crawler.yaml
  python scripts/train_ppo.py --config configs/ppo_small_cpu.yaml --library data/library \\
      --queries data/queries/train.jsonl --output_dir results/ppo_small

Every setting of the config file is a flag as well; --help lists them. Stopped or killed, the same command goes on from
the last checkpoint in output_dir. The trained policy is output_dir/policy, a folder for run_paper_agent.py
--crawler_path. docs/TRAINING.md tells the rest.

Exit codes: 0 done · 2 something to mend in the call, the data or the models · 3 stopped by what failed around it ·
75 a process gave no sign of life · 130 interrupted
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.display import note
from pasa.errors import PasaError
from pasa.flags import RaisingParser
from trl_ext.session_ppo.run_settings import add_flags, run_of_flags

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        run = run_of_flags(vars(build_parser().parse_args(words)))
        from trl_ext.session_ppo.training import train  # takes seconds, which --help and a mistyped flag need not wait

        train(run, shlex.join(["python", "scripts/train_ppo.py", *words]), note)
    except PasaError as error:
        note(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        note("interrupted; the same command goes on from the last checkpoint")
        return INTERRUPTED
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The command line: --config and a flag for each setting."""
    parser = RaisingParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings as YAML, in groups")
    add_flags(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())

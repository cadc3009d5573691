#!/usr/bin/env python
"""Fine-tunes a Crawler or Selector on chats of prompt and reply; the loss is on the reply alone.

  python scripts/train_sft.py --config configs/sft_selector.yaml
  python scripts/train_sft.py --config configs/sft_crawler.yaml --model_name_or_path checkpoints/smollm2-135m \\
      --output_dir results/sft_crawler --lora_rank 16
  accelerate launch --config_file configs/accelerate/zero3.yaml scripts/train_sft.py --config configs/sft_selector.yaml

Every setting of the config file is a flag as well, by the names of upstream's commands; --help lists them. Stopped or
killed, the same command goes on from the last checkpoint in output_dir. docs/TRAINING.md tells the rest.

Exit codes: 0 done · 2 something to mend in the call, the data or the model · 130 interrupted
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.display import note
from pasa.errors import PasaError
from pasa.flags import RaisingParser
from trl_ext.sft_settings import SftSettings, load_sft_settings, parse_flag

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it
# Upstream's spelling of a setting that has a value of its own here.
_SWITCHES = {"gradient_checkpointing"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        args = vars(build_parser().parse_args(words))
        config = args.pop("config")
        flags = {name: parse_flag(name, text) for name, text in args.items() if text is not None}
        settings = load_sft_settings(config, flags)
        from trl_ext.sft import train  # takes seconds, which --help and a mistyped flag need not wait

        train(settings, shlex.join(["python", "scripts/train_sft.py", *words]), note)
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
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings as YAML, `name: value` lines")
    for field in dataclasses.fields(SftSettings):
        metavar, help_text = "VALUE", f"default: {field.default if field.default != '' else 'none'}"
        if field.name in _SWITCHES:
            parser.add_argument(f"--{field.name}", nargs="?", const="true", metavar=metavar, help=help_text)
        else:
            parser.add_argument(f"--{field.name}", metavar=metavar, help=help_text)
    return parser


if __name__ == "__main__":
    sys.exit(main())

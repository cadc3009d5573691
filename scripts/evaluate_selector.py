#!/usr/bin/env python
"""Precision, recall and F1 of a Selector on pairs with known decisions (upstream's data/sft_selector/test.jsonl).

    python scripts/evaluate_selector.py --input_file data/sft_selector/test.jsonl \\
        --selector_path checkpoints/pasa-7b-selector --json scores.json
    python scripts/evaluate_selector.py --input_file ... --selector_path openai:gpt-4o --prompts chat

Exit codes as run_paper_agent.py's: 0 done · 2 something to mend in the call · 4 a model failed
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.assembly import build_scorer, choose_model
from pasa.config import load_settings
from pasa.display import note
from pasa.errors import PasaError
from pasa.evaluation.selector_pairs import pair_metrics, read_pairs
from pasa.flags import RaisingParser
from pasa.results import write_json

_SETTINGS = ("selector_path", "prompts", "device", "dtype", "attention", "api_base")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    try:
        args = _parser().parse_args(argv)
        settings = load_settings(None, {name: getattr(args, name) for name in _SETTINGS})
        pairs = read_pairs(args.input_file)
        scorer = build_scorer(choose_model(settings.models.selector_path, "selector").name, settings, None)
        scores = scorer.score([pair.request(settings.agent.prompts) for pair in pairs])
        metrics = pair_metrics(scores, pairs)
        if args.json:
            write_json(args.json, {"pairs": len(pairs), "selector": scorer.name, **metrics})
    except PasaError as error:
        note(f"error: {error}")
        return error.exit_code
    print(f"{len(pairs)} pairs, {sum(pair.is_answer for pair in pairs)} of them answers, {scorer.name}")
    for name, value in metrics.items():
        print(f"{name:10} {value:.4f}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = RaisingParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--input_file", required=True, type=Path, metavar="FILE", help="JSON lines with `messages`")
    add("--selector_path", required=True, metavar="MODEL", help="as of run_paper_agent.py")
    add("--prompts", metavar="SET", help="pasa (default) or chat, for general chat models")
    add("--device", help="auto, cpu, cuda ... (default: auto)")
    add("--dtype", help="auto, bfloat16, float16, float32 (default: auto)")
    add("--attention", help="auto, sdpa, flash_attention_2, eager (default: auto)")
    add("--api_base", metavar="URL", help="of an OpenAI-compatible server")
    add("--json", type=Path, metavar="OUT", help="write the numbers here")
    return parser


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python
"""Has a panel of judges vote on (query, paper) pairs: agreed verdicts, the rest for a referee or a person.

    python scripts/judge_pairs.py --pairs data/sft_selector/train.jsonl --output_file verdicts.jsonl \\
        --judges rules checkpoints/my-selector --referee openai:gpt-4o --referee_prompts chat
    python scripts/judge_pairs.py --pairs data/sft_selector/train.jsonl --output_file verdicts.jsonl \\
        --judges words cosine checkpoints/smollm2-135m --referee openai:gpt-4o --referee_prompts chat --stages 3
    python scripts/build_sft_selector.py ... --verdicts verdicts.jsonl

Judges: words (the question's words that the paper holds), cosine or cosine:ENCODER (MiniLM's, or what was trained of
it), and what run_paper_agent.py takes as a Selector. Without --referee the pairs on which the judges differ have
`"verdict": null`, to be filled in by a person (who may write a `reason`, too); "labels" takes the pairs' own labels for
a referee's. Tells how far the judges agree and what the referee cost against asking it for all.

--stages N: the referee rules --seed_pairs first; from its verdicts each judge learns where to say yes. Then the panel
votes in N rounds, and after each the judges learn from all verdicts so far, with a student among them who sees what
every judge read (pasa/training_data/panel.py). --test_pairs: labelled pairs that the judges are measured on.

Exit codes as run_paper_agent.py's: 0 done · 2 something to mend in the call · 4 a model failed
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.assembly import build_scorer
from pasa.config import Settings, load_settings
from pasa.errors import ConfigError, PasaError
from pasa.evaluation.selector_pairs import pair_of
from pasa.flags import RaisingParser
from pasa.models.base import Scorer
from pasa.models.encoders import MINILM, find_minilm
from pasa.results import write_whole
from pasa.training_data.build import BadRows, numbered_lines, tell_stderr
from pasa.training_data.judges import Case, Ruling, hold_panel, panel_report
from pasa.training_data.panel import LabelReferee, Stage, hold_stages, stage_report
from pasa.training_data.query_rows import MAX_BAD_ROWS
from pasa.training_data.small_judges import CosineJudge, WordsJudge

_SETTINGS = ("api_base", "price_per_million_prompt_tokens", "price_per_million_reply_tokens")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    try:
        args = _parser().parse_args(argv)
        cases = read_cases(args.pairs, args.max_bad_rows)
        settings = load_settings(None, {name: getattr(args, name) for name in _SETTINGS})
        judges = [_judge(path, settings) for path in args.judges]
        referee = _referee(args.referee, settings, cases)
        if args.stages:
            stages = _hold_stages(cases, judges, referee, args)
            rulings = [ruling for stage in stages for ruling in stage.rulings]
        else:
            cases = cases[: args.max_pairs]
            rulings = hold_panel(cases, judges, referee, args.control_share, args.seed, args.referee_prompts)
        lines = (json.dumps(ruling.row(), ensure_ascii=False) + "\n" for ruling in rulings)
        write_whole(args.output_file, "".join(lines))
    except PasaError as error:
        tell_stderr(f"error: {error}")
        return error.exit_code
    if args.stages:
        _show_stages(stages, args)
    else:
        _show_panel(rulings)
    return 0


def _judge(path: str, settings: Settings) -> Scorer:
    """The judge that a word of --judges names. Raises UserErrors."""
    if path == WordsJudge.name:
        return WordsJudge()
    kind, _, encoder = path.partition(":")
    if kind != "cosine":
        return build_scorer(path, settings, None)
    minilm = find_minilm(encoder or MINILM)
    if minilm is None:
        raise ConfigError(f"--judges {path}: no encoder {encoder}; say cosine or cosine:pasa-minilm")
    return CosineJudge(minilm.name, minilm.embedder())


def _referee(path: str | None, settings: Settings, cases: Sequence[Case]) -> Scorer | None:
    return LabelReferee(cases) if path == LabelReferee.name else build_scorer(path, settings, None) if path else None


def _hold_stages(
    cases: list[Case], judges: Sequence[Scorer], referee: Scorer | None, args: argparse.Namespace
) -> list[Stage]:
    """The rounds over pairs drawn from the file. Raises ConfigError."""
    if referee is None:
        raise ConfigError("--stages needs a --referee; labels takes the pairs' own")
    drawn = random.Random(args.seed).sample(cases, len(cases))[: args.max_pairs]
    test = read_cases(args.test_pairs, args.max_bad_rows) if args.test_pairs else []
    test = random.Random(args.seed).sample(test, len(test))[: args.max_test_pairs]
    try:
        return hold_stages(drawn, judges, referee, args.seed_pairs, args.stages, test, args.referee_prompts)
    except ValueError as error:
        raise ConfigError(f"{args.pairs.name}: {error}") from error


def _show_panel(rulings: Sequence[Ruling]) -> None:
    for name, value in panel_report(rulings).items():
        print(f"{name:28} {value:.4g}")


def _show_stages(stages: Sequence[Stage], args: argparse.Namespace) -> None:
    rows = stage_report(stages, args.referee_prompts)
    print("round      pairs  agreed  right of agreed  right of all  asked  tokens asked  tokens of all")
    for row in rows:
        print(
            f"{row['round']:8} {row['pairs']:7} {row['agreed']:7.3f} {row['agreed_as_labelled']:16.3f} "
            f"{row['verdicts_as_labelled']:13.3f} {row['asked']:6} {row['asked_tokens']:13} {row['all_tokens']:14}"
        )
    for number, stage in enumerate(stages[1:], 1):
        print(f"stage {number}: {', '.join(stage.panel)} vote")
        for name, accuracy in stage.accuracy.items():
            print(f"  on test pairs {name:30} accuracy {accuracy:.3f}, area {stage.area[name]:.3f}")


def read_cases(path: Path, max_bad_rows: int = MAX_BAD_ROWS) -> list[Case]:
    """The pairs of a file in the form of scripts/build_sft_selector.py; bad rows are told by line and left out.

    Raises ConfigError: no file, no pair, too many bad rows.
    """
    bad = BadRows(max_bad_rows, tell_stderr)
    cases = []
    for where, line in numbered_lines(path):
        try:
            cases.append(_case(json.loads(line)))
        except (ValueError, RecursionError) as error:
            bad.add(where, str(error))
    if not cases:
        raise ConfigError(f"{path} holds no pair; each line is a JSON object with `messages`")
    return cases


def _case(row: Any) -> Case:
    try:
        said = {message["role"]: message["content"] for message in row["messages"]}
        pair = pair_of(said["user"], said["assistant"])
    except (KeyError, TypeError) as error:
        raise ValueError("`messages` must be a user's prompt and an assistant's decision") from error
    if pair is None:
        raise ValueError("no selector prompt with a decision of True or False")
    return Case(str(row.get("qid") or ""), pair.query, pair.title, pair.abstract, pair.is_answer)


def _parser() -> RaisingParser:
    parser = RaisingParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--pairs", required=True, type=Path, metavar="FILE", help="what scripts/build_sft_selector.py wrote")
    add("--output_file", required=True, type=Path, metavar="FILE", help="where the verdicts go, JSON lines")
    add("--judges", required=True, nargs="+", metavar="MODEL", help="two or more: words, cosine, rules, ...")
    add("--referee", metavar="MODEL", help="asked where judges differ; labels: the pairs' own (default: a person)")
    add("--referee_prompts", choices=("pasa", "chat"), default="pasa", help="chat: for general chat models")
    add("--control_share", type=float, default=0.0, metavar="X", help="of agreed pairs that the referee sees too")
    add("--max_pairs", type=int, metavar="N", help="the first N pairs of the file; with --stages N drawn")
    add("--stages", type=int, default=0, metavar="N", help="rounds after which the judges learn (default: they do not)")
    add("--seed_pairs", type=int, default=100, metavar="N", help="that the referee rules first (default: 100)")
    add("--test_pairs", type=Path, metavar="FILE", help="labelled pairs to measure the judges on, with --stages")
    add("--max_test_pairs", type=int, metavar="N", help="drawn of them (default: all)")
    add("--max_bad_rows", type=int, default=MAX_BAD_ROWS, metavar="N", help=f"let pass (default: {MAX_BAD_ROWS})")
    add("--seed", type=int, default=0, help="of the control pairs, and of what is drawn (default: 0)")
    add("--api_base", metavar="URL", help="of an OpenAI-compatible server")
    add("--price_per_million_prompt_tokens", type=float, metavar="X", help="dollars")
    add("--price_per_million_reply_tokens", type=float, metavar="X", help="dollars")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Checks keys, network, GPU, checkpoints and library, and says what to do.

    pasa doctor                      or python -m pasa.doctor
    pasa doctor --offline --json
    pasa doctor --library data/library --api_base http://127.0.0.1:8000/v1

Values of keys are never shown, nor sent anywhere but OPENAI_API_KEY to --api_base.

Exit codes: 0 a search can run · 1 something must be mended first · 2 something to mend in the call
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pasa.config import load_settings
from pasa.errors import PasaError
from pasa.flags import OneLineParser
from pasa.health import Check, check_all
from pasa.tool_assembly import read_env_file

_MARKS = {"ok": "ok  ", "note": "--  ", "problem": "!!  "}
_NAME_WIDTH = 28
_FLAGS = ("engine", "library", "crawler_path", "selector_path", "api_base", "selector_api_base")


def main(arguments: Sequence[str] | None = None) -> int:
    """Shows the checks; the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        read_env_file()
        settings = load_settings(options.config, {name: getattr(options, name) for name in _FLAGS})
    except PasaError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    checks = []
    for check in check_all(settings, not options.offline):
        checks.append(check)
        if not options.json:
            print(shown(check), flush=True)
    problems = sum(check.state == "problem" for check in checks)
    if options.json:
        print(json.dumps([asdict(check) for check in checks], indent=2, ensure_ascii=False))
    else:
        print(f"\n{problems} to mend, marked !!" if problems else '\nready: pasa search "which papers study ...?"')
    return 1 if problems else 0


def shown(check: Check) -> str:
    """A check as lines for a terminal."""
    head = f"{_MARKS[check.state]}{check.name:{_NAME_WIDTH}} {check.found}"
    return head + (f"\n    {'':{_NAME_WIDTH}} > {check.advice}" if check.advice else "")


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="pasa doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--offline", action="store_true", help="ask no service")
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings as YAML")
    for name in _FLAGS:
        parser.add_argument(f"--{name}", metavar="X", help="as for run_paper_agent.py")
    return parser


if __name__ == "__main__":
    sys.exit(main())

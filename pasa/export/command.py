"""The command line of `python -m pasa.export`: a saved result tree in another form."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pasa.display import note
from pasa.errors import ConfigError, PasaError
from pasa.evaluation.trees import read_tree
from pasa.export.formats import FORMATS, export
from pasa.export.run_view import ExportedRun, of_tree
from pasa.flags import RaisingParser
from pasa.result_tree import RankedPaper
from pasa.results import write_whole

_DESCRIPTION = """\
Writes a saved result (results/*.json) as another kind of file, to stdout or to --output.

  python -m pasa.export results/my-question.json --format bibtex > papers.bib
  python -m pasa.export results/my-question.json --format html --output report.html
  python -m pasa.export results/my-question.json --format csv --papers 50
"""


def build_parser() -> argparse.ArgumentParser:
    parser = RaisingParser(
        prog="python -m pasa.export", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("result", type=Path, metavar="RESULT.json", help="a result tree of run_paper_agent.py")
    parser.add_argument("--format", choices=sorted(FORMATS), default="markdown", help="(default: markdown)")
    parser.add_argument(
        "--papers", metavar="selected|all|N", help="which papers: selected, all, or the N best (default: by the format)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there, whole or not at all")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    try:
        args = build_parser().parse_args(argv)
        run = of_tree(read_tree(args.result))
        papers = chosen_papers(run, args.papers)
        text = export(run, args.format, papers)
        if args.output:
            write_whole(args.output, text)
        else:
            sys.stdout.buffer.write(text.encode("utf-8", "replace"))
            sys.stdout.flush()
        if papers is None and run.papers and not run.selected and not FORMATS[args.format].takes_all:
            note(f"no paper was selected, so the {args.format} is empty; --papers all or --papers 20 writes others")
    except PasaError as error:
        note(f"error: {error}")
        return error.exit_code
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        return 0
    return 0


def chosen_papers(run: ExportedRun, which: str | None) -> Sequence[RankedPaper] | None:
    """The papers that `selected`, `all` or a number means; None leaves it to the format. Raises ConfigError."""
    if which is None:
        return None
    if which in ("selected", "all"):
        return run.selected if which == "selected" else run.papers
    if not which.isdecimal():
        raise ConfigError(f"--papers is {which!r}; it may be selected, all, or a number such as 20")
    return run.papers[: int(which)]

#!/usr/bin/env python
"""Embed the papers of a library, so that it can be searched by meaning: --retrieval dense or hybrid.

    python scripts/embed_library.py --library data/library    # MiniLM on the CPU, which ships
    python scripts/embed_library.py --library data/library --model BAAI/bge-small-en-v1.5 --device cuda

--model is pasa-minilm (MiniLM trained on who cites whom), or a folder or the hub name of any sentence-transformers
model. Interrupted or killed, it goes on where it was when started again. After the library was added to, it embeds what
is new or changed and nothing else; until then the library is searched by words. Above 200,000 papers an HNSW index is
built too (pip install -r requirements-vectors.txt).

Exit codes: 0 every paper has its vector · 2 something to mend in the call · 130 interrupted, what is finished is kept
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from pasa.errors import PasaError
from pasa.flags import OneLineParser
from pasa.library import Library
from pasa.library.embed import EmbedProgress, EmbedReport, embed_library
from pasa.library.embed import Progress as ProgressListener
from pasa.models.encoders import MINILM, PASA_MINILM, find_minilm, load_encoder
from pasa.tool_assembly import cache_file

_LINE_EVERY_SECONDS = 5.0  # of progress when piped


def main(arguments: list[str] | None = None) -> int:
    """Embeds as the command line says; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        minilm = find_minilm(options.model)
        known = cache_file(options.cache_dir, minilm.store_name) if minilm else None
        with Library.open(options.library) as library, _shown_progress() as listener:
            encoder = load_encoder(options.model, options.device, options.batch_size, known)
            report = embed_library(library, encoder, options.fresh, listener)
            line = _summary(report, library)
    except PasaError as error:
        print(f"embed_library: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("embed_library: interrupted; what is finished is kept, run it again to go on", file=sys.stderr)
        return 130
    print(line)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True, type=Path, metavar="L", help="a built library, or a file of papers")
    parser.add_argument(
        "--model", default=MINILM, metavar="NAME_OR_FOLDER", help=f"{MINILM} (default), {PASA_MINILM}, ..."
    )
    parser.add_argument("--batch_size", type=_positive, default=32, metavar="N", help="texts at once (default: 32)")
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, ... (default: auto)")
    parser.add_argument("--fresh", action="store_true", help="drop the vectors there are; needed for another model")
    parser.add_argument(
        "--cache_dir", default="auto", metavar="DIR", help='vectors kept by earlier runs are used; "" = none'
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


@contextmanager
def _shown_progress() -> Iterator[ProgressListener]:
    """A listener that draws a bar on a terminal and prints a line now and then where there is none (stderr)."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TextColumn("left:"), TimeRemainingColumn(), console=console) as bars:
        yield _Bars(bars)


class _Rate:
    """Papers a second within the present stage."""

    def __init__(self) -> None:
        self._stage = ""
        self._started = 0.0

    def __call__(self, now: EmbedProgress) -> float:
        if now.stage != self._stage:
            self._stage, self._started = now.stage, time.monotonic()
        return now.done / max(time.monotonic() - self._started, 1e-3)


class _Bars:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._rate = _Rate()

    def __call__(self, now: EmbedProgress) -> None:
        rate = self._rate(now)
        if now.total and now.stage not in self._tasks:
            self._tasks[now.stage] = self._bars.add_task(now.stage, total=now.total, rate="")
        if now.total:
            self._bars.update(self._tasks[now.stage], completed=now.done, rate=f"{rate:,.0f} papers a second")


class _Lines:
    def __init__(self) -> None:
        self._last_time = time.monotonic()
        self._rate = _Rate()

    def __call__(self, now: EmbedProgress) -> None:
        rate = self._rate(now)
        if not now.total or (now.done < now.total and time.monotonic() - self._last_time < _LINE_EVERY_SECONDS):
            return
        self._last_time = time.monotonic()
        left = f", {(now.total - now.done) / rate:,.0f} s left" if rate else ""
        print(f"{now.stage}: {now.done:,} of {now.total:,}, {rate:,.0f} a second{left}", file=sys.stderr, flush=True)


def _summary(report: EmbedReport, library: Library) -> str:
    return (
        f"{library.path}: {report.header.papers:,} papers with a vector by {report.header.model.name}, "
        f"{report.embedded:,} embedded now, {report.kept:,} kept, {report.seconds:.1f} s"
    )


if __name__ == "__main__":
    sys.exit(main())

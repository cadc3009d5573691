"""What the command lines of the data builders have in common."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pasa.errors import ConfigError
from pasa.flags import RaisingParser
from pasa.training_data.build import UNITS_BETWEEN_SAVES, Build, Row, sample_rows, tell_stderr
from pasa.training_data.workers import default_workers


class DataParser(RaisingParser):
    """The flags that every builder has."""

    def __init__(self, description: str | None) -> None:
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )
        self.add_argument("--output_folder", type=Path, required=True, metavar="FOLDER", help="where the data goes")
        self.add_argument("--seed", type=int, default=0, help="of every choice made at random (default: 0)")
        self.add_argument("--fresh", action="store_true", help="replace what stands in the folder")
        self.add_argument(
            "--workers",
            type=_workers,
            default=default_workers(),
            metavar="N",
            help="processes at work (default: one a processor, at most 8); the rows are the same for any number",
        )
        self.add_argument("--sample", type=int, metavar="N", help="build nothing; show N rows of what was built")


def _workers(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return int(text)


def required(value: str | None, flag: str) -> str:
    """The flag's value; raises ConfigError where it was not given."""
    if value is None:
        raise ConfigError(f"{flag} is needed to build; --help lists what there is")
    return value


def progress_line(build: Build) -> None:
    """Says now and then how far the build is, on a terminal."""
    if sys.stderr.isatty() and build.units % UNITS_BETWEEN_SAVES < UNITS_BETWEEN_SAVES // 2:
        print(f"\r{build.units} done, {build.counts['rows']} rows", end="", file=sys.stderr, flush=True)


def show_sample(folder: Path, number: int, seed: int, shown: Callable[[Row], str]) -> None:
    for row in sample_rows(folder, number, seed):
        print(shown(row), end="\n\n")


def show_manifest(manifest: dict[str, Any]) -> None:
    rows = sum(file["rows"] for file in manifest["files"].values())
    seconds = manifest["seconds"]
    tell_stderr(f"{rows} rows in {seconds} s ({rows / max(seconds, 0.1):.0f} a second)")
    print(json.dumps({key: manifest[key] for key in ("files", "counts", "drops")}, indent=1, ensure_ascii=False))

#!/usr/bin/env python
"""Downloads data sets and checkpoints from the Hugging Face hub into the folders where this project looks for them.

  python scripts/download_data.py --list
  python scripts/download_data.py autoscholarquery realscholarquery
  HF_TOKEN=... python scripts/download_data.py pasa-7b-crawler pasa-7b-selector

Broken downloads go on where they stopped. Each file is compared with the checksum that the hub states; CHECKSUMS.json
in data/ and checkpoints/ records it, and later downloads must give the same file (--update takes a newer one). We ship
no checksums of these files: of a file without a stated one the first download is trusted, and said to be.
Where a repository asks for a login or for terms, the error says what to do. Read each licence before use.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.errors import ConfigError, PasaError
from pasa.flags import OneLineParser
from pasa.hub import HUB, Wanted, download

ROOT = Path(__file__).resolve().parents[1]
INTERRUPTED = 130


@dataclass(frozen=True)
class Item:
    """Something to download, and what its users must know."""

    wanted: Wanted
    what: str
    licence: str
    place: str = "data"  # or "checkpoints"


_PASA = "CarlanLark/pasa-dataset"
_PASA_LICENCE = "AutoScholarQuery: research use only; see the card. Texts belong to their authors"
_WEIGHTS_LICENCE = "CC BY-NC-SA 4.0 by the selector's card (no commercial use); a Qwen2.5-7B; see both cards"


def _pasa(*folders: str) -> Wanted:
    return Wanted(_PASA, "dataset", "", tuple(f"{folder}/*" for folder in folders))


def _checkpoint(name: str) -> Wanted:
    return Wanted(f"bytedance-research/{name}", "model", name, without=("*.bin", ".gitattributes"))  # has safetensors


ITEMS = {
    "autoscholarquery": Item(
        _pasa("AutoScholarQuery"), "33,551 / 1,000 / 1,000 synthetic questions with answers", _PASA_LICENCE
    ),
    "realscholarquery": Item(_pasa("RealScholarQuery"), "50 questions of researchers with answers", _PASA_LICENCE),
    "paper_database": Item(_pasa("paper_database"), "569,432 papers with sections (upstream's zip)", _PASA_LICENCE),
    "sft": Item(_pasa("sft_crawler", "sft_selector"), "supervised sessions and judgements", _PASA_LICENCE),
    "litsearch": Item(
        Wanted("princeton-nlp/LitSearch", "dataset", "LitSearch", ("query/*", "corpus_clean/*")),
        "597 questions; their titles are in the corpus of 64,183 papers (1.2 GiB)",
        "see the card; texts belong to their authors",
    ),
    "sparbench": Item(
        Wanted("XiaofengAlg/SPARBench", "dataset", "SPARBench", ("*.jsonl", "*.json", "*.md")),
        "50 questions with judged answers; asks for terms",
        "MIT (the card); not for experiments that harm people",
    ),
    "scholargym": Item(
        Wanted("shenhao/ScholarGym", "dataset", "ScholarGym", ("*scholargym_bench.jsonl", "*.md")),
        "2,536 questions of AutoScholarQuery, RealScholarQuery and LitSearch; `date` gives answers away, never read",
        "Apache-2.0 (its repository); the questions keep their sources' licences",
    ),
    "pasa-7b-crawler": Item(_checkpoint("pasa-7b-crawler"), "15 GB", _WEIGHTS_LICENCE, "checkpoints"),
    "pasa-7b-selector": Item(_checkpoint("pasa-7b-selector"), "15 GB", _WEIGHTS_LICENCE, "checkpoints"),
}


def main(arguments: list[str] | None = None) -> int:
    args = build_parser().parse_args(arguments)
    try:
        if args.list or not args.names:
            _print_items()
            return 0
        unknown = [name for name in args.names if name not in ITEMS]
        if unknown:
            raise ConfigError(f"there is no {unknown[0]!r}; choose of {', '.join(ITEMS)}")
        for name in args.names:
            item = ITEMS[name]
            print(f"{name}: {item.what}. Licence: {item.licence}.")
            root = args.data if item.place == "data" else args.checkpoints
            download(item.wanted, root, args.base_url.rstrip("/"), args.update)
    except PasaError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return INTERRUPTED
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="what to download; none = list what there is")
    add("--list", action="store_true", help="list what there is, where it goes, its licence")
    add("--data", type=Path, default=ROOT / "data", metavar="DIR", help="data sets go here (default: data)")
    add("--checkpoints", type=Path, default=ROOT / "checkpoints", metavar="DIR", help="default: checkpoints")
    add("--base_url", default=os.environ.get("HF_ENDPOINT") or HUB, metavar="URL", help="the hub, or a mirror of it")
    add("--update", action="store_true", help="take the newest commit and record its files anew")
    return parser


def _print_items() -> None:
    for name, item in ITEMS.items():
        folder = f"{item.place}/{item.wanted.folder}".rstrip("/")
        print(f"{name}\n  {item.what}\n  {item.wanted.repo} -> {folder}/\n  licence: {item.licence}")


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python
"""Makes a library of only the papers with full text and the papers they cite: there expanding matters most.

  python scripts/cut_library.py data/library --out data/expansion_library

Session PPO is trained there (configs/ppo_small_cpu.yaml). Of the papers in shared/data about 1,700 have full text and
cite about 13,700 others that are there.

Exit codes: 0 done · 2 something to mend in the call or the library
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.display import note
from pasa.errors import PasaError
from pasa.library import Library, build_library
from pasa.paper import Paper, Reference, sections_to_titles

REFERENCES_AT_ONCE = 1000


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path, metavar="L", help="a built library with sections")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the smaller one is built")
    options = parser.parse_args(argv)
    try:
        with Library.open(options.library) as library, tempfile.TemporaryDirectory(prefix="pasa-cut-") as folder:
            rows = Path(folder) / "papers.jsonl"
            papers, full_texts = write_rows(rows, cut(library))
            build_library([rows], options.out, fresh=True)
    except PasaError as error:
        note(f"error: {error}")
        return error.exit_code
    note(f"{papers} papers, {full_texts} of them with full text, of {library.num_papers}: {options.out}")
    return 0


def cut(library: Library) -> Iterator[Paper]:
    """The papers with sections that cite something, and those of the library that they cite, each once."""
    seen: set[str] = set()
    waiting: list[Reference] = []
    for paper in library:
        if not any(section.references for section in paper.sections or ()):
            continue
        if paper.key not in seen:
            seen.add(paper.key)
            yield paper
        waiting += [reference for section in paper.sections or () for reference in section.references]
        if len(waiting) >= REFERENCES_AT_ONCE:
            yield from _cited(library, waiting, seen)
            waiting = []
    yield from _cited(library, waiting, seen)


def _cited(library: Library, references: Sequence[Reference], seen: set[str]) -> Iterator[Paper]:
    for paper in library.papers_by_reference(references, match="exact"):
        if paper is not None and paper.key not in seen:
            seen.add(paper.key)
            yield paper


def write_rows(path: Path, papers: Iterator[Paper]) -> tuple[int, int]:
    """Writes the papers as rows that a library is built from; how many, and how many with full text."""
    count = full_texts = 0
    with path.open("w", encoding="utf-8") as file:
        for paper in papers:
            row: dict[str, Any] = {"title": paper.title, "abstract": paper.abstract}
            row |= {"arxiv_id": paper.arxiv_id, "date": paper.date, "authors": list(paper.authors)}
            if paper.sections:
                row["sections"] = sections_to_titles(paper.sections)
                full_texts += 1
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count, full_texts


if __name__ == "__main__":
    sys.exit(main())

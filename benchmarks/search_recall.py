#!/usr/bin/env python
"""Recall of a library's search alone: the question as the query, and the rules Crawler's first query.

`python benchmarks/search_recall.py --library L --input_file questions.jsonl [--first 50] [--only_covered]`: what any
agent on that library has to beat. Recall@k as in scripts/evaluate.py, hits in the order of the engine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.errors import PasaError
from pasa.library import Library
from pasa.models.rules_crawler import search_queries
from pasa.paper import title_key
from pasa.query import Query, read_queries

CUTS = (20, 50, 100)


def recalls(library: Library, queries: list[Query], words_of: Callable[[str], str]) -> dict[str, float]:
    """Macro-averaged recall@20/50/100 and the median milliseconds of a search."""
    totals = dict.fromkeys(CUTS, 0.0)
    milliseconds = []
    for query in queries:
        start = time.perf_counter()
        hits = library.search(words_of(query.text), max(CUTS), query.end_date)
        milliseconds.append(1000 * (time.perf_counter() - start))
        golds = {title_key(title) for title in query.answer or ()}
        found = [hit.paper.title_key for hit in hits]
        for k in CUTS:
            totals[k] += len(golds & set(found[:k])) / len(golds)
    means = {f"recall@{k}": total / len(queries) for k, total in totals.items()}
    return {**means, "milliseconds": statistics.median(milliseconds)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True)
    parser.add_argument("--input_file", type=Path, required=True)
    parser.add_argument("--first", type=int, help="only the first N questions of the file")
    parser.add_argument("--only_covered", action="store_true", help="questions whose `in_corpus` is true throughout")
    args = parser.parse_args()
    try:
        rows = [json.loads(line) for line in args.input_file.read_text(encoding="utf-8").splitlines() if line.strip()]
        queries = [
            query
            for query, row in list(zip(read_queries(args.input_file), rows, strict=True))[: args.first]
            if query.answer and (not args.only_covered or all(row.get("in_corpus", [True])))
        ]
        with Library.open(args.library) as library:
            report = {
                "question as the query": recalls(library, queries, str),
                "the rules' first query": recalls(library, queries, lambda q: (search_queries(q, library) or [q])[0]),
            }
    except (PasaError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(queries)} questions")
    for name, numbers in report.items():
        print(f"{name:24}" + "".join(f" {key} {value:.3f}" for key, value in numbers.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

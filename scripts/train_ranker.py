#!/usr/bin/env python
"""Fit the ranker that gives the final scores of a `rules` run: writes pasa/models/ranker_weights.json.

    python scripts/build_queries.py --library L --out Q --held_out ../shared/data/autoscholarquery_dev.jsonl
    python scripts/train_ranker.py --library L --queries Q/train.jsonl

The agent itself crawls each question (configs/agent_rules.yaml) as if the library did not hold the paper that the
question was made from; the ranker learns to put the papers cited there before the others. A fifth of the source papers
is kept from fitting and measures. No question of AutoScholarQuery is read. Embeddings are kept in --cache_dir.

Exit codes: 0 done · 2 something to mend in the call
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.config import load_settings
from pasa.errors import CheckpointError, PasaError
from pasa.flags import OneLineParser
from pasa.library import Library
from pasa.models.encoders import MINILM, find_minilm, minilm_store
from pasa.models.rules import RulesScorer
from pasa.models.rules_ranker import FEATURES, RANKER_FILE, UNCOUNTED_FEATURES, linear_scores
from pasa.models.rules_weights import read_weights
from pasa.paper import title_key
from trl_ext.citation_pairs import is_held_out
from trl_ext.ranker_crawls import RankerQuestion, ranked_crawls, ranker_questions
from trl_ext.ranker_fit import Floats, RankedCrawl, fit_level, fit_weights, recalls, selected

ROOT = Path(__file__).resolve().parents[1]
SEED = 0
QUESTIONS = 400
HELD_OUT_ONE_IN = 5  # source papers
_DIGITS = 5


def main(arguments: list[str] | None = None) -> int:
    """Writes the weights; the exit code."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, required=True, metavar="L", help="a built library with full texts")
    parser.add_argument("--queries", type=Path, required=True, metavar="FILE", help="of scripts/build_queries.py")
    parser.add_argument("--questions", type=int, default=QUESTIONS, help="crawled (default: %(default)s)")
    parser.add_argument("--encoder", default=MINILM, help="as in the agent's setting (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RANKER_FILE, help="(default: pasa/models/%(default.name)s)")
    parser.add_argument("--cache_dir", type=Path, metavar="DIR", help="embeddings are kept here between runs")
    options = parser.parse_args(arguments)
    try:
        questions = ranker_questions(options.queries, options.questions, SEED)
        with Library.open(options.library) as library:
            crawls = _crawls(questions, library, options.encoder, options.cache_dir)
        content = fitted(crawls, [is_held_out(title_key(q.source), HELD_OUT_ONE_IN) for q in questions])
    except PasaError as error:
        print(f"train_ranker: {error}", file=sys.stderr)
        return error.exit_code
    command = f"python scripts/train_ranker.py --library L --queries Q/train.jsonl --questions {options.questions}"
    content["manifest"] |= {"command": command, "encoder": options.encoder, "seed": SEED}
    options.out.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    print(json.dumps(content["manifest"], indent=1))
    return 0


def _crawls(
    questions: Sequence[RankerQuestion], library: Library, encoder: str, cache: Path | None
) -> list[RankedCrawl | None]:
    """One a question, None where it holds no word. Raises CheckpointError."""
    minilm = find_minilm(encoder)
    if minilm is None:
        raise CheckpointError(f"there is no encoder {encoder!r}: name {MINILM} or a folder of train_embedder.py")
    store = minilm_store(library.path, cache / minilm.store_name if cache else None, minilm.name)
    scorer = RulesScorer(library, minilm.embedder(store), read_weights(minilm.weights_file))
    agent = load_settings(ROOT / "configs" / "agent_rules.yaml").agent
    crawls = []
    for crawl in ranked_crawls(questions, library, scorer, agent):
        crawls.append(crawl)
        print(f"\rcrawled {len(crawls)} of {len(questions)} questions", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return crawls


def fitted(crawls: Sequence[RankedCrawl | None], held_out: Sequence[bool]) -> dict[str, Any]:
    """The contents of ranker_weights.json; `held_out` says of each crawl whether it only measures."""
    pairs = [(crawl, held) for crawl, held in zip(crawls, held_out, strict=True) if crawl is not None]
    train = [crawl for crawl, held in pairs if not held]
    test = [crawl for crawl, held in pairs if held]
    counted, of_counted = _model(train, test, FEATURES)
    uncounted, of_uncounted = _model(train, test, UNCOUNTED_FEATURES)
    manifest = {
        "questions_fitted": len(train),
        "questions_held_out": len(test),
        "papers": sum(len(crawl.is_answer) for crawl in train),
        "held_out": {
            "by cosine": _rounded(recalls(test, [crawl.features["cosine"] for crawl in test])),
            "counted": of_counted,
            "uncounted": of_uncounted,
        },
    }
    return {"manifest": manifest, "counted": counted, "uncounted": uncounted}


def _model(
    train: Sequence[RankedCrawl], test: Sequence[RankedCrawl], names: Sequence[str]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Weights and level fitted to `train`, as the file holds them, and what they reach on `test`."""
    weights = {name: round(weight, _DIGITS) for name, weight in fit_weights(train, names).items()}
    level, intercept = fit_level(_scores(train, weights), [crawl.is_answer for crawl in train])
    scores = _scores(test, weights)
    log_odds = [intercept + level["score"] * s + level["best"] * s.max() for s in scores]
    row = {"weights": weights, "level": {"intercept": round(intercept, _DIGITS), "weights": _rounded(level)}}
    return row, _rounded(recalls(test, scores) | selected(log_odds, test))


def _scores(crawls: Sequence[RankedCrawl], weights: dict[str, float]) -> list[Floats]:
    return [linear_scores(crawl.features, weights) for crawl in crawls]


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, _DIGITS) for name, value in values.items()}


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python
"""Train the encoder of `rules` and of dense search on who cites whom in a library with full texts.

    python scripts/train_embedder.py --library L --out checkpoints/pasa-minilm
    python scripts/train_embedder.py --library L --evaluate all-MiniLM-L6-v2 pasa-minilm    # scores alone

L is a library whose papers have sections (scripts/build_library.py). A question is a review section's heading and its
paper's title, its answers are the papers cited there. OUT gets delta.safetensors (what training changed of the packaged
MiniLM), training.json (settings, data manifest, loss, scores) and README.md (the model card). Calibrate the rules
models to it afterwards: scripts/calibrate_rules.py --encoder OUT.

Exit codes: 0 done · 2 something to mend in the call
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.errors import LibraryError, PasaError
from pasa.flags import OneLineParser
from pasa.library import Library
from pasa.models.embedding import packaged_model_path
from pasa.models.encoders import MINILM, find_minilm, load_encoder
from pasa.models.weight_delta import DELTA_FILE, base_digest, low_rank_delta, save_delta
from trl_ext.citation_pairs import CitationPair, CitingSection, citation_pairs, cited_by_source, citing_sections
from trl_ext.citation_pairs import is_held_out as held_out
from trl_ext.embedder_card import embedder_card, score_line
from trl_ext.embedder_evaluation import IN_DOMAIN_RANKS, HeldOutQuestion, Ranking, held_out_questions, rankings
from trl_ext.embedder_settings import EmbedderSettings, EvaluationSettings, PairSettings, read_embedder_settings

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "embedder.yaml"
COMMAND = "python scripts/train_embedder.py --library L --config configs/{config} --out checkpoints/{out}"


def main(arguments: list[str] | None = None) -> int:
    """Trains, or only evaluates, as the command line says; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings = read_embedder_settings(options.config)
        with Library.open(options.library) as library:
            if options.evaluate:
                _evaluate_only(library, settings, options.evaluate)
            else:
                _train(library, settings, options.out, options.config.name)
    except PasaError as error:
        print(f"train_embedder: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True, type=Path, metavar="L", help="a built library with full texts")
    parser.add_argument("--config", type=Path, default=CONFIG, metavar="FILE", help="(default: configs/embedder.yaml)")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="DIR", help="the checkpoint is written here")
    what.add_argument("--evaluate", nargs="+", metavar="MODEL", help="do not train: print the scores of these encoders")
    return parser


def _train(library: Library, settings: EmbedderSettings, out: Path, config: str) -> None:
    from trl_ext.contrastive import train

    started = time.monotonic()
    sections, questions = _held_out(library, settings)
    pairs = training_pairs(library, sections, settings.data)
    if len(pairs) < settings.training.batch_size:
        raise LibraryError(f"{library.path} gives {len(pairs)} training pairs, fewer than a batch: add full texts")
    print(f"{len(pairs):,} pairs of {len({p.source for p in pairs}):,} citing papers", file=sys.stderr)
    base = packaged_model_path()
    with tempfile.TemporaryDirectory() as work:
        model, log = train(base, pairs, cited_by_source(sections), settings.training, Path(work))
    write_checkpoint(out, base, model, settings)
    rows = {name: _rankings(name, questions, settings.evaluation) for name in (MINILM, str(out))}
    record = {
        "command": COMMAND.format(config=config, out=out.name),
        "settings": asdict(settings),
        "base_sha256": base_digest(base),
        "data": manifest(library, sections, pairs, settings.data),
        "in_domain_ranks": list(IN_DOMAIN_RANKS),
        "seconds": round(time.monotonic() - started),
        "loss": [[entry["epoch"], entry["loss"]] for entry in log if "loss" in entry],
        "scores": {name: {kind: asdict(found) for kind, found in row.items()} for name, row in _named(rows, out)},
    }
    write_record(out, record, dict(_named(rows, out)))
    _print_scores(rows)


def _held_out(library: Library, settings: EmbedderSettings) -> tuple[list[CitingSection], list[HeldOutQuestion]]:
    """All review sections, and the questions to judge by."""
    sections = citing_sections((paper for paper in library if paper.sections), library)
    kept = [section for section in sections if held_out(section.source, settings.data.held_out_one_in)]
    judge = settings.evaluation
    return sections, held_out_questions(kept, library, judge.questions, judge.per_kind, settings.data.seed)


def training_pairs(library: Library, sections: Sequence[CitingSection], settings: PairSettings) -> list[CitationPair]:
    """The pairs of the citing papers that are not held out."""
    mine = [section for section in sections if not held_out(section.source, settings.held_out_one_in)]
    titles = list(dict.fromkeys(title for section in mine for title in section.cited))
    papers = [library.paper_by_title(title) for title in titles]
    abstracts = {title: paper.abstract for title, paper in zip(titles, papers, strict=True) if paper}
    return citation_pairs(mine, abstracts, settings.most_per_paper, settings.title_only_share, settings.seed)


def manifest(
    library: Library, sections: Sequence[CitingSection], pairs: Sequence[CitationPair], settings: PairSettings
) -> dict[str, Any]:
    """What the data were."""
    sources = {section.source for section in sections}
    kept = {source for source in sources if held_out(source, settings.held_out_one_in)}
    citations = sum(len(section.cited) for section in sections if section.source not in kept)
    return {
        "library_papers": library.num_papers,
        "citing_papers": len(sources) - len(kept),
        "citing_papers_held_out": len(kept),
        "review_sections": sum(section.source not in kept for section in sections),
        "citations": citations,
        "dropped_not_in_library_or_over_the_limit_a_paper": citations - len(pairs),
        "pairs": len(pairs),
        "pairs_with_the_title_alone": sum(not pair.abstract for pair in pairs),
        "cited_papers": len({pair.key for pair in pairs}),
    }


def write_checkpoint(out: Path, base: Path, model: Any, settings: EmbedderSettings) -> None:
    """What training changed of the model in `base`, to the folder `out`; `model` is a SentenceTransformer."""
    from transformers import AutoModel

    before = AutoModel.from_pretrained(base, local_files_only=True).state_dict()
    save_delta(low_rank_delta(before, model[0].auto_model.state_dict(), settings.checkpoint.rank), base, out)


def write_record(out: Path, record: Mapping[str, Any], rows: Mapping[str, Mapping[str, Ranking]]) -> None:
    """training.json and the card."""
    megabytes = (out / DELTA_FILE).stat().st_size / 1e6
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    card = embedder_card(out.name, str(record["command"]), record, rows, f"{megabytes:.1f} MB")
    (out / "README.md").write_text(card, "utf-8")


def _named(rows: Mapping[str, Mapping[str, Ranking]], out: Path) -> list[tuple[str, Mapping[str, Ranking]]]:
    """The rows by names that hold anywhere: the folder's own, without its path."""
    return [(out.name if name == str(out) else name, row) for name, row in rows.items()]


def _evaluate_only(library: Library, settings: EmbedderSettings, names: Sequence[str]) -> None:
    _, questions = _held_out(library, settings)
    _print_scores({name: _rankings(name, questions, settings.evaluation) for name in names})


def _rankings(name: str, questions: Sequence[HeldOutQuestion], settings: EvaluationSettings) -> dict[str, Ranking]:
    minilm = find_minilm(name)
    if minilm:
        embedder = minilm.embedder()
        return rankings(questions, lambda texts: embedder.embed(texts, settings.max_tokens))
    return rankings(questions, load_encoder(name).encode_papers)


def _print_scores(rows: Mapping[str, Mapping[str, Ranking]]) -> None:
    print("| encoder | in-domain AUC | first | BM25-top AUC | first |\n|---|---|---|---|---|")
    for name, row in rows.items():
        print(score_line(name, row))


if __name__ == "__main__":
    sys.exit(main())

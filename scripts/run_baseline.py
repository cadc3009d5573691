#!/usr/bin/env python
"""Runs a baseline over a file of questions: result trees in upstream's form, as run_paper_agent.py writes them.

    python scripts/run_baseline.py --baseline bm25 --library L --input_file Q.jsonl --output_folder D
    SERPER_API_KEY=... python scripts/run_baseline.py --baseline google --input_file Q.jsonl --output_folder D
    python scripts/run_baseline.py --baseline rewritten --engine serper --model openai:gpt-4o ...
    python scripts/run_baseline.py --baseline asked --model checkpoints/smollm2-135m --library L ...

baselines
  engine      the question as it is, given to --engine (a library: --retrieval); by name too: google, google_scholar,
              arxiv, openalex, semantic_scholar, bm25, dense, hybrid
  rewritten   the question rewritten by --model, then the engine
  asked       --model asked for the papers; what it lists is looked up by title in the library or the engine's source,
              and what nobody knows is told in `extra.run.invented`
  our agent without expansion, a prompted model in it, ensembles: run_paper_agent.py --expand_layers 0,
              --prompts chat, --ensemble_runs 2

Scores fall with the rank. An engine chooses nothing, so nothing is above .5 unless --select_top N is given: precision
and recall of engines stay blank. What a model lists is selected. Stopped or crashed, the same command goes on.

Exit codes: 0 done · 2 something to mend in the call · 3 a search service failed · 4 a model failed · 130 interrupted
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.assembly import build_generator
from pasa.config import Settings, load_settings
from pasa.display import note
from pasa.errors import ConfigError, PasaError, UserError
from pasa.evaluation.baselines import LISTED_PAPERS, Answer, AskedBaseline, Baseline, EngineBaseline
from pasa.evaluation.datasets import DatasetFormat, read_dataset
from pasa.flags import RaisingParser
from pasa.query import Query
from pasa.result_folder import only_writer
from pasa.results import check_writable, is_finished, recorded_run, tree_json, write_json
from pasa.tool_assembly import ENGINE_KINDS, Choice, build_tools, choose_engine

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it
RESULTS = 100  # asked of an engine: enough for recall@100
KINDS = ("engine", "rewritten", "asked")
# Engines by the name of their row -> what it sets.
NAMED: dict[str, dict[str, str]] = {
    "google": {"engine": "serper"},
    "google_scholar": {"engine": "scholar"},
    "arxiv": {"engine": "arxiv"},
    "openalex": {"engine": "openalex"},
    "semantic_scholar": {"engine": "semantic_scholar"},
    "bm25": {"retrieval": "bm25"},
    "dense": {"retrieval": "dense"},
    "hybrid": {"retrieval": "hybrid"},
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    try:
        return _main(argv)
    except PasaError as error:
        note(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        note("interrupted; the same command goes on where it was")
        return INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    parser = RaisingParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--baseline", required=True, choices=[*KINDS, *NAMED], metavar="NAME", help="see above")
    add("--input_file", required=True, type=Path, metavar="FILE", help="JSON lines with `question` (upstream's form)")
    add("--output_folder", required=True, type=Path, metavar="DIR", help="result trees go here: 0.json, 1.json, ...")
    add("--dataset_format", choices=get_args(DatasetFormat), default="auto", help="of the input file (default: auto)")
    add("--first", type=int, metavar="N", help="only the first N questions")
    add("--config", type=Path, metavar="FILE", help="settings as YAML, as of run_paper_agent.py")
    add("--engine", metavar="ENGINE", help="as of run_paper_agent.py")
    add("--library", metavar="PATH", help="a built library, JSON-lines file or library server")
    add("--retrieval", metavar="MODE", help="how a library is searched: auto, bm25, dense, hybrid (default: auto)")
    add("--search_papers", type=int, default=RESULTS, metavar="N", help=f"results asked for ({RESULTS})")
    add("--select_top", type=int, metavar="N", help="papers that count as selected (engine: 0; asked: all listed)")
    add("--model", metavar="MODEL", help="rules, a Hugging Face model, or openai:MODEL")
    add("--papers_asked", type=int, default=LISTED_PAPERS, metavar="N", help=f"asked of a model ({LISTED_PAPERS})")
    add("--api_base", metavar="URL", help="of an OpenAI-compatible server")
    add("--device", help="auto, cpu, cuda ... (default: auto)")
    add("--dtype", help="auto, bfloat16, float16, float32 (default: auto)")
    add("--batch_size", type=int, metavar="N", help="prompts a local model answers at once (8)")
    add("--temperature", type=float, metavar="X", help="of the model, 0 = greedy (0)")
    add("--sampling_seed", dest="seed", type=int, metavar="N", help="of its sampling (0)")
    add("--threads_num", type=int, metavar="N", help="questions under way at once with a live engine (20)")
    add("--undated", metavar="drop|keep", help="papers without a date when there is an end date (default: drop)")
    add("--cache_dir", metavar="DIR", help='what was fetched is kept here ("" = not kept; default: auto)')
    add("--retries", type=int, metavar="N", help="of a web call that failed (4)")
    for service in ("serper", "arxiv_api", "arxiv_html", "ar5iv", "openalex", "semantic_scholar"):
        add(f"--{service}_base", metavar="URL", help=argparse.SUPPRESS)
    add("--overwrite", action="store_true", help="run questions again whose results are in the output folder")
    add("--quiet", "-q", action="store_true", help="no progress, no notes")
    return parser


_NOT_SETTINGS = frozenset(
    {
        "baseline",
        "input_file",
        "output_folder",
        "dataset_format",
        "first",
        "config",
        "select_top",
        "model",
        "papers_asked",
        "overwrite",
        "quiet",
    }
)


def _main(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    kind = args.baseline if args.baseline in KINDS else "engine"
    flags = {name: value for name, value in vars(args).items() if name not in _NOT_SETTINGS}
    settings = load_settings(args.config, flags | _named(args))
    _check(args, kind)
    queries = read_dataset(args.input_file, args.dataset_format)[: args.first]
    check_writable(args.output_folder)
    tell = (lambda _: None) if args.quiet else note
    engine = choose_engine(settings.tools)
    with ExitStack() as parts:
        parts.enter_context(only_writer(args.output_folder))
        baseline, record = _build(args, kind, settings, engine, parts)
        todo = _unfinished(queries, args.output_folder, args.overwrite)
        tell(f"{args.baseline}: engine {engine.name} ({engine.reason})" + f", model {args.model}" * bool(args.model))
        tell(_how_many(queries, todo, args.output_folder, record))
        is_live = any(ENGINE_KINDS[name].is_live for name in engine.names)
        at_once = settings.agent.threads_num if is_live else 1
        batch = max(settings.models.batch_size, at_once)
        pool = parts.enter_context(ThreadPoolExecutor(at_once, "pasa-baseline"))
        return _run(baseline, todo, batch, pool, args.output_folder, record, tell)


def _named(args: argparse.Namespace) -> dict[str, str]:
    """What the baseline's name sets; raises ConfigError where a flag says otherwise."""
    sets = NAMED.get(args.baseline, {})
    for name, value in sets.items():
        if getattr(args, name) not in (None, value):
            raise ConfigError(f"--baseline {args.baseline} means --{name} {value}; use --baseline engine for another")
    return sets


def _check(args: argparse.Namespace, kind: str) -> None:
    if kind != "engine" and not args.model:
        raise ConfigError(f"--baseline {kind} needs --model, such as openai:gpt-4o or checkpoints/smollm2-135m")
    if kind == "engine" and args.model:
        raise ConfigError("--model is for --baseline rewritten or asked; leave it out")
    if kind == "asked" and args.model == "rules":
        raise ConfigError("--baseline asked needs a language model; rules know no papers")
    if "retrieval" in NAMED.get(args.baseline, {}) and args.engine not in (None, "library"):
        raise ConfigError(f"--baseline {args.baseline} searches a library; leave --engine out")
    for flag in ("first", "select_top"):
        if getattr(args, flag) is not None and getattr(args, flag) < (flag == "first"):
            raise ConfigError(f"--{flag} must be at least {int(flag == 'first')}")
    if args.papers_asked < 1:
        raise ConfigError("--papers_asked must be at least 1")


def _build(
    args: argparse.Namespace, kind: str, settings: Settings, engine: Choice, parts: ExitStack
) -> tuple[Baseline, dict[str, Any]]:
    """The baseline, and how it is made, for result files."""
    tools = build_tools(settings, engine, parts)
    generator = build_generator(args.model, settings.models, tools.library) if args.model else None
    record = {
        "baseline": args.baseline,
        "engine": engine.name,
        "source": tools.source.name,
        "retrieval": tools.retrieval.name if tools.retrieval else None,
        "crawler": generator.name if generator else None,
        "selector": None,
        "search_papers": settings.agent.search_papers,
        "papers_asked": args.papers_asked if kind == "asked" else None,
        "temperature": settings.agent.temperature,
        "seed": settings.agent.seed,
        "undated": settings.agent.undated,
    }
    if kind == "asked":
        assert generator is not None  # _check
        asked = AskedBaseline(generator, tools.source, settings.agent, args.papers_asked, args.select_top)
        return asked, record
    top = args.select_top or 0
    return EngineBaseline(tools.engine, tools.source, settings.agent, generator, top), record


def _unfinished(queries: list[Query], folder: Path, overwrite: bool) -> list[tuple[int, Query]]:
    """The queries, with their places in the file, whose results are not in the folder yet."""
    return [(i, q) for i, q in enumerate(queries) if overwrite or not is_finished(folder / f"{i}.json", q)]


def _how_many(queries: list[Query], todo: list[tuple[int, Query]], folder: Path, record: dict[str, Any]) -> str:
    line = f"{len(queries)} queries"
    if finished := len(queries) - len(todo):
        left = {place for place, _ in todo}
        runs = [recorded_run(folder / f"{place}.json") for place in range(len(queries)) if place not in left]
        others = sum(any(run.get(name) != value for name, value in record.items()) for run in runs)
        line += f", {finished} finished before"
        line += f", {others} of them otherwise; --overwrite runs all again" if others else ""
    return line


def _run(
    baseline: Baseline,
    todo: list[tuple[int, Query]],
    batch_size: int,
    pool: ThreadPoolExecutor,
    folder: Path,
    record: dict[str, Any],
    tell: Any,
) -> int:
    """Runs the queries in order; one that fails is reported and costs only itself. The first failure's exit code."""
    failure: PasaError | None = None
    for start in range(0, len(todo), batch_size):
        for place, query, outcome in _answers(baseline, todo[start : start + batch_size], pool):
            if isinstance(outcome, PasaError):
                note(f"{place}: error: {outcome}")
                failure = failure or outcome
                continue
            write_json(folder / f"{place}.json", tree_json(outcome.result, record | outcome.record))
            stats = outcome.result.stats
            tell(f"{place}: {stats.papers_found} papers, {stats.seconds:.1f} s - {query.text[:60]}")
    if failure:
        note("some queries failed; the same command runs only these again")
        return failure.exit_code
    return 0


def _answers(
    baseline: Baseline, batch: list[tuple[int, Query]], pool: ThreadPoolExecutor
) -> Iterator[tuple[int, Query, Answer | PasaError]]:
    """Each query of a batch with its answer, in order. Raises UserErrors, which no other query escapes."""
    started = time.monotonic()
    try:
        replies = baseline.write([query for _, query in batch])
    except UserError:
        raise
    except PasaError as error:
        yield from ((place, query, error) for place, query in batch)
        return
    seconds_each = (time.monotonic() - started) / len(batch)
    jobs: list[Future[Answer]] = [
        pool.submit(baseline.find, query, reply) for (_, query), reply in zip(batch, replies, strict=True)
    ]
    for (place, query), job in zip(batch, jobs, strict=True):
        try:
            answer = job.result()
        except UserError:
            raise
        except PasaError as error:
            yield place, query, error
            continue
        answer.result.stats.seconds += seconds_each  # the model's time, shared by the batch
        yield place, query, answer


if __name__ == "__main__":
    sys.exit(main())

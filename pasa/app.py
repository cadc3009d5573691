"""The command line of run_paper_agent.py."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, get_args

from pasa.config import Settings, load_settings
from pasa.display import choose_progress, note, print_in_form, summary
from pasa.errors import ConfigError, PasaError, ToolError
from pasa.evaluation.datasets import DatasetFormat, read_dataset
from pasa.events import RunResult
from pasa.export.formats import FORMATS
from pasa.export.missing import told_of_missing
from pasa.export.run_view import of_result
from pasa.file_runs import Output, how_many, run_here, unfinished, usable_stdout
from pasa.query import Query, make_query, parse_date, parse_seeds
from pasa.result_folder import only_writer
from pasa.results import check_writable, slug, tree_json, write_json
from pasa.run_record import is_same, load, record_on, replay, save
from pasa.runtime import PaperAgent
from pasa.tape import Tape

if TYPE_CHECKING:
    from pasa.assembly import Assembly
    from pasa.tool_assembly import Choice

COMMAND = "pasa search"  # as pasa/cli.py starts it
SATURATED_AFTER = 100  # new papers: fewer than 3 % of those to come would be selected (budget.py)
INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it

_DESCRIPTION = """\
Finds research papers for a question: searches, reads what the found papers cite, scores everything, and ranks it.

  python run_paper_agent.py "which papers study UCB for non-stationary RL?"
  python run_paper_agent.py --input_file questions.jsonl --library data/library --output_folder results/rules
  SERPER_API_KEY=... python run_paper_agent.py "..." --crawler_path checkpoints/pasa-7b-crawler \\
      --selector_path checkpoints/pasa-7b-selector
  python run_paper_agent.py "what came after this?" --seed 2501.10120 --cited_by 20 --library data/library
  python run_paper_agent.py "..." --crawler_path openai:my-model --selector_path openai:my-model \\
      --api_base http://127.0.0.1:8000/v1
  python run_paper_agent.py --input_file questions.jsonl --library data/library --ray 10.0.0.5:6379

With no key, no library and no network it answers from the small demo library that ships, and says so.
"""
_EPILOG = """\
models (--crawler_path, --selector_path)
  auto           checkpoints/pasa-7b-crawler and -selector where they are, else rules
  rules          no language model: runs anywhere
  FOLDER or NAME a Hugging Face causal language model, or a LoRA adapter folder
  openai:MODEL   a model on the OpenAI-compatible server at --api_base (key: OPENAI_API_KEY)

engines (--engine)
  auto           Google if SERPER_API_KEY is set, else data/library, else arXiv where it can be reached, else demo
  serper         Google through serper.dev, papers and citations from arXiv (or from --library first)
  scholar        Google Scholar through serper.dev (the same key)
  arxiv          arXiv's own search
  openalex       OpenAlex; with what papers cite and who cites them (OPENALEX_API_KEY, free: openalex.org/settings/api)
  semantic_scholar   the same of Semantic Scholar, a request a second (SEMANTIC_SCHOLAR_API_KEY or S2_API_KEY, free:
                 semanticscholar.org/product/api; without one it often refuses)
  library        a library built by scripts/build_library.py: --library PATH (default data/library)
  demo           the demo library that ships
  serper,arxiv   several at once, as many as you like; their results are fused by reciprocal rank

environment (or a .env file)   SERPER_API_KEY, OPENALEX_API_KEY, SEMANTIC_SCHOLAR_API_KEY,
                               OPENAI_API_KEY, OPENAI_BASE_URL
many queries (--input_file)
  Results are DIR/0.json, 1.json, ...; the same command again runs only what is missing. Where a server answers, eight
  queries run at once (--queries_at_once; --api_concurrency requests of Crawler and Selector each). --ray spreads them
  over a Ray cluster (pip install -r requirements-ray.txt): every machine needs libraries and checkpoints under the same
  paths and must reach --api_base; results are written here, whatever machine goes down meanwhile.

exit codes   0 done (a budget that ended the run is said, not an error) · 2 something to mend in the call ·
             3 a search service failed · 4 a model failed · 130 interrupted
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: ") and not message.split(": ")[1].startswith("-"):
            raise ConfigError(f"{message}; put the question in quotes")
        raise ConfigError(f"{message}; --help lists what there is")


def build_parser() -> argparse.ArgumentParser:
    """The command line; upstream's flags keep their names and meaning. Dashes may stand for underscores."""
    parser = _Parser(
        prog=COMMAND if sys.argv[0] == COMMAND else "run_paper_agent.py",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("query", nargs="?", help="the question, in quotes")
    add(
        "--input_file",
        type=Path,
        metavar="FILE",
        help="JSON lines with `question` (upstream's form) instead of a query",
    )
    add(
        "--dataset_format",
        choices=get_args(DatasetFormat),
        default="auto",
        help="of the input file (default: auto, seen by its fields)",
    )
    add("--output_folder", metavar="DIR", default="results", help='result trees go here ("" = none; default: results)')
    add("--config", type=Path, metavar="FILE", help="settings as YAML, such as configs/agent_upstream.yaml")
    add(
        "--seed",
        dest="seeds",
        action="append",
        metavar="PAPER",
        help="start from this paper too: arXiv id, its URL, or exact title; repeatable (JSON lines: `seed`)",
    )
    models = parser.add_argument_group("models").add_argument
    models("--crawler_path", metavar="MODEL", help="writes queries, chooses sections (default: auto, see below)")
    models("--selector_path", metavar="MODEL", help="scores papers (default: auto, see below)")
    models("--second_selector_path", metavar="MODEL", help="reads the best 30 papers again (default: none)")
    models("--encoder", metavar="MODEL", help="reads papers for `rules`: all-MiniLM-L6-v2 (default) or pasa-minilm")
    models("--prompts", metavar="SET", help="pasa = the released checkpoints', chat = for general chat models (pasa)")
    models("--device", help="auto, cpu, cuda, cuda:1, mps ... (default: auto)")
    models("--dtype", help="auto, bfloat16, float16, float32 (default: auto)")
    models("--attention", help="auto, sdpa, flash_attention_2, eager (default: auto)")
    models("--batch_size", type=int, metavar="N", help="prompts the crawler answers at once (default: 8)")
    models("--api_base", metavar="URL", help="of an OpenAI-compatible server")
    models("--selector_api_base", metavar="URL", help="of the selector's, where it is another (--api_base)")
    models(
        "--api_concurrency", type=int, metavar="N", help="requests to it at once (8, or 4 a query that runs at once)"
    )
    sources = parser.add_argument_group("where papers come from").add_argument
    sources("--engine", metavar="ENGINE", help="one or several, such as serper,openalex (default: auto, see below)")
    sources(
        "--reference_sources",
        metavar="NAMES",
        help='who tells what papers without a page cite: openalex,semantic_scholar, "" = nobody (default: as --engine)',
    )
    sources("--library", metavar="PATH", help="a built library, JSON-lines file or library server: engine and source")
    sources("--retrieval", metavar="MODE", help="how a library is searched: auto, bm25, dense, hybrid (default: auto)")
    sources(
        "--end_date", metavar="DATE", help="no paper later than YYYY-MM-DD (JSON lines: published_time less a week)"
    )
    sources("--undated", metavar="drop|keep", help="papers without a date when there is an end date (default: drop)")
    sources(
        "--cache_dir", metavar="DIR", help='what was fetched and embedded is kept here ("" = not kept; default: auto)'
    )
    sources("--timeout_seconds", type=float, metavar="X", help="of one try of a web call (60)")
    sources("--retries", type=int, metavar="N", help="of a web call that failed (4)")
    for service in ("serper", "arxiv_api", "arxiv_html", "ar5iv", "openalex", "semantic_scholar"):
        sources(f"--{service}_base", metavar="URL", help=argparse.SUPPRESS)
    crawl = parser.add_argument_group("the crawl (defaults: the paper's, or those of the chosen config)").add_argument
    crawl("--expand_layers", type=int, metavar="N", help="layers of citations to follow (2)")
    crawl("--search_queries", type=int, metavar="N", help="search queries kept (5)")
    crawl("--search_papers", type=int, metavar="N", help="results per search query (10)")
    crawl("--expand_papers", type=int, metavar="N", help="papers expanded in each layer but the first (20)")
    crawl("--first_layer_expand_papers", type=int, metavar="N", help="papers expanded in the first layer (all)")
    crawl("--cited_by", type=int, metavar="N", help="papers citing it that are taken for each paper expanded (0)")
    crawl("--threads_num", type=int, metavar="N", help="web calls under way at once (20)")
    crawl("--select_threshold", type=float, metavar="X", help="a paper is selected above this score (0.5)")
    crawl("--temperature", type=float, metavar="X", help="of the crawler, 0 = greedy (0)")
    crawl("--top_p", type=float, metavar="X", help="of the crawler (1)")
    crawl("--sampling_seed", dest="seed", type=int, metavar="N", help="of the crawler's sampling (0)")
    crawl("--ensemble_runs", type=int, metavar="N", help="runs whose trees are united, the second on sampled (1)")
    crawl("--ensemble_temperature", type=float, metavar="X", help="of the sampled runs (2.0)")
    crawl("--ensemble_top_p", type=float, metavar="X", help="of the sampled runs (0.8)")
    budgets = parser.add_argument_group("budgets: reaching one ends the run cleanly").add_argument
    budgets("--max_papers_scored", type=int, metavar="N", help="papers scored per query")
    budgets("--max_model_calls", type=int, metavar="N", help="crawler replies and selector scores per query")
    budgets("--max_seconds", type=float, metavar="X", help="wall seconds per query")
    budgets(
        "--stop_when_saturated",
        action="store_const",
        const=SATURATED_AFTER,
        help=f"end after {SATURATED_AFTER} new papers in a row of which none was selected",
    )
    many = parser.add_argument_group("many queries (--input_file)").add_argument
    many(
        "--queries_at_once",
        type=int,
        metavar="N",
        help="queries that run side by side (default: 8 where a server answers, 1 for models in this process)",
    )
    many(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="run them on the Ray cluster at ADDRESS (default: the one that RAY_ADDRESS or Ray itself names)",
    )
    many(
        "--ray_workers", type=int, metavar="N", help="agents on the cluster (default: one a machine, or a GPU if used)"
    )
    shown = parser.add_argument_group("output").add_argument
    shown(
        "--format",
        choices=["table", "tree", *FORMATS],
        help="of stdout (default: table; with --input_file nothing); bibtex, ris, csl-json, markdown: selected papers",
    )
    shown("--top", type=int, default=20, metavar="N", help="papers listed in the table (20)")
    shown(
        "--record",
        type=Path,
        metavar="DIR",
        help="keep the run there: methods text, every decision, and all that --replay needs",
    )
    shown("--replay", type=Path, metavar="DIR", help="repeat a recorded run, without network or models")
    shown("--overwrite", action="store_true", help="run queries again whose results are in the output folder")
    shown("--quiet", "-q", action="store_true", help="no progress, no notes")
    shown("--verbose", "-v", action="store_true", help="every action and everything that was skipped")
    return parser


_NOT_SETTINGS = frozenset(
    {
        "query",
        "record",
        "replay",
        "seeds",
        "input_file",
        "dataset_format",
        "output_folder",
        "config",
        "end_date",
        "format",
        "top",
        "overwrite",
        "quiet",
        "ray",
        "ray_workers",
        "verbose",
    }
)


def run() -> NoReturn:
    """The process run_paper_agent.py: runs the command line and leaves at once.

    A thread that waits for a slow server would otherwise hold an interrupted process until the server answers.
    """
    sys.stdout = sys.stdout or _nowhere()  # None where the caller closed it
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # titles are in every script, terminals are not
    code = main()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; gives the exit code."""
    try:
        return _main(_with_underscores(sys.argv[1:] if argv is None else argv))
    except PasaError as error:
        note("error: " + f"{error}".rstrip(".") + "; --engine demo needs no network" * isinstance(error, ToolError))
        return error.exit_code
    except KeyboardInterrupt:
        note("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def _with_underscores(argv: Sequence[str]) -> list[str]:
    """The arguments with --long-flags spelled --long_flags."""
    words = list(argv)
    for at, word in enumerate(words):
        if word == "--":
            break
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            words[at] = "--" + flag[2:].replace("-", "_") + equals + value
    return words


def _main(argv: Sequence[str]) -> int:
    args = build_parser().parse_args(argv)
    queries = _queries(args) if args.replay is None else []
    given = load_settings(args.config, _flags(args))
    folder = Path(args.output_folder) if args.output_folder else None
    if args.top < 0:
        raise ConfigError("--top must be 0 or more")
    output = Output(
        folder,
        args.format or (None if args.input_file else "table"),
        args.top,
        args.quiet,
        args.verbose,
        args.overwrite,
    )
    if folder is not None:
        check_writable(folder)
    if args.replay is not None:
        return _replay(args, output)
    if not args.input_file:
        return _run_one(args, queries[0], output, given)
    with only_writer(folder) if folder is not None else nullcontext():
        return _run_file(args, queries, output, given)


def _run_file(args: argparse.Namespace, queries: list[Query], output: Output, given: Settings) -> int:
    """Runs what is not finished yet of an input file; the exit code."""
    from pasa.assembly import queries_at_once

    todo = unfinished(queries, output)
    settings, config, engine = _chosen(args, given)
    at_once = queries_at_once(settings.models)
    settings = replace(settings, models=replace(settings.models, queries_at_once=at_once))
    if not output.quiet:
        note(how_many(queries, len(todo), output, settings, at_once if args.ray is None else 1))
    if not todo:
        return 0
    if args.ray is not None:
        from pasa.ray_runs import run_on_ray

        return run_on_ray(args.ray or None, args.ray_workers, todo, output, settings, config, engine)
    with _assembled(output, [query for _, query in todo], settings, config, engine) as assembly:
        return run_here(assembly.agent, todo, output, assembly.record, at_once)


def _chosen(args: argparse.Namespace, given: Settings) -> tuple[Settings, Path, Choice]:
    """The settings to use, their configuration, and the engine."""
    from pasa.assembly import choose_settings

    return choose_settings(given, args.config, _flags(args))


def _assembled(output: Output, queries: Sequence[Query], settings: Settings, config: Path, engine: Choice) -> Assembly:
    """The agent; what it is made of is told."""
    from pasa.assembly import assemble

    tell = None if output.quiet else note
    if tell and "library" in engine.names and settings.agent.undated == "drop" and any(q.end_date for q in queries):
        tell("papers of the library with neither date nor arXiv id are left out (--undated keep keeps them)")
    return assemble(settings, tell, config, engine)


def _flags(args: argparse.Namespace) -> dict[str, Any]:
    """The flags that are settings."""
    return {name: value for name, value in vars(args).items() if name not in _NOT_SETTINGS}


def _queries(args: argparse.Namespace) -> list[Query]:
    if (args.query is None) == (args.input_file is None):
        raise ConfigError("give either a question or --input_file FILE; --help shows examples")
    if args.ray is not None and args.input_file is None:
        raise ConfigError("--ray runs the queries of an --input_file; leave it out for one question")
    if args.ray_workers is not None and (args.ray is None or args.ray_workers < 1):
        raise ConfigError("--ray_workers takes a number of agents, 1 or more, and goes with --ray")
    end_date = parse_date(args.end_date, "--end_date") if args.end_date is not None else None
    seeds = parse_seeds(args.seeds or (), "--seed")
    if args.record is not None and args.input_file:
        raise ConfigError("--record keeps one run; give a question instead of --input_file")
    if args.input_file and args.format in FORMATS.keys() - {"json", "jsonl"}:
        raise ConfigError(
            f"--format {args.format} is for one question; leave it out, and then for each result: "
            f"python -m pasa.export {args.output_folder or 'results'}/0.json --format {args.format}"
        )
    if args.input_file:
        return read_dataset(args.input_file, args.dataset_format, end_date, seeds)
    return [make_query(args.query, end_date, seeds)]


def _run_one(args: argparse.Namespace, query: Query, output: Output, given: Settings) -> int:
    settings, config, engine = _chosen(args, given)
    settings = replace(settings, models=replace(settings.models, queries_at_once=1))
    if args.record is not None:
        check_writable(args.record)
    with _assembled(output, [query], settings, config, engine) as assembly:
        if args.record is None:
            return _ask(assembly.agent, query, output, assembly.record)
        tape = Tape()
        record_on(tape, assembly.agent)
        keep = partial(save, args.record, made=assembly.record, settings=settings, tape=tape)
        return _ask(assembly.agent, query, output, assembly.record, keep)


def _replay(args: argparse.Namespace, output: Output) -> int:
    """Repeats a recorded run; the exit code."""
    if args.query is not None or args.input_file is not None or any(v is not None for v in _flags(args).values()):
        raise ConfigError("--replay repeats a run as it was recorded; leave out the question and its settings")
    recorded = load(args.replay)
    with choose_progress(sys.stderr, output.quiet, output.verbose) as progress:
        result = replay(recorded, progress.hear)
    same = is_same(tree_json(result, recorded.made), recorded.tree)
    code = _deliver(result, output, recorded.made)
    note(f"{args.replay}: " + ("the same tree as recorded" if same else "the tree differs from the recorded one"))
    return code if same else PasaError.exit_code


def _ask(
    agent: PaperAgent,
    query: Query,
    output: Output,
    record: dict[str, Any],
    keep: Callable[[RunResult], None] = lambda _: None,
) -> int:
    with choose_progress(sys.stderr, output.quiet, output.verbose) as progress, _first_ctrl_c_stops(agent):
        result = agent.run(query, progress.hear)
    try:
        return _deliver(result, output, record)
    finally:  # a reader of stdout that goes away does not cost the record
        keep(result)


def _deliver(result: RunResult, output: Output, record: dict[str, Any]) -> int:
    """Writes, shows and sums up a result; the exit code."""
    query = result.query
    path = output.folder / f"{slug(query.text)}.json" if output.folder is not None else None
    try:
        if path is not None:
            write_json(path, tree_json(result, record))
    finally:  # a full disk does not cost the answer, nor a reader that goes away the file
        _print_result(result, output, record)
    if not output.quiet:
        note(summary(result.stats))
        if result.stats.papers_selected and (estimated := told_of_missing(of_result(result, record))):
            note(estimated)
        if output.form in FORMATS and not FORMATS[output.form].takes_all and not result.stats.papers_selected:
            note(
                f"no paper was selected, so the {output.form} is empty; --format csv or html holds all that were found"
            )
        if path is not None:
            note(f"result tree: {path}")
    return INTERRUPTED if result.stats.budget_reached == "stopped" else 0


def _print_result(result: RunResult, output: Output, record: dict[str, Any]) -> None:
    with usable_stdout():
        print_in_form(result, output.form, output.top, record, sys.stdout, output.asked().unicode)
        sys.stdout.flush()


@contextmanager
def _first_ctrl_c_stops(agent: PaperAgent) -> Iterator[None]:
    """The first Ctrl-C ends the run and keeps what was found; a second one interrupts at once."""

    def on_interrupt(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if not agent.stop():  # nothing has begun, so there is nothing to keep
            raise KeyboardInterrupt
        note("stopping; Ctrl-C again to give up")

    try:
        before = signal.signal(signal.SIGINT, on_interrupt)
    except ValueError:  # not the main thread: Ctrl-C is somebody else's
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

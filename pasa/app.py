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
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from pasa.app_flags import build_parser, settings_in
from pasa.config import Settings, load_settings
from pasa.display import choose_progress, note, print_in_form, summary
from pasa.errors import ConfigError, PasaError, ToolError
from pasa.evaluation.datasets import read_dataset
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

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it


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
    given = load_settings(args.config, settings_in(args))
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

    return choose_settings(given, args.config, settings_in(args))


def _assembled(output: Output, queries: Sequence[Query], settings: Settings, config: Path, engine: Choice) -> Assembly:
    """The agent; what it is made of is told."""
    from pasa.assembly import assemble

    tell = None if output.quiet else note
    if tell and "library" in engine.names and settings.agent.undated == "drop" and any(q.end_date for q in queries):
        tell("papers of the library with neither date nor arXiv id are left out (--undated keep keeps them)")
    return assemble(settings, tell, config, engine)


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
    if args.query is not None or args.input_file is not None or any(v is not None for v in settings_in(args).values()):
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

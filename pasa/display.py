"""What a person sees of a run: live progress, the ranked list, and the closing line."""

from __future__ import annotations

import json
import re
import sys
import time
import unicodedata
from collections.abc import Callable
from typing import Any, Protocol, Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pasa.events import (
    ActionsTaken,
    Event,
    LayerDone,
    LayerStarted,
    PaperScored,
    PapersFound,
    Problem,
    RunDone,
    RunResult,
    RunStats,
)
from pasa.export.evidence import evidence
from pasa.export.formats import export, ranking_rows
from pasa.export.run_view import of_result
from pasa.result_tree import RankedPaper
from pasa.results import describe_path, stats_json, tree_json

# Plain lines are written at most this often, so that a log stays readable.
PLAIN_LINE_SECONDS = 5.0
LIST_WIDTH = 100
FAILURES_SHOWN = 4  # kinds of them in a summary
_FAILURE = re.compile(r": failed\b|^(search|look-up|cited by): ")
# Unicode's control characters, line ends and lone surrogates; the last cannot be written as UTF-8.
_COMMANDS = frozenset({"Cc", "Zl", "Zp", "Cs"})


class Counters:
    """Totals read off the event stream, for a view that is drawn while the run goes."""

    def __init__(self) -> None:
        self.layer = "starting"
        self.found = self.scored = self.selected = self.replies = 0
        self.started = time.monotonic()

    def hear(self, event: Event) -> None:
        match event:
            case LayerStarted(layer=0, run=run):
                self.layer = "search" + _run_name(run)
            case LayerStarted(layer=layer, papers=papers, run=run):
                self.layer = f"expand layer {layer} ({papers} papers)" + _run_name(run)
            case PapersFound(count=count):
                self.found += count
            case PaperScored(selected=selected):
                self.scored += 1
                self.selected += selected
            case ActionsTaken():
                self.replies += 1
            case _:
                pass

    def line(self) -> str:
        seconds = time.monotonic() - self.started
        return (
            f"{self.layer} · {self.found} found · {self.scored} scored, {self.selected} selected so far · "
            f"{self.replies} crawler replies · {seconds:.0f} s"
        )


def _run_name(run: int) -> str:
    return f", ensemble run {run + 1}" if run else ""


class Progress(Protocol):
    """Hears a run's events and shows them on stderr."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...
    def hear(self, event: Event) -> None: ...


class Quiet:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def hear(self, event: Event) -> None:
        """Nothing to show."""


class LiveLine:
    """One line that is drawn anew, on a terminal; with `verbose` actions and problems scroll by above it."""

    def __init__(self, console: Console, verbose: bool) -> None:
        self._counters = Counters()
        self._verbose = verbose
        self._console = console
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def hear(self, event: Event) -> None:
        self._counters.hear(event)
        if self._verbose and (line := verbose_line(event)):
            self._console.print(Text(line, style="dim"))

    def _render(self) -> Text:
        return Text(self._counters.line(), style="cyan", no_wrap=True, overflow="ellipsis")


class PlainLines:
    """A line at each layer and every few seconds, for logs and pipes."""

    def __init__(
        self, write: Callable[[str], object], verbose: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._counters = Counters()
        self._verbose = verbose
        self._write = write
        self._clock = clock
        self._last = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def hear(self, event: Event) -> None:
        self._counters.hear(event)
        if self._verbose and (line := verbose_line(event)):
            self._write(line)
        now = self._clock()
        if isinstance(event, LayerDone) or now - self._last >= PLAIN_LINE_SECONDS:
            self._last = now
            self._write(self._counters.line())


class _Console(Console):
    """One that leaves a reader that went away to the caller; rich would end the process with an error."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def choose_progress(stream: TextIO, quiet: bool, verbose: bool) -> Progress:
    """Live progress on a terminal, plain lines elsewhere, nothing when quiet."""
    if quiet:
        return Quiet()
    if stream.isatty():
        return LiveLine(_Console(file=stream), verbose)
    return PlainLines(lambda line: print(line, file=stream, flush=True), verbose)


def verbose_line(event: Event) -> str | None:
    """What `--verbose` says of an event."""
    match event:
        case ActionsTaken(layer=0, arguments=arguments):
            return printable("search: " + "; ".join(arguments))
        case ActionsTaken(title=title, arguments=arguments):
            return printable(f"expand {title}: " + ("; ".join(arguments) or "(no section)"))
        case Problem(reason=reason, detail=detail):
            return printable(f"! {reason}: {detail}")
        case RunDone(result=result):
            return "\n".join(f"! {reason}: {n}" for reason, n in result.stats.problems.most_common()) or None
        case _:
            return None


def print_in_form(
    result: RunResult, form: str | None, top: int, record: dict[str, Any], stream: TextIO, unicode: bool
) -> None:
    """Prints a result as `--format` has it, None nothing; `record`: how the agent is made, for the tree."""

    def print_json(content: Any, indent: int | None = None) -> None:
        print(json.dumps(content, indent=indent, ensure_ascii=not unicode), file=stream)

    match form:
        case "json":
            run = of_result(result, record)
            print_json({"query": run.question, "papers": ranking_rows(run), "run": stats_json(result.stats)}, indent=2)
        case "jsonl":
            for paper in ranking_rows(of_result(result, record)):
                print_json({"query": result.query.text, **paper})
        case "tree":
            print_json(tree_json(result, record))
        case "table":
            print_ranking(result, top, stream)
        case None:
            pass
        case _:
            stream.write(export(of_result(result, record), form))


def print_ranking(result: RunResult, top: int, stream: TextIO) -> None:
    """The ranked papers, two or three lines each: score, date and title; link; how it was found."""
    console = _Console(file=stream, width=None if stream.isatty() else LIST_WIDTH, highlight=False, soft_wrap=True)
    if not result.papers:
        console.print("No paper was found." + _why_nothing(result.stats))
        return
    if top == 0:
        console.print(f"{len(result.papers)} papers were found; --top {len(result.papers)} lists them.")
        return
    if not result.papers[0].selected:
        console.print("No paper was selected (score above the threshold); the best ones found:\n")
    told = evidence(of_result(result, {}), result.papers[:top])
    for paper in result.papers[:top]:
        if not paper.selected and paper.rank > 1 and result.papers[paper.rank - 2].selected:
            console.print("\nNot selected, in order of score:", style="dim")
        _print_paper(console, paper, told[paper.paper.key] if paper.selected else "")
    if len(result.papers) > top:
        console.print(f"\n... and {len(result.papers) - top} more; --top {len(result.papers)} lists all.", style="dim")


def _print_paper(console: Console, paper: RankedPaper, told: str) -> None:
    head = Text.assemble(
        (f"{paper.rank:>3}  ", "dim"),
        (f"{paper.score:.2f}  ", "bold green" if paper.selected else "yellow"),
        (f"{(paper.paper.date or '?')[:7]:<7}  ", "dim"),
        (printable(paper.paper.title), "bold"),
    )
    console.print(head)
    indent = " " * 20
    if paper.paper.url:
        console.print(Text(f"{indent}{paper.paper.url}", style="blue"))
    for line in (describe_path(paper.path), told, paper.reason):
        if line:
            console.print(Text(f"{indent}{printable(line)}", style="dim"))


def _why_nothing(stats: RunStats) -> str:
    if stats.budget_reached == "stopped":
        return " The run was stopped before one was scored."
    if stats.budget_reached:
        return f" The budget --max_{stats.budget_reached} ended the run before one was scored."
    if not stats.problems:
        return " Try other words, or another engine (--engine)."
    return " What was skipped: " + ", ".join(f"{reason} ({n})" for reason, n in stats.problems.most_common(5))


def summary(stats: RunStats) -> str:
    """One line about a finished run."""
    line = (
        f"{stats.papers_found} papers found, {stats.papers_selected} selected; {stats.searches} searches, "
        f"{stats.papers_expanded} papers expanded, {stats.model_calls} model calls, {stats.seconds:.1f} s"
    )
    if stats.budget_reached == "stopped":
        line += "; stopped early, these are the papers found so far"
    elif stats.budget_reached == "saturated":
        line += "; ended when nothing new was selected any more (--stop_when_saturated)"
    elif stats.budget_reached:
        line += f"; ended early by the budget --max_{stats.budget_reached}"
    return line + _failures(stats)


def _failures(stats: RunStats) -> str:
    """What failed, by kind and service, most often first; "" if nothing did."""
    failures = [f"{reason} ({n})" for reason, n in stats.problems.most_common() if _FAILURE.search(reason)]
    more = f" and {len(failures) - FAILURES_SHOWN} kinds more (--verbose)" if len(failures) > FAILURES_SHOWN else ""
    return f"; what failed: {', '.join(failures[:FAILURES_SHOWN])}{more}" if failures else ""


def note(text: str) -> None:
    """A line to the person, on stderr."""
    print(printable(text), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """The text on one line, blanks for control characters: titles from the web must not command a terminal."""
    return "".join(" " if unicodedata.category(c) in _COMMANDS else c for c in text)

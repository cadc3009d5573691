"""What a person sees of a run: counts while it goes, ranked papers, the closing line."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from rich.console import Console

from pasa.display import (
    LiveLine,
    PlainLines,
    Quiet,
    choose_progress,
    describe_path,
    note,
    print_ranking,
    printable,
    summary,
    verbose_line,
)
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
from pasa.paper import Paper
from pasa.query import Query
from pasa.result_tree import Node, rank

HOSTILE = "Safe\x1b]0;owned\x07 Title\r\nof\u2028a Paper\x9b31m \ud800"
A_LAYER: list[Event] = [
    LayerStarted(1, 4),
    PapersFound(3, "Introduction"),
    PaperScored(Paper("A"), 0.9, True),
    PaperScored(Paper("B"), 0.1, False),
    ActionsTaken(1, "A", ("Introduction",)),
    LayerDone(1, 2),
]


def result_of(
    *scored: tuple[Paper, float], problems: Counter[str] | None = None, budget_reached: str | None = None
) -> RunResult:
    root = Node(Paper("a question"), children={"words": [Node(p, 0, "Search", score) for p, score in scored]})
    stats = RunStats(problems=problems or Counter(), budget_reached=budget_reached)
    return RunResult(Query("a question"), root, rank(root, 0.5), [], stats)


def table(result: RunResult, top: int = 20) -> str:
    out = io.StringIO()
    print_ranking(result, top, out)
    return out.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# -- progress ----------------------------------------------------------------------------------------------------------


def test_progress_is_live_on_a_terminal_plain_in_a_pipe_and_silent_when_quiet() -> None:
    assert isinstance(choose_progress(Terminal(), quiet=False, verbose=False), LiveLine)
    assert isinstance(choose_progress(io.StringIO(), quiet=False, verbose=False), PlainLines)
    assert isinstance(choose_progress(Terminal(), quiet=True, verbose=True), Quiet)


def test_the_live_line_shows_layer_found_scored_selected_calls_and_seconds() -> None:
    out = Terminal()
    console = Console(file=out, force_terminal=True, width=120)
    with LiveLine(console, verbose=False) as live:
        for event in A_LAYER:
            live.hear(event)
        live._live.refresh()
    assert (
        "expand layer 1 (4 papers) · 3 found · 2 scored, 1 selected so far · 1 crawler replies · 0 s" in out.getvalue()
    )


def test_plain_lines_come_at_each_layer_s_end_and_every_few_seconds() -> None:
    now = [100.0]
    lines: list[str] = []
    plain = PlainLines(lines.append, verbose=False, clock=lambda: now[0])
    for event in A_LAYER[:-1]:
        plain.hear(event)
    assert lines == []
    now[0] += 6.0
    plain.hear(A_LAYER[1])
    plain.hear(A_LAYER[1])
    assert [line.split(" · ")[1] for line in lines] == ["6 found"]
    plain.hear(A_LAYER[-1])
    assert [line.split(" · ")[1] for line in lines] == ["6 found", "9 found"]


def test_an_ensemble_says_which_run_it_is() -> None:
    lines: list[str] = []
    plain = PlainLines(lines.append, verbose=False)
    plain.hear(LayerStarted(0, 0, run=1))
    plain.hear(LayerDone(0, 0, run=1))
    assert lines[0].startswith("search, ensemble run 2 · ")


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (ActionsTaken(0, "", ("one", "two")), "search: one; two"),
        (ActionsTaken(1, "A Paper", ("Intro",)), "expand A Paper: Intro"),
        (ActionsTaken(1, "A Paper", ()), "expand A Paper: (no section)"),
        (Problem("page: failed", "A: HTTP 500"), "! page: failed: A: HTTP 500"),
        (PapersFound(3, "x"), None),
        (RunDone(result_of()), None),
        (RunDone(result_of(problems=Counter({"a": 1, "b": 2}))), "! b: 2\n! a: 1"),
    ],
)
def test_verbose_tells_actions_and_what_was_skipped(event: Event, line: str | None) -> None:
    assert verbose_line(event) == line


# -- the table ---------------------------------------------------------------------------------------------------------


def test_a_paper_is_rank_score_month_title_link_and_path() -> None:
    paper = Paper("Título: [Search] über 智能体", arxiv_id="2301.00001", date="2023-01-02")
    assert table(result_of((paper, 0.876))).splitlines() == [
        "  1  0.88  2023-01  Título: [Search] über 智能体",
        "                    https://arxiv.org/abs/2301.00001",
        '                    search "words"',
    ]


def test_a_paper_without_id_and_date_is_shown_too() -> None:
    assert table(result_of((Paper("Untold"), 0.9))).splitlines()[0] == "  1  0.90  ?        Untold"


def test_selected_papers_stand_apart_from_the_rest() -> None:
    out = table(result_of((Paper("In"), 0.6), (Paper("Out"), 0.5)))
    assert out.index("In") < out.index("Not selected, in order of score:") < out.index("Out")
    assert "Not selected" not in table(result_of((Paper("In"), 0.6)))
    assert table(result_of((Paper("Out"), 0.4))).startswith("No paper was selected")


@pytest.mark.parametrize(
    ("top", "shown", "rest"),
    [(2, 2, "1 more; --top 3 lists"), (0, 0, "3 papers were found; --top 3 lists"), (3, 3, "")],
)
def test_the_table_holds_the_top_and_says_how_many_are_left(top: int, shown: int, rest: str) -> None:
    out = table(result_of((Paper("A"), 0.9), (Paper("B"), 0.8), (Paper("C"), 0.7)), top)
    assert out.count('search "words"') == shown
    assert rest in out
    assert ("--top" in out) == bool(rest)
    assert "No paper was found" not in out


def test_nothing_found_says_why_or_what_to_do() -> None:
    assert "--engine" in table(result_of())
    assert "page: failed (2)" in table(result_of(problems=Counter({"page: failed": 2})))
    assert "--max_papers_scored" in table(result_of(budget_reached="papers_scored"))
    assert "stopped" in table(result_of(budget_reached="stopped"))


def test_a_long_title_is_not_cut_in_a_pipe() -> None:
    title = "word " * 60 + "end"
    assert title in table(result_of((Paper(title), 0.9)))


def test_a_path_goes_from_the_search_over_the_citing_papers() -> None:
    assert describe_path(("q", "A", "Intro", "B", "Related Work")) == (
        'search "q" > cited by A in Intro > cited by B in Related Work'
    )
    assert describe_path(()) == ""


def test_a_path_may_start_at_a_seed_and_go_to_who_cites_a_paper() -> None:
    path = ("[Seed] 2501.10120", "PaSa", "Cited by", "B", "Related Work")
    assert describe_path(path[:1]) == "seed 2501.10120"
    assert describe_path(path) == "seed 2501.10120 > cites PaSa > cited by B in Related Work"


# -- hostile text ------------------------------------------------------------------------------------------------------


def test_text_from_the_web_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    note(HOSTILE)
    shown = [
        table(result_of((Paper(HOSTILE), 0.9))).splitlines()[0],
        verbose_line(Problem("page: failed", HOSTILE)),
        verbose_line(ActionsTaken(1, HOSTILE, (HOSTILE,))),
        capsys.readouterr().err.removesuffix("\n"),
    ]
    for line in shown:
        assert line is not None
        assert line.isprintable()
        assert line.encode()
    assert printable("naïve β 智能体") == "naïve β 智能体"


# -- the closing line --------------------------------------------------------------------------------------------------


def test_the_summary_counts_and_says_why_a_run_ended_early() -> None:
    stats = RunStats(papers_found=7, papers_selected=2, searches=3, papers_expanded=1, crawler_calls=2, seconds=1.26)
    stats.selector_calls = 5
    line = "7 papers found, 2 selected; 3 searches, 1 papers expanded, 7 model calls, 1.3 s"
    assert summary(stats) == line
    stats.budget_reached = "papers_scored"
    assert summary(stats) == f"{line}; ended early by the budget --max_papers_scored"
    stats.budget_reached = "stopped"
    assert summary(stats).startswith(f"{line}; stopped early")

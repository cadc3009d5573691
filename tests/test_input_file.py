"""Many queries from a file: one result file a query, and what is left to do after a crash, Ctrl-C or failure."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pasa import query_runs
from tests.agent_world import DEEP, FOUND, TOOL, ModelServer, nodes, read_tree, start, without_times, write_jsonl
from tests.agent_world import QUESTION as Q
from tests.models.openai_server import error_answer

QUESTIONS = [f"{word} question on tools for agents" for word in ("first", "second", "third")]
PATIENCE_SECONDS = 60.0  # of a test for another process; only a failing test waits so long
SOON_SECONDS = 15.0  # a process that was interrupted must be gone by then, though a server keeps it waiting


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "q.jsonl", [{"question": q, "answer": [TOOL], "qid": q[:5]} for q in QUESTIONS])


@pytest.fixture
def run_file(cli: Any, questions: Path, world_library: Path, model_server: ModelServer) -> Any:
    """Runs the questions into the folder D with more flags."""
    flags = ["--input_file", questions, "--library", world_library, "--output_folder", "D", *model_server.flags]
    return lambda *more: cli(*flags, *more)


def titles_in(folder: Path) -> dict[str, str]:
    return {p.name: read_tree(p)["title"] for p in sorted(folder.iterdir())}


ALL = {f"{n}.json": question for n, question in enumerate(QUESTIONS)}


# -- in this process ---------------------------------------------------------------------------------------------------


def test_each_query_s_tree_has_its_number_in_input_order(run_file: Any, tmp_path: Path) -> None:
    outcome = run_file()
    assert (outcome.code, outcome.out) == (0, "")
    assert titles_in(tmp_path / "D") == ALL
    tree = read_tree(tmp_path / "D" / "1.json")
    assert set(nodes(tree)) == FOUND
    extra = tree["extra"]
    assert extra["answer"] == [TOOL]
    assert extra["qid"] == "secon"
    assert set(extra["crawler_recall_papers"]) == set(extra["recall_papers"]) == FOUND
    assert {"2301.00001", "2101.00005"} <= set(extra["touch_ids"])
    assert "0: 6 papers found, 6 selected" in outcome.err


def test_finished_queries_are_not_run_again(run_file: Any, model_server: ModelServer, tmp_path: Path) -> None:
    run_file()
    (tmp_path / "D" / "1.json").unlink()
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "D").iterdir()}
    model_server.requests.clear()
    outcome = run_file()
    assert "3 queries, 2 finished before" in outcome.err
    assert model_server.queries == [QUESTIONS[1]]
    assert titles_in(tmp_path / "D") == ALL
    assert all((tmp_path / "D" / name).stat().st_mtime_ns == time for name, time in before.items())
    model_server.requests.clear()
    assert run_file().code == 0
    assert model_server.requests == []


def test_results_of_other_settings_are_kept_and_told_of(run_file: Any, model_server: ModelServer) -> None:
    run_file()
    assert "under other settings" not in run_file().err
    model_server.requests.clear()
    outcome = run_file("--search_papers", "3")
    assert "3 finished before, 3 of them under other settings; --overwrite runs all again" in outcome.err
    assert model_server.requests == []
    assert "under other settings" not in run_file("--search_papers", "3", "--overwrite").err


def test_a_result_from_before_a_setting_came_is_not_of_other_settings(run_file: Any, tmp_path: Path) -> None:
    run_file()
    for path in (tmp_path / "D").glob("[0-9]*.json"):
        tree = json.loads(path.read_text())
        del tree["extra"]["run"]["settings"]["reasons"]
        path.write_text(json.dumps(tree, indent=2))
    assert "under other settings" not in run_file().err


def test_a_cut_off_result_is_run_again(run_file: Any, model_server: ModelServer, tmp_path: Path) -> None:
    run_file()
    path = tmp_path / "D" / "2.json"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    model_server.requests.clear()
    assert run_file().code == 0
    assert model_server.queries == [QUESTIONS[2]]
    assert read_tree(path)["title"] == QUESTIONS[2]


def test_another_question_s_results_are_refused_and_kept(run_file: Any, questions: Path, tmp_path: Path) -> None:
    run_file()
    write_jsonl(questions, [{"question": q} for q in reversed(QUESTIONS)])
    assert run_file("--quiet").is_error(2, "0.json", "another question", "--overwrite")
    assert titles_in(tmp_path / "D") == ALL
    assert run_file("--overwrite", "--quiet").code == 0
    assert titles_in(tmp_path / "D") == {f"{n}.json": q for n, q in enumerate(reversed(QUESTIONS))}


def test_a_query_that_fails_costs_itself_and_only_it_is_run_again(
    run_file: Any, questions: Path, model_server: ModelServer, tmp_path: Path
) -> None:
    write_jsonl(questions, [{"question": q} for q in (QUESTIONS[0], "refuse this", QUESTIONS[2])])
    outcome = run_file("--quiet")
    assert outcome.code == 4
    assert [line for line in outcome.err.splitlines() if line.startswith("1: error: ")]
    assert "Traceback" not in outcome.err
    assert sorted(os.listdir(tmp_path / "D")) == ["0.json", "2.json"]
    model_server.requests.clear()
    assert run_file().code == 4
    assert set(model_server.queries) == {"refuse this"}


def test_results_on_stdout_come_query_by_query(run_file: Any) -> None:
    lines = [json.loads(line) for line in run_file("--format", "jsonl").out.splitlines()]
    assert [line["query"] for line in lines] == [q for q in QUESTIONS for _ in FOUND]


def test_a_question_s_own_date_holds_and_a_flag_replaces_it(run_file: Any, questions: Path, tmp_path: Path) -> None:
    row = {
        "question": Q,
        "source_meta": {"published_time": "20230110"},
    }  # TOOL came out eight days before, SURVEY after
    write_jsonl(questions, [row])
    run_file("--quiet")
    assert set(nodes(read_tree(tmp_path / "D" / "0.json"))) & {"A Survey of Agents with Tools", TOOL} == {TOOL}
    run_file("--quiet", "--overwrite", "--end_date", "2030-01-01")
    assert set(nodes(read_tree(tmp_path / "D" / "0.json"))) == FOUND


def test_half_of_a_surrogate_pair_in_a_question_is_no_other_question(
    run_file: Any, questions: Path, tmp_path: Path
) -> None:
    questions.write_text('{"question": "tools \\ud83d for agents"}\n')
    assert run_file().code == 0
    assert "1 finished before" in run_file().err


def test_side_by_side_gives_the_trees_of_one_by_one(run_file: Any, questions: Path, tmp_path: Path) -> None:
    many = [f"{n} question on tools for agents" for n in range(7)]
    write_jsonl(questions, [{"question": q, "qid": q[:2]} for q in [*many, many[0]]])  # one is asked twice
    texts = {}
    for at_once in (1, 4, 32):
        folder = tmp_path / "D"
        outcome = run_file("--queries_at_once", at_once, "--overwrite", "--format", "jsonl")
        assert outcome.code == 0
        trees = [without_times(read_tree(folder / f"{n}.json")) for n in range(8)]
        texts[at_once] = (trees, outcome.out)
    assert texts[1] == texts[4] == texts[32]
    assert len(set(texts[1][0])) == 7


def test_a_query_that_fails_among_others_costs_itself(
    run_file: Any, questions: Path, model_server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its model refuses or the program has a mistake."""
    write_jsonl(questions, [{"question": q} for q in (QUESTIONS[0], "trip over this", "refuse this", QUESTIONS[2])])
    in_form = query_runs.in_form

    def trip(place: int, result: Any, *more: Any) -> Any:
        return in_form(place, None if result.query.text.startswith("trip") else result, *more)

    monkeypatch.setattr(query_runs, "in_form", trip)
    outcome = run_file("--quiet", "--queries_at_once", 4)
    assert outcome.code == 1  # of the first that failed
    assert "1: error: AttributeError: " in outcome.err
    assert "2: error: " in outcome.err
    assert sorted(os.listdir(tmp_path / "D")) == ["0.json", "3.json"]


def test_a_refused_key_ends_the_run_of_all_queries(run_file: Any, model_server: ModelServer) -> None:
    model_server.script = lambda path, body: error_answer(401, "no")
    assert run_file("--quiet", "--queries_at_once", 3).is_error(2, "refused the API key")


# -- as a process ------------------------------------------------------------------------------------------------------


class Gate:
    """Holds a model server's answers to one query until opened; `reached` is set by the first that waits."""

    def __init__(self, kind: str, query: str) -> None:
        self._held = kind, query
        self.reached, self._open = threading.Event(), threading.Event()

    def __call__(self, kind: str, query: str) -> None:
        if (kind, query) == self._held:
            self.reached.set()
            self._open.wait(PATIENCE_SECONDS)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def started(tmp_path: Path, world_library: Path) -> Iterator[Any]:
    """Starts processes on the world: `started(server, *flags)`; none outlives the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def run(server: ModelServer, *args: Any, **popen: Any) -> subprocess.Popen[bytes]:
        flags = [str(arg) for arg in (*args, "--library", world_library, *server.flags)]
        processes.append(start(flags, tmp_path, **popen))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_or_interrupted_run_goes_on_where_it_was(
    started: Any, questions: Path, tmp_path: Path, ending: signal.Signals
) -> None:
    gate = Gate("select", QUESTIONS[1])
    with ModelServer(gate) as server:
        process = started(server, "--input_file", questions, "--output_folder", "D", "--queries_at_once", 1)
        assert gate.reached.wait(PATIENCE_SECONDS)
        process.send_signal(ending)
        _, err = process.communicate(timeout=SOON_SECONDS)  # the gate is still closed
        assert process.returncode == (-9 if ending == signal.SIGKILL else 130)
        assert b"Traceback" not in err
        assert titles_in(tmp_path / "D") == {"0.json": QUESTIONS[0]}
        gate.open()
        server.requests.clear()
        process = started(server, "--input_file", questions, "--output_folder", "D")
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, err
        assert sorted(server.queries) == sorted(QUESTIONS[1:])  # side by side
    assert titles_in(tmp_path / "D") == ALL


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_of_queries_side_by_side_only_those_that_ended_are_kept(
    started: Any, questions: Path, tmp_path: Path, ending: signal.Signals
) -> None:
    gate = Gate("expand", QUESTIONS[1])
    with ModelServer(gate) as server:
        process = started(server, "--input_file", questions, "--output_folder", "D", "--queries_at_once", 3)
        wait_for(lambda: {"0.json", "2.json"} <= set(os.listdir(tmp_path / "D")))
        assert gate.reached.is_set()
        second = started(server, "--input_file", questions, "--output_folder", "D")
        out, err = second.communicate(timeout=PATIENCE_SECONDS)
        assert (second.returncode, out, err.count(b"\n")) == (2, b"", 1), err
        assert b"another run is writing into D" in err
        process.send_signal(ending)
        _, err = process.communicate(timeout=SOON_SECONDS)  # the gate is still closed
        assert process.returncode == (-9 if ending == signal.SIGKILL else 130)
        assert b"Traceback" not in err
        assert titles_in(tmp_path / "D") == {"0.json": QUESTIONS[0], "2.json": QUESTIONS[2]}
        (tmp_path / "D" / ".1.json.x1y2z3.tmp").write_text('{"title": "cut o')  # as a kill while writing leaves it
        gate.open()
        server.requests.clear()
        process = started(server, "--input_file", questions, "--output_folder", "D")
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, err
        assert server.queries == QUESTIONS[1:2]
    assert titles_in(tmp_path / "D") == ALL


def wait_for(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not _or_missing(is_so):
        assert time.monotonic() < until
        time.sleep(0.02)


def _or_missing(is_so: Callable[[], bool]) -> bool:
    try:
        return is_so()
    except FileNotFoundError:
        return False


def test_ctrl_c_prints_what_was_found_so_far(started: Any, tmp_path: Path) -> None:
    gate = Gate("expand", Q)
    with ModelServer(gate) as server:
        process = started(server, Q, "--output_folder", "D")
        assert gate.reached.wait(PATIENCE_SECONDS)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SOON_SECONDS)
        gate.open()
    assert process.returncode == 130
    assert TOOL in out.decode()
    assert DEEP not in out.decode()
    assert b"stopping; Ctrl-C again to give up" in err
    assert b"these are the papers found so far" in err
    assert b"Traceback" not in err
    [path] = (tmp_path / "D").iterdir()
    assert TOOL in nodes(read_tree(path))


def test_seconds_that_are_over_end_the_process_though_a_model_hangs(started: Any) -> None:
    gate = Gate("expand", Q)
    with ModelServer(gate) as server:
        process = started(server, Q, "--output_folder", "", "--max_seconds", "1.5")
        out, err = process.communicate(timeout=PATIENCE_SECONDS / 2)
        gate.open()
    assert process.returncode == 0
    assert b"ended early by the budget --max_seconds" in err
    assert TOOL in out.decode()


@pytest.mark.parametrize("form", ["table", "jsonl"])
def test_a_reader_that_goes_away_is_no_error_and_the_tree_is_kept(started: Any, tmp_path: Path, form: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with ModelServer() as server:
        process = started(server, Q, "--output_folder", "D", "--format", form, stdout=writing)
        os.close(writing)
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    assert b"Traceback" not in err
    assert b"BrokenPipe" not in err
    [path] = (tmp_path / "D").iterdir()
    assert set(nodes(read_tree(path))) == FOUND


def test_a_full_disk_under_stdout_is_one_line_and_the_tree_is_kept(started: Any, tmp_path: Path) -> None:
    with ModelServer() as server, open("/dev/full", "wb") as full:
        process = started(server, Q, "--output_folder", "D", "--quiet", stdout=full)
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, err.count(b"\n"), err[:13]) == (2, 1, b"error: cannot"), err
    [path] = (tmp_path / "D").iterdir()
    assert set(nodes(read_tree(path))) == FOUND


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_stdout_that_knows_no_unicode_is_written_all_the_same(started: Any, form: str) -> None:
    with ModelServer() as server:
        environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
        asked = os.fsencode(Q) + b" \xff"
        process = started(server, os.fsdecode(asked), "--format", form, environment=environment)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, err
    assert out.isascii()
    if form == "json":
        assert "Zürich Notes: ein Überblick" in [p["title"] for p in json.loads(out)["papers"]]


def test_on_a_terminal_progress_is_one_line_drawn_anew(started: Any) -> None:
    main, terminal = pty.openpty()
    with ModelServer() as server:
        process = started(server, Q, "--output_folder", "", stderr=terminal, environment={"TERM": "xterm"})
        os.close(terminal)
        shown = b"".join(iter(lambda: _read(main), b"")).decode()
        out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    os.close(main)
    assert process.returncode == 0
    assert TOOL in out.decode()
    assert "found · " in shown
    assert "selected so far · " in shown
    assert "\x1b[2K" in shown  # the line is wiped
    assert "6 papers found, 6 selected" in shown


def test_on_a_terminal_queries_side_by_side_share_one_line(started: Any, questions: Path) -> None:
    main, terminal = pty.openpty()
    gate = Gate("expand", QUESTIONS[1])
    with ModelServer(gate) as server:
        flags = ["--input_file", questions, "--output_folder", "", "--queries_at_once", 3, "--format", "jsonl"]
        process = started(server, *flags, stderr=terminal, environment={"TERM": "xterm", "COLUMNS": "120"})
        os.close(terminal)
        shown = b""
        while b"2 of 3 done, 1 under way" not in shown:
            more = _read(main)
            assert more, shown
            shown += more
        gate.open()
        shown += b"".join(iter(lambda: _read(main), b""))
        out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    os.close(main)
    assert process.returncode == 0
    assert [json.loads(line)["query"] for line in out.splitlines()] == [q for q in QUESTIONS for _ in FOUND]
    assert b"\x1b[2K" in shown  # the line is wiped
    assert all(f"{n}: 6 papers found" in shown.decode() for n in range(3))


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 65536)
    except OSError:  # the other side closed the terminal
        return b""

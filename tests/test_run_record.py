"""A recorded run: what it says of itself, and that it gives the same tree without network and models."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pasa.errors import ModelError, RefusedError, ResponseError, ServiceError, ToolError
from pasa.models.base import Reply, Score
from pasa.paper import Paper, Reference, Section
from pasa.tape import NotRecordedError, Tape
from pasa.tape_codec import from_error, from_paper, from_reply, from_score, to_error, to_paper, to_reply, to_score
from tests.agent_world import DEEP, END_DATE, FOUND, QUESTION, SECRET, TOOL, ModelServer, papers, service_flags
from tests.services import FakeServices, Fault


@pytest.fixture
def recorded(cli: Any, world_library: Path, tmp_path: Path) -> Any:
    """Records QUESTION's run with the flags; gives the outcome. The model server is gone afterwards."""

    def run(*flags: Any) -> Any:
        with ModelServer() as server:
            return cli(QUESTION, "--library", world_library, *server.flags, *flags, "--record", tmp_path / "kept")

    return run


@pytest.fixture
def replayed(cli: Any, tmp_path: Path) -> Any:
    """Replays it; gives the outcome."""

    def run(*flags: Any) -> Any:
        return cli("--replay", tmp_path / "kept", "--format", "tree", *flags)

    return run


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--end_date", END_DATE),
        ("--seed", DEEP),
        ("--cited_by", 3),
        ("--max_model_calls", 6),
        ("--ensemble_runs", 2),
        ("--reasons", 2),
    ],
    ids=lambda flags: " ".join(map(str, flags)) or "plain",
)
def test_a_replay_gives_the_same_tree_without_models(recorded: Any, replayed: Any, tmp_path: Path, flags: Any) -> None:
    assert recorded(*flags).code == 0
    outcome = replayed()
    assert outcome.code == 0, outcome.err
    assert "the same tree as recorded" in outcome.err
    tree, before = json.loads(outcome.out), json.loads((tmp_path / "kept" / "result.json").read_text())
    for one in (tree, before):
        one["extra"]["run"].pop("seconds"), one["extra"]["run"].pop("started")
    assert tree == before


@pytest.fixture
def services() -> Iterator[FakeServices]:
    with FakeServices(papers(), serper_key=SECRET) as fake:
        yield fake


def test_a_live_run_with_failures_is_replayed_with_them(
    cli: Any, services: FakeServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replayed: Any
) -> None:
    monkeypatch.setenv("SERPER_API_KEY", SECRET)
    services.script(
        "serper", Fault.status(503), Fault.status(503), Fault.status(503)
    )  # one search fails, one is repeated
    services.script("arxiv_html", Fault.garbage(b""), Fault.status(404))
    with ModelServer() as server:
        flags = [*service_flags(services, tmp_path), *server.flags, "--record", tmp_path / "kept"]
        assert cli(QUESTION, *flags).code == 0
    monkeypatch.delenv("SERPER_API_KEY")
    services.__exit__()
    outcome = replayed()
    assert outcome.code == 0, outcome.err
    problems = json.loads(outcome.out)["extra"]["run"]["problems"]
    assert any(reason.startswith("search: failed") for reason in problems), problems
    assert any(reason.startswith("asked again: ") for reason in problems), problems
    assert not any(SECRET in path.read_text(errors="replace") for path in (tmp_path / "kept").iterdir())


def test_a_replay_tells_what_each_engine_found_as_the_run_did(
    cli: Any, services: FakeServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replayed: Any
) -> None:
    monkeypatch.setenv("SERPER_API_KEY", SECRET)
    with ModelServer() as server:
        flags = [*service_flags(services, tmp_path), *server.flags, "--record", tmp_path / "kept"]
        assert cli(QUESTION, *flags, "--engine", "serper,arxiv").code == 0
    before = json.loads((tmp_path / "kept" / "result.json").read_text())["extra"]["ways"]
    assert set(before["taken"][0]["by_engine"]) == {"arxiv", "serper"}
    assert "identified through search queries in serper | " in (tmp_path / "kept" / "methods.md").read_text()
    assert json.loads(replayed().out)["extra"]["ways"] == before


def test_a_score_comes_off_the_tape_with_its_tokens_and_why_it_was_given() -> None:
    for given in (Score(0.7, 30, 2, 0.001, "it trains on search"), Score(0.7, reason="fits"), Score(0.7, 30, 2, 0.001)):
        again = to_score(json.loads(json.dumps(from_score(given))))
        assert isinstance(again, Score)
        assert (again, vars(again)) == (given, vars(given))
    assert to_score([0.7, 30, 2, 0.001]) == 0.7  # a tape that knew of no reasons


def test_the_methods_text_tells_what_a_methods_section_needs(recorded: Any, tmp_path: Path) -> None:
    recorded("--end_date", END_DATE)
    text = (tmp_path / "kept" / "methods.md").read_text()
    started = json.loads((tmp_path / "kept" / "result.json").read_text())["extra"]["run"]["started"][:10]
    for words in (
        f"| tools agents | 1 | {started} | 2 | 2 |",
        f"No paper later than {END_DATE}",
        "| identified through search queries | 4 |",
        "| identified through reference lists of papers read | 3 |",
        "| dropped before: published after the end date | 1 |",
        "| duplicates removed | 2 |",
        "| **selected** | 5 |",
        "8 papers (3 with full text)",
        "- Software: pasa 0.1.0",
        "| select\\_threshold | 0.5 |",
        "openai:m",
    ):
        assert words in text, (words, text)


def test_every_paper_s_decision_is_in_the_table(recorded: Any, tmp_path: Path) -> None:
    recorded("--select_threshold", "0.75")
    with (tmp_path / "kept" / "decisions.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["title"]: row for row in csv.DictReader(file)}
    assert rows.keys() == FOUND
    assert (rows[TOOL]["decision"], rows[TOOL]["times_found"]) == ("selected", "2")
    assert rows[TOOL]["ways"] == "search: tools agents | search: agents survey"
    assert {row["decision"] for row in rows.values()} == {"selected", "excluded"}


def test_what_is_not_on_the_tape_is_named(recorded: Any, replayed: Any, tmp_path: Path) -> None:
    recorded()
    record = tmp_path / "kept" / "record.json"
    kept = json.loads(record.read_text())
    kept["settings"]["agent"]["search_papers"] = 3
    record.write_text(json.dumps(kept))
    assert replayed("-q").is_error(2, 'does not hold the answer to: search ["tools agents", 3, null]', "that version")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda kept: kept["query"].update(text="another?"), ["does not hold the answer to: reply"]),
        (lambda kept: kept.update(format=0), ["format 0"]),
        (lambda kept: kept.update(ended_by="seconds"), ["--max_seconds", "--max_model_calls"]),
        (lambda kept: kept.pop("query"), ["cannot be read", "--record"]),
    ],
)
def test_a_record_that_cannot_be_replayed_says_so(
    recorded: Any, replayed: Any, tmp_path: Path, damage: Any, words: list[str]
) -> None:
    recorded()
    record = tmp_path / "kept" / "record.json"
    kept = json.loads(record.read_text())
    damage(kept)
    record.write_text(json.dumps(kept))
    assert replayed("-q").is_error(2, *words)


def test_a_replay_takes_no_question_and_no_settings(cli: Any, tmp_path: Path) -> None:
    for more in ([QUESTION], ["--expand_layers", 1]):
        assert cli("--replay", tmp_path, *more).is_error(2, "--replay", "leave out")
    assert cli("--replay", tmp_path / "missing").is_error(2, "no record of a run", "--record DIR")
    (tmp_path / "q.jsonl").write_text('{"question": "q"}')
    assert cli("--input_file", tmp_path / "q.jsonl", "--record", tmp_path / "kept").is_error(
        2, "--record keeps one run"
    )


def test_a_tape_answers_in_order_and_refuses_what_it_lacks() -> None:
    tape = Tape()
    for answer in (1, 2):
        tape.write("search", ["q", 3], answer)
    again = Tape.from_lines(tape.lines())
    assert [again.read("search", ["q", 3]) for _ in range(3)] == [1, 2, 2]
    with pytest.raises(NotRecordedError, match="q"):
        again.read("search", ["q", 4])


def test_what_goes_on_a_tape_comes_back_as_it_was() -> None:
    reference = Reference("R", "2301.00001", "10/x", "A", "2020", "V", "raw", ("http://a",))
    for paper in (None, Paper("T"), Paper("T", "A", "2301.00001", "2023", ("B",), (), "S"), Paper("", sections=None)):
        assert to_paper(json.loads(json.dumps(from_paper(paper)))) == paper
    whole = Paper("T", sections=(Section("I", (reference, Reference("X"))),))
    assert to_paper(json.loads(json.dumps(from_paper(whole)))) == whole
    for reply in (Reply(""), Reply("x", "length", (1, 2), (3,), 2, 1, 0.5)):
        assert to_reply(json.loads(json.dumps(from_reply(reply)))) == reply
    scores = [to_score(from_score(score)) for score in (0.25, Score(0.5, 3, 1, 0.1))]
    assert scores == [0.25, 0.5]
    assert scores[1].prompt_tokens == 3  # type: ignore[union-attr]
    cause = ServiceError("inner", 503, service="h", kind="HTTP 503")
    for error in (
        ToolError("m", service="s", kind="k"),
        RefusedError("m", 403),
        ResponseError("m", service="s"),
        ModelError("m"),
        cause,
    ):
        back = to_error(from_error(error))
        assert (type(back), str(back), getattr(back, "reason", "")) == (
            type(error),
            str(error),
            getattr(error, "reason", ""),
        )

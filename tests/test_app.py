"""The command line: a mistake is one line that says what to do, stdout holds results only, secrets stay inside."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pasa import app
from tests.agent_world import (
    BELIEF,
    DEEP,
    END_DATE,
    FOUND,
    LATE,
    MODEL_SECRET,
    QUESTION,
    SCORES,
    TOOL,
    ZURICH,
    ModelServer,
    nodes,
    read_tree,
    service_flags,
    write_jsonl,
)
from tests.services import FakeServices

RULES = ("--crawler_path", "rules", "--selector_path", "rules")


# -- mistakes ----------------------------------------------------------------------------------------------------------

WITH_FILE = ("--input_file", "q.jsonl")
MISTAKES = {
    "nothing asked": ([], "question", "--input_file"),
    "empty query": (["   "], "query is empty"),
    "query and file": (["q", *WITH_FILE], "either a question or --input_file"),
    "two queries": (["two", "words"], "words", "in quotes"),
    "unknown flag": (["q", "--no_such_flag", "1"], "--no_such_flag", "--help"),
    "abbreviated flag": (["q", "--out", "x"], "--out", "--help"),
    "flag without value": (["q", "--engine"], "--engine", "--help"),
    "unknown engine": (["q", "--engine", "bing"], "'bing'", "serper, scholar, arxiv, openalex"),
    "unknown reference source": (["q", "--reference_sources", "arxiv"], "'arxiv'", "openalex, semantic_scholar"),
    "openalex without key": (["q", "--engine", "openalex"], "OPENALEX_API_KEY", "free", "--engine arxiv"),
    "references without key": (["q", "--reference_sources", "openalex"], "OPENALEX_API_KEY", "free"),
    "unknown dtype": (["q", "--dtype", "int3"], "'int3'", "bfloat16"),
    "unknown attention": (["q", "--attention", "none"], "'none'", "sdpa"),
    "unknown undated": (["q", "--undated", "maybe"], "'maybe'", "drop, keep"),
    "unknown format": (["q", "--format", "xml"], "xml", "table"),
    "number that is none": (["q", "--search_papers", "ten"], "--search_papers", "'ten'"),
    "fraction for a count": (["q", "--search_papers", "2.5"], "--search_papers", "2.5"),
    "negative layers": (["q", "--expand_layers", "-1"], "expand_layers", "at least 0"),
    "no queries": (["q", "--search_queries", "0"], "search_queries", "at least 1"),
    "negative budget": (["q", "--max_papers_scored", "-5"], "max_papers_scored", "at least 0"),
    "negative seconds": (["q", "--max_seconds", "-0.1"], "max_seconds", "at least 0"),
    "seconds that are no number": (["q", "--max_seconds", "nan"], "max_seconds", "at least 0"),
    "negative retries": (["q", "--retries", "-1"], "retries", "at least 0"),
    "no time at all": (["q", "--timeout_seconds", "0"], "timeout_seconds", "above 0"),
    "no threads": (["q", "--threads_num", "0"], "threads_num", "at least 1"),
    "negative top": (["q", "--top", "-1"], "--top"),
    "probability above one": (["q", "--select_threshold", "1.5"], "select_threshold", "at most 1"),
    "server without a scheme": (["q", "--api_base", "localhost:8000"], "api_base", "'localhost:8000'", "a URL"),
    "service that is no URL": (["q", "--serper_base", "foo"], "serper_base", "'foo'", "a URL"),
    "impossible date": (["q", "--end_date", "2023-02-30"], "--end_date", "'2023-02-30'", "YYYY-MM-DD"),
    "date in words": (["q", "--end_date", "last week"], "--end_date", "YYYY-MM-DD"),
    "empty date": (["q", "--end_date", ""], "--end_date", "YYYY-MM-DD"),
    "no such file": (["--input_file", "none.jsonl"], "none.jsonl", "No such file"),
    "folder as file": (["--input_file", "folder"], "folder", "cannot read"),
    "binary file": (["--input_file", "binary.jsonl"], "binary.jsonl", "UTF-8"),
    "empty file": (["--input_file", "empty.jsonl"], "empty.jsonl", "no query"),
    "line that is not JSON": (["--input_file", "broken.jsonl"], "broken.jsonl:2", "not JSON"),
    "line without question": (["--input_file", "no_question.jsonl"], "no_question.jsonl:3", "`question`"),
    "answer that is a text": (["--input_file", "answer.jsonl"], "answer.jsonl:1", "`answer`"),
    "published_time that is no date": (["--input_file", "published.jsonl"], "published.jsonl:2", "published_time"),
    "no such config": (["q", "--config", "none.yaml"], "none.yaml", "No such file"),
    "config that is not YAML": (["q", "--config", "garbage.yaml"], "garbage.yaml", "not YAML"),
    "config without groups": (["q", "--config", "flat.yaml"], "flat.yaml", "agent:"),
    "config with an unknown setting": (["q", "--config", "typo.yaml"], "expand_layer", "did you mean 'expand_layers'"),
    "config with an unknown group": (["q", "--config", "group.yaml"], "group.yaml", "'agents'", "agent, models, tools"),
    "config with a wrong type": (["q", "--config", "type.yaml"], "expand_layers", "'two'", "a whole number"),
    "serper without key": (["q", "--engine", "serper"], "SERPER_API_KEY", "serper.dev", "--engine arxiv"),
    "demo and library": (["q", "--engine", "demo", "--library", "L"], "--engine demo", "--library"),
    "missing library": (["q", "--library", "nowhere"], "nowhere"),
    "file that is no library": (["q", "--library", "binary.dat"], "binary.dat"),
    "library file without papers": (["q", "--library", "empty.jsonl"], "empty.jsonl"),
    "broken library": (["q", "--library", "broken_library"], "broken_library"),
    "missing crawler": (["q", "--engine", "demo", "--crawler_path", "./no/model"], "no/model"),
    "empty crawler folder": (["q", "--engine", "demo", "--crawler_path", "folder"], "folder"),
    "missing selector": (["q", "--engine", "demo", *RULES[:2], "--selector_path", "./no/model"], "no/model"),
    "server without model": (["q", "--engine", "demo", "--crawler_path", "openai:"], "openai:"),
    "file as output folder": (["q", "--engine", "demo", "--output_folder", "empty.jsonl"], "choose another folder"),
    "folder in a file": (["q", "--engine", "demo", "--output_folder", "empty.jsonl/x"], "choose another folder"),
}  # fmt: skip


@pytest.fixture
def mistaken_files(tmp_path: Path) -> None:
    """The files that MISTAKES name."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary.jsonl").write_bytes(b'{"question": "\xff\xfe"}\n')
    (tmp_path / "binary.dat").write_bytes(bytes(range(256)))
    (tmp_path / "empty.jsonl").write_text("\n\n")
    (tmp_path / "broken.jsonl").write_text('{"question": "a"}\n{"question": "b"\n')
    (tmp_path / "no_question.jsonl").write_text('{"question": "a"}\n\n{"query": "b"}\n')
    (tmp_path / "q.jsonl").write_text('{"question": "a"}\n')
    write_jsonl(tmp_path / "answer.jsonl", [{"question": "a", "answer": "One Title"}])
    published = [{"question": q, "source_meta": {"published_time": t}} for q, t in (("a", "20240101"), ("b", "soon"))]
    write_jsonl(tmp_path / "published.jsonl", published)
    (tmp_path / "garbage.yaml").write_text("agent: [1,\n  {")
    (tmp_path / "flat.yaml").write_text("expand_layers: 2\n")
    (tmp_path / "typo.yaml").write_text("agent:\n  expand_layer: 2\n")
    (tmp_path / "group.yaml").write_text("agents:\n  expand_layers: 2\n")
    (tmp_path / "type.yaml").write_text("agent:\n  expand_layers: two\n")
    (tmp_path / "broken_library").mkdir()
    (tmp_path / "broken_library" / "CURRENT").write_text("nothing of this kind")


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.usefixtures("mistaken_files")
def test_a_mistake_is_one_line_that_names_it(cli: Any, mistake: str) -> None:
    args, *words = MISTAKES[mistake]
    outcome = cli(*args, "--quiet")
    assert outcome.is_error(2, *words), outcome.err


@pytest.mark.usefixtures("mistaken_files")
def test_an_error_is_the_last_line_after_the_notes(cli: Any) -> None:
    outcome = cli("q", "--engine", "demo", "--crawler_path", "./no/model")
    lines = outcome.err.splitlines()
    assert [line[:7] == "error: " for line in lines] == [False] * (len(lines) - 1) + [True]


def test_an_error_about_something_with_line_breaks_is_one_line(cli: Any) -> None:
    assert cli("q", "--library", "two\nlines\x1b[31m").is_error(2, "two", "lines")


def test_a_mistake_leaves_no_output_folder_behind(cli: Any, tmp_path: Path) -> None:
    cli("q", "--engine", "bing")
    cli("  ")
    assert not (tmp_path / "results").exists()


def test_dashes_stand_for_underscores_but_not_behind_two_dashes(
    cli: Any, world_library: Path, model_server: ModelServer
) -> None:
    flags = [flag.replace("_", "-") if flag.startswith("--") else flag for flag in model_server.flags]
    flags += ["--library", str(world_library)]
    assert cli("--output-folder=", "--expand-layers=0", *flags, "--", "--a-b").code == 0
    assert model_server.queries == ["--a-b"]


def test_help_names_every_flag_that_is_not_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        app.main(["--help"])
    shown = capsys.readouterr().out
    assert leaving.value.code == 0
    assert "SERPER_API_KEY" in shown
    upstream = "crawler_path selector_path output_folder expand_layers search_queries search_papers expand_papers"
    for flag in [*upstream.split(), "input_file", "threads_num", "end_date", "max_seconds", "format"]:
        assert f"--{flag}" in shown
    assert "--serper_base" not in shown


# -- services and models that refuse -----------------------------------------------------------------------------------


@pytest.fixture
def live(tmp_path: Path, model_server: ModelServer) -> Any:
    """Flags of a run on fake services: `live(services)`."""
    return lambda services: [*service_flags(services, tmp_path), *model_server.flags]


def test_a_refused_key_is_an_error_of_the_service(cli: Any, live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERPER_API_KEY", "not-the-key")
    with FakeServices([], serper_key="another") as services:
        outcome = cli(QUESTION, "--engine", "serper", "--quiet", *live(services))
        assert outcome.is_error(3, "refused the key", "SERPER_API_KEY")
        assert len(services.requests_to("serper")) == 2  # one a query: asking again does not help


@pytest.mark.parametrize("key", ["   ", "schlüssel"])
def test_a_key_that_cannot_be_one_is_refused_before_it_is_sent(
    cli: Any, live: Any, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("SERPER_API_KEY", key)
    with FakeServices([]) as services:
        outcome = cli(QUESTION, "--engine", "serper", "--quiet", *live(services))
        assert outcome.code in (2, 3)
        assert outcome.is_error(outcome.code, "SERPER_API_KEY")
        assert not services.received


def test_a_model_that_refuses_is_an_error_of_the_model(
    cli: Any, world_library: Path, model_server: ModelServer
) -> None:
    outcome = cli("refuse this", "--library", world_library, "--quiet", *model_server.flags)
    assert outcome.is_error(4, "I will not")


# -- stdout and stderr -------------------------------------------------------------------------------------------------


@pytest.fixture
def ask(cli: Any, world_library: Path, model_server: ModelServer) -> Any:
    """Runs QUESTION on the world with more flags."""
    return lambda *more: cli(QUESTION, "--library", world_library, *model_server.flags, *more)


def test_json_on_stdout_is_one_document_with_the_ranking(ask: Any) -> None:
    outcome = ask("--format", "json")
    shown = json.loads(outcome.out)
    assert outcome.code == 0
    assert shown["query"] == QUESTION
    assert [p["title"] for p in shown["papers"]] == sorted(FOUND, key=lambda t: -SCORES[t])
    assert [p["rank"] for p in shown["papers"]] == list(range(1, 7))
    assert shown["run"]["papers_found"] == 6
    deep = shown["papers"][0]
    assert deep["path"] == ["tools agents", TOOL, "Introduction", ZURICH, "Introduction"]
    assert (deep["arxiv_id"], deep["url"]) == ("2101.00005", "https://arxiv.org/abs/2101.00005")
    assert (deep["date"], deep["depth"], deep["selected"]) == ("2021-01-06", 2, True)
    assert deep["score"] == pytest.approx(SCORES[DEEP])


def test_the_best_selected_papers_have_the_selector_s_reason(ask: Any) -> None:
    outcome = ask("--format", "json", "--reasons", "3")
    papers = json.loads(outcome.out)["papers"]
    assert [paper["title"] for paper in papers[:3]] == [DEEP, TOOL, LATE]
    assert [paper.get("reason") for paper in papers[:4]] == [f"{DEEP} does.", f"{TOOL} does.", None, None]
    assert json.loads(outcome.out)["run"]["problems"]["selector: no reason"] == 1


def test_a_selector_that_cannot_say_why_is_not_asked(cli: Any) -> None:
    assert cli("agents?", "--engine", "demo", "--reasons", "1", "--quiet").is_error(2, "--reasons", "rules")


def test_jsonl_on_stdout_is_a_paper_a_line(ask: Any) -> None:
    lines = [json.loads(line) for line in ask("--format", "jsonl").out.splitlines()]
    assert {line["title"] for line in lines} == FOUND
    assert {line["query"] for line in lines} == {QUESTION}


def test_tree_on_stdout_is_what_is_written(ask: Any, tmp_path: Path) -> None:
    outcome = ask("--format", "tree", "--output_folder", "out")
    [written] = (tmp_path / "out").iterdir()
    assert json.loads(outcome.out) == read_tree(written)
    assert written.name == "which-papers-study-tools-for-language-agents.json"


def test_the_table_shows_titles_as_they_are_with_links_and_paths(ask: Any) -> None:
    out = ask().out
    assert f"0.80  2022-01  {ZURICH}\n" in out
    assert f"0.60  2022-02  {BELIEF}\n" in out
    assert "https://arxiv.org/abs/2201.00003\n" in out
    assert f'search "tools agents" > cited by {TOOL} in Introduction\n' in out


def test_quiet_says_nothing_but_the_result(ask: Any) -> None:
    assert ask("--quiet").err == ""
    assert DEEP in ask("--quiet").out


def test_without_an_output_folder_no_file_is_written(ask: Any, tmp_path: Path) -> None:
    assert ask("--output_folder", "").code == 0
    assert list(tmp_path.iterdir()) == []


def test_piped_progress_is_plain_lines(ask: Any) -> None:
    outcome = ask("--verbose")
    assert outcome.err.isprintable() or all(line.isprintable() for line in outcome.err.split("\n"))
    assert "expand layer 2 (" in outcome.err
    assert " found · " in outcome.err
    assert "search: tools agents; agents survey" in outcome.err
    assert f"expand {TOOL}: Introduction; Related Work" in outcome.err
    assert "! reference: not found: 1" in outcome.err


def test_what_was_chosen_is_said_and_kept(ask: Any, tmp_path: Path, world_library: Path) -> None:
    said = ask("--output_folder", "out").err
    assert f"engine: library ({world_library})" in said
    assert "crawler: m at http://127.0.0.1:" in said
    [path] = (tmp_path / "out").iterdir()
    run = read_tree(path)["extra"]["run"]
    assert (run["crawler"], run["selector"], run["config"]) == ("m", "m", "agent.yaml")


def test_neither_output_nor_tree_holds_a_secret(ask: Any, tmp_path: Path, shared_cache: Path) -> None:
    outcome = ask("--verbose", "--format", "tree")
    assert MODEL_SECRET not in outcome.out + outcome.err
    files = [p for folder in (tmp_path, shared_cache) for p in folder.rglob("*") if p.is_file()]
    assert files
    assert not [p for p in files if MODEL_SECRET.encode() in p.read_bytes()]


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "value", "kept"),
    [("--max_papers_scored", 3, 3), ("--max_model_calls", 4, None), ("--max_seconds", 0, 0)],
)
def test_a_budget_that_ends_a_run_is_said_and_no_error(ask: Any, flag: str, value: int, kept: int | None) -> None:
    outcome = ask(flag, value, "--format", "json")
    assert outcome.code == 0
    assert f"ended early by the budget {flag}" in outcome.err
    run = json.loads(outcome.out)["run"]
    assert f"--max_{run['budget_reached']}" == flag
    if kept is not None:
        assert run["papers_found"] == kept
    else:
        assert run["crawler_calls"] + run["selector_calls"] <= value


def test_an_end_date_holds_for_search_and_expansion(ask: Any) -> None:
    shown = json.loads(ask("--end_date", END_DATE, "--format", "json").out)
    assert {p["title"] for p in shown["papers"]} == FOUND - {LATE}
    assert shown["run"]["problems"]["end date: after_end_date"] == 1


def test_layers_and_a_config_file_give_way_to_flags(ask: Any, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("agent:\n  expand_layers: 1\n")
    by_file = json.loads(ask("--config", "c.yaml", "--format", "json").out)
    by_flag = json.loads(ask("--config", "c.yaml", "--expand_layers", "0", "--format", "json").out)
    assert {p["title"] for p in by_file["papers"]} == FOUND - {DEEP}
    assert {p["depth"] for p in by_flag["papers"]} == {0}


# -- without a language model ------------------------------------------------------------------------------------------


def test_rules_answer_from_the_demo_library_and_say_how_to_go_live(cli: Any, tmp_path: Path) -> None:
    question = "Which papers study upper confidence bounds for non-stationary bandits?"
    flags = ["--engine", "demo", *RULES, "--search_papers", "5", "--expand_layers", "0"]
    outcome = cli(question, *flags, "--format", "json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["papers"][0]["arxiv_id"] == "0805.3415"
    assert "engine: demo (as asked)" in outcome.err
    assert "SERPER_API_KEY" in outcome.err
    assert "--library" in outcome.err
    [path] = (tmp_path / "results").iterdir()
    assert read_tree(path)["extra"]["run"]["config"] == "agent.yaml"
    assert len(nodes(read_tree(path))) >= 1


def test_papers_that_an_end_date_leaves_out_unseen_are_told_of(ask: Any) -> None:
    told = "neither date nor arXiv id"
    assert told in ask("--end_date", END_DATE).err
    assert told not in ask("--end_date", END_DATE, "--undated", "keep").err
    assert told not in ask().err


def test_an_ensemble_of_rules_is_said_to_be_of_no_use(cli: Any) -> None:
    flags = [QUESTION, "--engine", "demo", *RULES, "--expand_layers", "0"]
    assert "--ensemble_runs is for language models" in cli(*flags, "--ensemble_runs", "2").err
    assert "--ensemble_runs" not in cli(*flags).err


def test_a_service_that_fails_is_an_error_with_a_way_out(cli: Any) -> None:
    nobody = "http://127.0.0.1:1/api/query"
    flags = [QUESTION, "--engine", "arxiv", *RULES, "--arxiv_api_base", nobody, "--retries", "0", "--quiet"]
    assert cli(*flags).is_error(3, "--engine demo")


# -- the environment ---------------------------------------------------------------------------------------------------


def test_keys_may_stand_in_an_env_file(cli: Any, live: Any, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SERPER_API_KEY=from-a-file\n")
    with FakeServices([], serper_key="from-a-file") as services:
        outcome = cli(QUESTION, "--engine", "serper", "--quiet", *live(services))
        assert (outcome.code, os.environ["SERPER_API_KEY"]) == (0, "from-a-file")
        assert "No paper was found" in outcome.out


def test_an_env_file_that_cannot_be_read_is_a_mistake_like_others(cli: Any, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"SERPER_API_KEY=\xff\xfe\n")
    assert cli("q", "--engine", "demo", "--quiet").is_error(2, ".env", "NAME=value")

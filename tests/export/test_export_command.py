"""Exports by command line: of a run, and of a saved result."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from pybtex.database import parse_string

from pasa.errors import ConfigError
from pasa.evaluation.trees import read_tree
from pasa.events import RunResult, RunStats
from pasa.export.command import main
from pasa.export.formats import FORMATS, export
from pasa.export.run_view import of_result, of_tree
from pasa.query import Query
from pasa.result_tree import rank
from pasa.results import tree_json, write_json
from tests.agent_world import QUESTION, ROOT, ModelServer, Outcome
from tests.export.runs import a_run


def a_result() -> RunResult:
    run = a_run()
    return RunResult(Query(run.question), run.root, rank(run.root, 0.5), [], RunStats(4, 4, 3, seconds=1.5))


RECORD = {"engine": "arxiv", "settings": {"select_threshold": 0.5}}


@pytest.mark.parametrize("form", FORMATS)
def test_a_saved_result_exports_as_the_run_did(form: str, tmp_path: Path) -> None:
    before = export(of_result(a_result(), RECORD), form)
    write_json(tmp_path / "0.json", tree_json(a_result(), RECORD))
    assert export(of_tree(read_tree(tmp_path / "0.json")), form) == before


def test_what_a_user_ticked_is_exported_in_order_of_rank() -> None:
    run = a_run()
    text = export(run, "bibtex", run.chosen([3, 1, 99]))
    assert list(parse_string(text, "bibtex").entries) == ["vanbeethoven2025alpha", "theatlascollaboration1999poincare"]


def test_a_tree_of_upstream_s_is_exported_with_what_it_has(tmp_path: Path) -> None:
    tree = tree_json(a_result(), {})
    for added in ("papers", "run"):
        del tree["extra"][added]
    run = of_tree(tree)
    assert [ranked.selected for ranked in run.papers] == [True, True, True, False]
    assert not any(ranked.paper.authors for ranked in run.papers)
    assert all(export(run, form) for form in FORMATS)


def test_a_format_there_is_not_is_named() -> None:
    with pytest.raises(ConfigError, match="no format 'pdf'; it may be json"):
        export(a_run(), "pdf")


def test_the_command_writes_stdout_or_a_file(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    result = tmp_path / "0.json"
    write_json(result, tree_json(a_result(), RECORD))
    assert main([str(result), "--format", "csv", "--papers", "2"]) == 0
    assert len(list(csv.reader(io.StringIO(capfdbinary.readouterr().out.decode())))) == 1 + 2
    assert main([str(result), "--format", "ris", "--papers", "all", "--output", str(tmp_path / "a.ris")]) == 0
    assert (tmp_path / "a.ris").read_text(encoding="utf-8").count("TY  - ") == 4
    for wrong in (["--papers", "some"], ["--format", "pdf"], ["--output", str(tmp_path / "0.json" / "x")]):
        assert main([str(result), *wrong]) == 2
        assert capfdbinary.readouterr().err.count(b"\n") == 1
    assert main([str(tmp_path / "missing.json")]) == 2


def test_a_run_is_exported_on_stdout_and_progress_goes_to_stderr(
    cli: Callable[..., Outcome], model_server: ModelServer, world_library: Path
) -> None:
    outcome = cli(QUESTION, "--library", world_library, *model_server.flags, "--format", "bibtex")
    assert outcome.code == 0
    assert len(parse_string(outcome.out, "bibtex").entries) == 6
    assert "papers found" in outcome.err
    [saved] = Path("results").glob("*.json")
    done = subprocess.run(
        [sys.executable, "-m", "pasa.export", str(saved.resolve()), "--format", "bibtex"], cwd=ROOT, capture_output=True
    )
    assert done.stdout.decode() == outcome.out


def test_formats_for_one_question_say_so_for_a_file(cli: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(json.dumps({"question": "q"}))
    outcome = cli("--input_file", "q.jsonl", "--format", "html")
    assert outcome.is_error(2, "--format html is for one question", "python -m pasa.export results/0.json")


def test_that_nothing_was_selected_is_said(
    cli: Callable[..., Outcome], model_server: ModelServer, world_library: Path
) -> None:
    flags = [QUESTION, "--library", world_library, *model_server.flags, "--select_threshold", "1", "--format"]
    outcome = cli(*flags, "ris")
    assert outcome.out == ""
    assert "no paper was selected" in outcome.err
    assert "no paper was selected" not in cli(*flags, "csv").err


def test_that_a_saved_result_has_nothing_selected_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = a_run()
    none = RunResult(Query(run.question), run.root, rank(run.root, 1.0), [], RunStats(4, 4, 0, seconds=1.5))
    write_json(tmp_path / "0.json", tree_json(none, {"engine": "arxiv", "settings": {"select_threshold": 1.0}}))
    assert main([str(tmp_path / "0.json"), "--format", "bibtex"]) == 0
    done = capsys.readouterr()
    assert (done.out.strip(), "--papers all" in done.err) == ("", True)
    assert main([str(tmp_path / "0.json"), "--format", "bibtex", "--papers", "1"]) == 0
    assert capsys.readouterr().err == ""


def test_a_run_s_papers_keep_what_the_tree_has_no_place_for() -> None:
    result = a_result()
    again = of_tree(json.loads(json.dumps(tree_json(result, RECORD))))
    assert [replace(p.paper, source="") for p in again.papers] == [replace(p.paper, source="") for p in result.papers]


def test_the_report_of_a_run_tells_its_flow_its_curve_and_what_is_missing(
    cli: Callable[..., Outcome], model_server: ModelServer, world_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pasa.saturation.MIN_WAYS", 1)
    outcome = cli(QUESTION, "--library", world_library, *model_server.flags, "--format", "html")
    text = " ".join(BeautifulSoup(outcome.out, "lxml").get_text(" ").split())
    assert "identified through search queries 4" in text
    assert "duplicates removed 2 distinct papers 6" in text
    assert "The curve ends at 6 selected of 6 papers found." in text
    assert "of the relevant papers were likely found" in text
    assert "of the relevant papers were likely found" in outcome.err

"""benchmarks/saturation.py: what it says of runs whose numbers are known."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import saturation
from tests.agent_world import GOLD, QUESTION, ModelServer, Outcome, write_jsonl


@pytest.fixture
def folders(
    cli: Callable[..., Outcome], model_server: ModelServer, world_library: Path, tmp_path: Path
) -> tuple[Path, Path]:
    """Results of two questions without and with an early end."""
    questions = [QUESTION, "agents and tools?"]
    write_jsonl(tmp_path / "q.jsonl", [{"question": question, "answer": list(GOLD)} for question in questions])
    made = []
    for name, limit in (("whole", None), ("stopped", 2)):
        config = tmp_path / f"{name}.yaml"
        config.write_text(json.dumps({"agent": {"stop_when_saturated": limit, "select_threshold": 0.87}}))
        flags = [
            "--library",
            world_library,
            *model_server.flags,
            "--config",
            config,
            "--output_folder",
            tmp_path / name,
        ]
        assert cli("--input_file", "q.jsonl", *flags).code == 0
        made.append(tmp_path / name)
    return made[0], made[1]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["saturation.py", *map(str, arguments)])
    return saturation.main()


def test_stopping_tells_what_was_saved_and_lost(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "stopping", "--base", folders[0], "--stopped", folders[1]) == 0
    lines = capfd.readouterr().out.splitlines()
    # of four golds the whole run finds three, two of them selected: the one stopped misses the last of each
    assert lines[-2] == "| without | 0 | 2.0 | 6.0 | 3.0 | 0.500 | 0.500 | 1.000 |"
    assert lines[-1] == "| stopped | 2 | 1.0 | 5.0 | 2.0 | 0.250 | 0.250 | 0.500 |"


def test_estimates_are_set_against_what_larger_crawls_selected(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("pasa.saturation.MIN_WAYS", 1)
    figure = tmp_path / "f.svg"
    command = ("estimate", "--runs", folders[1], "--larger", folders[0], "--figure", figure)
    assert run(monkeypatch, *command) == 0
    out = capfd.readouterr().out
    assert "2 questions; for 2 the ways tell" in out
    assert "| true (selected by larger crawls, not found) | 2 | |" in out  # DEEP, once a question
    assert "Golds, all questions together: 2 found (2 by one way, 0 by two), 6 not." in out
    assert figure.read_text().startswith("<svg")

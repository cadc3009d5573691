"""benchmarks/saturation.py: what it says of runs whose numbers are known."""

from __future__ import annotations

import json
import math
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import saturation
from pasa.saturation import Overlap
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


def test_the_share_told_is_set_against_the_answers_found(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("pasa.saturation.MIN_WAYS", 1)
    figure = tmp_path / "f.svg"
    assert run(monkeypatch, "estimate", "--runs", *folders, "--figure", figure) == 0
    whole, stopped = capfd.readouterr().out.split("### stopped")
    assert "2 questions; for 2 the ways tell" in whole
    assert "Answers found: 4 of 8 (50%)" in whole
    assert "Answers found: 2 of 8 (25%)" in stopped
    assert "20 questions or more are needed" in stopped
    assert figure.read_text().startswith("<svg")


def test_the_fit_finds_the_calibration_that_made_the_answers() -> None:
    chance = random.Random(3)
    runs = []
    for number in range(600):
        searched, cited = chance.randint(2, 10), chance.randint(1, 9)
        both = chance.randint(0, min(searched, cited))
        best = Overlap(searched + cited - both, 9, searched, cited, both)
        odds = 1.0 + 2.0 * math.log(saturation.chapman_share(best)) + chance.gauss(0, 0.5)
        golds = frozenset(f"gold {n}" for n in range(8))
        found = frozenset(gold for gold in sorted(golds) if chance.random() < 1 / (1 + math.exp(-odds)))
        runs.append(saturation.Asked(f"question {number}", found, frozenset(), golds, best, {}))
    told = saturation.report_fit(runs)
    made = re.search(r"Fitted to all: Calibration\(constant=(.+?), slope=(.+?), spread=(.+?)\)", told)
    assert made
    assert [float(number) for number in made.groups()] == pytest.approx([1.0, 2.0, 0.5], abs=0.2)

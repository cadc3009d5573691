"""The benchmarks compare like with like: both ways of a run end in the same papers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import run_latency

PAPERS = 24  # few, so that it takes a second


@pytest.mark.usefixtures("quick_answers")
def test_both_ways_find_the_same_papers_and_ours_asks_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run_latency.py", "--runs", "1", "--papers", str(PAPERS), "--json", str(tmp_path / "r.json")]
    monkeypatch.setattr(sys, "argv", command)
    assert run_latency.main() == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["same_papers_scores_depths"] is True
    assert report["papers"] == PAPERS
    assert 0 < report["ours_requests"] < report["public_way_requests"] / 2
    assert "ratio_median" in capsys.readouterr().out


@pytest.mark.usefixtures("quick_answers")
def test_a_difference_between_the_two_ways_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["run_latency.py", "--runs", "1", "--papers", str(PAPERS)])
    monkeypatch.setattr(run_latency, "run_public_way", lambda services: {"2301.00000": (0.5, 0)})
    assert run_latency.main() == 1
    assert "same_papers_scores_depths    False" in capsys.readouterr().out


@pytest.fixture
def quick_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundredth of the benchmark's latency, and fewer threads and papers to expand."""
    monkeypatch.setattr(run_latency, "LATENCY", (0.003, 0.007))
    for name, few in (("THREADS", 4), ("REFERENCE_THREADS", 4), ("EXPAND_PAPERS", 3), ("SEARCH_PAPERS", 4)):
        monkeypatch.setattr(run_latency, name, few)

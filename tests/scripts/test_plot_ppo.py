"""scripts/plot_ppo.py: curves out of a run's metrics.jsonl."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from scripts.plot_ppo import main, read_metrics, smoothed
from trl_ext.session_ppo.run_names import names_of


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "ppo_a"
    folder.mkdir()
    rows = [{"step": step, "reward_per_session": float(step), "kl_reference": 0.1} for step in range(1, 9)]
    rows[3:3] = [{"step": 4, "eval/crawler_recall": 0.5}]
    rows.append({"step": 8, "eval/crawler_recall": 0.75, "note": "no number"})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_each_metric_becomes_a_figure_with_a_line_a_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("reward_per_session", "eval/crawler_recall")
    assert main(["--runs", str(run), "--out", str(tmp_path / "f"), "--metrics", *names]) == 0
    files = [Path(line) for line in capsys.readouterr().out.split()]
    assert [file.name for file in files] == ["reward_per_session.svg", "eval-crawler_recall.svg"]
    for file, name in zip(files, names, strict=True):
        text = " ".join(ET.fromstring(file.read_text()).itertext())
        assert name in text
        assert "ppo_a" in text or name in text


def test_runs_whose_folders_are_called_alike_are_told_apart_by_their_paths(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = ("x/seed0/ppo", "x/seed1/ppo", "other/seed0/ppo")
    for path in paths:
        shutil.copytree(run, tmp_path / path)
    assert main(["--runs", *paths, "ppo_a", "--out", "f", "--metrics", "kl_reference"]) == 0
    figure = " ".join(ET.fromstring(Path("f/kl_reference.svg").read_text()).itertext())
    assert all(name in figure for name in ("x/seed0/ppo", "seed1/ppo", "other/seed0/ppo", "ppo_a"))
    assert names_of([Path("seed0/ppo"), Path("seed1/ppo")], "--runs") == ["seed0/ppo", "seed1/ppo"]
    assert names_of([Path("/results/a"), Path("results/b")], "--runs") == ["a", "b"]


def test_steps_are_averaged_and_what_is_measured_now_and_then_is_not(run: Path) -> None:
    metrics = read_metrics(run)
    assert smoothed(metrics["reward_per_session"], 4) == ((2.5, 2.5), (6.5, 6.5))
    assert smoothed(metrics["eval/crawler_recall"], 4) == ((4.0, 0.5), (8.0, 0.75))
    assert "note" not in metrics


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--runs", "nowhere", "--out", "f"], "nowhere"),
        (["--runs", "RUN", "--out", "f", "--metrics", "speed"], "there are eval/crawler_recall, kl_reference"),
        (["--runs", "RUN", "--out", "f", "--mean_of", "0"], "--mean_of"),
        (["--runs", "RUN", "RUN", "--out", "f"], "twice"),
    ],
)
def test_a_mistake_is_one_line(run: Path, flags: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run) if flag == "RUN" else flag for flag in flags]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert says in line

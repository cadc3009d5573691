"""scripts/compare_crawlers.py: checkpoints beside each other on held-out queries."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pasa.errors import ServiceError
from scripts.compare_crawlers import main
from tests.trl_ext.session_ppo.toy_runs import evaluations, settings, words
from trl_ext.session_ppo.toy import ToyWorld, write_toy_world
from trl_ext.session_ppo.training import train

CRAWL = {"eval_temperature": 0.0, "eval_expand_layers": 1}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyWorld:
    return write_toy_world(tmp_path_factory.mktemp("toy"))


def held_out(toy: ToyWorld, output: Any) -> list[str]:
    return words(toy, output, **CRAWL | {"queries": str(toy.held_out)})


def test_each_crawler_finds_what_it_found_as_a_runs_held_out_queries(
    toy: ToyWorld, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = settings(toy, tmp_path / "run", eval_queries=str(toy.held_out), eval_steps=6, **CRAWL)
    train(run, tell=lambda line: None)
    trained = tmp_path / "run" / "policy"
    assert main([*held_out(toy, tmp_path / "out"), "--crawlers", str(toy.model), str(trained)]) == 0
    kept = json.loads((tmp_path / "out" / "crawlers.json").read_text())
    logged = evaluations(tmp_path / "run")
    for step, records in zip((0, 6), kept["records"].values(), strict=True):
        for name in ("crawler_recall", "actions", "reward", "papers"):
            mean = sum(record[name] for record in records.values()) / len(records)
            assert mean == pytest.approx(logged[step][f"eval/{name}"]), (step, name)
    assert recalls_of(kept["records"]["model"]) != recalls_of(kept["records"]["policy"])  # there is something to tell
    out = capsys.readouterr().out
    recalls = [logged[step]["eval/crawler_recall"] for step in (0, 6)]
    for recall in recalls:
        assert f"crawler_recall {recall:8.3f}" in out
    assert f"policy less model on 4 queries: crawler_recall {recalls[1] - recalls[0]:+.3f}" in out


def recalls_of(records: dict[str, dict[str, float]]) -> list[float]:
    return [record["crawler_recall"] for record in records.values()]


def test_a_crawler_alone_is_measured_and_one_that_finds_no_service_is_told(
    toy: ToyWorld, tmp_path: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = [*held_out(toy, tmp_path / "out"), "--crawlers", str(toy.model)]
    at = flags.index("--model_name_or_path")
    del flags[at : at + 2]  # where a run begins, which nobody asks here
    assert main([*flags, "--max_queries", "3"]) == 0
    assert "model  3 queries" in capsys.readouterr().out

    def down(*asked: Any) -> Any:
        raise ServiceError("down", 503)

    monkeypatch.setattr("trl_ext.session_ppo.environment.KeptSearch.search", down)
    assert main(flags) == 3
    assert "no query could be crawled" in capsys.readouterr().err
    kept = json.loads((tmp_path / "out" / "crawlers.json").read_text())
    assert kept == {"records": {"model": {}}, "failed": {"model": kept["failed"]["model"]}}
    assert kept["failed"]["model"]["crawl broken off"] > 0


def test_mistakes_are_a_line(toy: ToyWorld, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    flags = held_out(toy, tmp_path / "out")
    for more, said in (
        (["--crawlers", str(tmp_path / "none")], "no checkpoint at"),
        (["--crawlers", str(toy.model), str(toy.model)], "--crawlers names a folder twice"),
        ([], "--crawlers"),
        (["--crawlers", str(toy.model), "--queries", ""], "--queries is missing"),
        (["--crawlers", str(toy.model), "--queries", str(tmp_path / "none.jsonl")], "cannot read"),
    ):
        assert main([*flags, *more]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert said in line
    assert not (tmp_path / "out").exists()

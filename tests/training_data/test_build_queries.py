"""A build of queries: answers that resolve, splits by source, what is left out and why, going on after a stop."""

import json

import pytest

from pasa.errors import ConfigError
from pasa.query import Query, read_queries
from pasa.training_data import build as build_module
from pasa.training_data.build import BadRows, Build, file_checksum, sample_rows, split_of
from pasa.training_data.contamination import HeldOut
from pasa.training_data.queries import QuerySettings, build_queries, offline_writer
from scripts.build_queries import main
from tests.training_data.small_library import open_library

SOURCES = 24


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    with open_library(tmp_path_factory.mktemp("library"), SOURCES) as opened:
        yield opened


def rows_of(folder):
    return [
        {**json.loads(line), "split": name}
        for name in ("train", "dev", "test")
        for line in (folder / f"{name}.jsonl").read_text("utf-8").splitlines()
    ]


def build(library, folder, writer=None, **more):
    settings = QuerySettings(max_alike=SOURCES)  # all sources cite the same
    return build_queries(library, folder, settings, writer or offline_writer(0), **more)


def test_the_same_answers_are_asked_for_twice_at_most(library, tmp_path):
    manifest = build_queries(library, tmp_path, QuerySettings(), offline_writer(0))
    answers = [tuple(row["answer"]) for row in rows_of(tmp_path)]
    assert max(map(answers.count, answers)) == 2
    assert manifest["drops"]["answers asked for before"] > 0


def test_any_number_of_workers_writes_the_same(library, tmp_path):
    alone, two = build(library, tmp_path / "alone"), build(library, tmp_path / "two", workers=2)
    assert {**two, "built": "", "seconds": 0} == {**alone, "built": "", "seconds": 0}


def test_every_answer_is_a_paper_of_the_library_and_never_the_source(library, tmp_path):
    build(library, tmp_path)
    rows = rows_of(tmp_path)
    assert len(rows) > 20
    for row in rows:
        for title, arxiv_id in zip(row["answer"], row["answer_arxiv_id"], strict=True):
            assert library.paper_by_title(title).arxiv_id == arxiv_id
            assert title != row["source_meta"]["title"]
    assert rows[0]["source_meta"]["published_time"] == "20250930"


def test_what_is_built_is_read_as_a_benchmark_is(library, tmp_path):
    build(library, tmp_path)
    queries = read_queries(tmp_path / "train.jsonl")
    assert queries[0].answer
    assert str(queries[0].end_date) == "2025-09-23"
    assert len({query.qid for query in queries}) == len(queries)


def test_a_source_papers_queries_are_all_in_one_split(library, tmp_path):
    build(library, tmp_path)
    split = {}
    for row in rows_of(tmp_path):
        assert split.setdefault(row["source_meta"]["arxiv_id"], row["split"]) == row["split"]
    shares = [split_of(f"paper {n}", 0) for n in range(2000)]
    assert 0.03 < shares.count("dev") / 2000 < 0.07
    assert 0.03 < shares.count("test") / 2000 < 0.07
    assert [split_of(f"paper {n}", 1) for n in range(2000)] != shares


def test_no_question_is_asked_twice(library, tmp_path):
    manifest = build(library, tmp_path)
    questions = [row["question"] for row in rows_of(tmp_path)]
    assert len(set(questions)) == len(questions)
    assert manifest["drops"]["question asked before"] > 0


def test_what_is_near_a_held_out_question_is_dropped_and_counted(library, tmp_path):
    build(library, tmp_path / "all")
    about_slots = [row for row in rows_of(tmp_path / "all") if "slot attention" in row["question"].lower()]
    assert about_slots
    held = [Query("Are there works on object-centric slot attention?", answer=("Byzantine Gossip among Quadrotors",))]
    manifest = build(library, tmp_path / "held", held_out=held)
    kept = rows_of(tmp_path / "held")
    assert not [row for row in kept if row["question"].lower().rstrip("?").endswith("object-centric slot attention")]
    assert not [row for row in kept if row["answer"] == ["Byzantine Gossip among Quadrotors"]]
    assert manifest["drops"]["near a held-out question by its words"] > 0
    assert manifest["drops"]["near a held-out question by its answers"] > 0


def test_nearness_is_jaccard_over_words_and_over_answers():
    held = HeldOut([Query("Which papers study RL for robot arms?", answer=("A", "B"))], 0.6, 0.5)
    assert held.nearness("works on reinforcement learning for robot arms", ["X"]) == "words"
    assert held.nearness("reinforcement learning", ["X"]) is None  # 2 of 4 words
    assert held.nearness("gossip", ["b", "X"]) is None  # 1 of 3 answers
    assert held.nearness("gossip", ["b"]) == "answers"
    assert held.nearness("gossip", []) is None


class Stopped(RuntimeError):
    """The machine goes down."""


def stopping_writer(after):
    write = offline_writer(0)
    calls = [0]

    def stop(sections, build):
        calls[0] += 1
        if calls[0] > after:
            raise Stopped
        return write(sections, build)

    return stop


def test_an_interrupted_build_goes_on_to_the_same_files(library, tmp_path, monkeypatch):
    monkeypatch.setattr(build_module, "UNITS_BETWEEN_SAVES", 3)
    monkeypatch.setattr("pasa.training_data.queries.SOURCES_AT_ONCE", 4)
    whole = build(library, tmp_path / "whole")
    with pytest.raises(Stopped):
        build(library, tmp_path / "cut", stopping_writer(4))
    assert not (tmp_path / "cut" / "train.jsonl").exists()
    went_on = build(library, tmp_path / "cut")
    assert went_on["went_on_after_units"] == 16
    for key in ("files", "counts", "drops", "units"):
        assert went_on[key] == whole[key]
    assert not list((tmp_path / "cut").glob("*.part"))


def test_other_settings_do_not_go_on_with_a_build(library, tmp_path, monkeypatch):
    monkeypatch.setattr("pasa.training_data.queries.SOURCES_AT_ONCE", 4)
    monkeypatch.setattr(build_module, "UNITS_BETWEEN_SAVES", 1)
    with pytest.raises(Stopped):
        build(library, tmp_path, stopping_writer(1))
    with pytest.raises(ConfigError, match="--fresh"):
        build_queries(library, tmp_path, QuerySettings(seed=1), offline_writer(1))
    build_queries(library, tmp_path, QuerySettings(seed=1), offline_writer(1), fresh=True)
    with pytest.raises(ConfigError, match="finished build"):
        build_queries(library, tmp_path, QuerySettings(seed=1), offline_writer(1))


def test_the_manifest_holds_counts_and_checksums_of_what_is_there(library, tmp_path):
    manifest = build(library, tmp_path)
    assert json.loads((tmp_path / "manifest.json").read_text("utf-8")) == manifest
    for name, file in manifest["files"].items():
        path = tmp_path / name
        assert file == {
            "rows": len(path.read_text("utf-8").splitlines()),
            "bytes": path.stat().st_size,
            "sha256": file_checksum(path),
        }
    assert manifest["sources"]["library"]["papers"] == library.num_papers
    assert manifest["drops"]["citation not in the library"] == SOURCES


def test_bad_rows_end_a_build_only_past_their_limit():
    told = []
    bad = BadRows(2, told.append)
    bad.add("rows.jsonl:3", "no answer")
    bad.add("rows.jsonl:7", "no answer")
    with pytest.raises(ConfigError, match="--max_bad_rows"):
        bad.add("rows.jsonl:9", "no answer")
    assert told[1] == "skipped rows.jsonl:7: no answer"


def test_a_sample_is_of_the_rows_and_in_their_order(library, tmp_path):
    build(library, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text("utf-8").splitlines()]
    sample = sample_rows(tmp_path, 5, 0)
    assert len(sample) == 5
    assert [row for row in rows if row in sample] == sample
    assert sample_rows(tmp_path, 10**6, 0) == rows
    with pytest.raises(ConfigError, match="build the data first"):
        sample_rows(tmp_path / "nowhere", 5, 0)


def test_the_command_builds_and_shows(library, tmp_path, capsys):
    flags = ["--output_folder", str(tmp_path / "out")]
    assert main(["--library", str(library.path), *flags]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["source papers"] == SOURCES
    assert main([*flags, "--sample", "3"]) == 0
    assert capsys.readouterr().out.count("\n  from '") == 3
    assert main(["--library", str(library.path), *flags]) == 2
    assert main(flags) == 2


def test_a_build_that_writes_nothing_leaves_empty_files(tmp_path):
    with Build(tmp_path, {}) as empty:
        empty.finish("x", {}, 0.0)
    assert (tmp_path / "train.jsonl").read_bytes() == b""

"""Result files: upstream's form, written whole or not at all, told apart by question."""

from __future__ import annotations

import datetime as dt
import json
import os
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasa.errors import ConfigError
from pasa.events import RunResult, RunStats
from pasa.paper import Paper, Reference, Section
from pasa.query import Query
from pasa.result_tree import Node, rank
from pasa.results import (
    SLUG_LENGTH,
    check_writable,
    is_finished,
    json_text,
    ranking_json,
    recorded_run,
    slug,
    tree_json,
    write_json,
)

ROOT = Path(__file__).parents[1]
NODE_KEYS = ["title", "arxiv_id", "depth", "child", "abstract", "sections", "source", "select_score", "extra"]


def a_result(**query: Any) -> RunResult:
    paper = Paper("P", "About.", "2301.00001", "2023-01-02", ("Ann",), (Section("Intro", (Reference("C"),)),))
    cited = Node(Paper("C"), 1, "Expand x", 0.4)
    root = Node(
        Paper("q"),
        children={"words": [Node(paper, 0, "Search x", 0.9, {"Intro": [cited]})], "nothing found": []},
        extra={"touch_ids": ["2301.00001"], "crawler_recall_papers": ["P", "C"], "recall_papers": ["P"]},
    )
    stats = RunStats(2, 2, 1, 1, 1, 2, 2, 0.12345, Counter({"z": 1, "a": 2}))
    return RunResult(Query("q", **query), root, rank(root, 0.5), [], stats)


# -- the form ----------------------------------------------------------------------------------------------------------


def test_each_node_has_upstream_s_keys_in_upstream_s_order() -> None:
    tree = tree_json(a_result(), {})
    below = [tree]
    for node in below:
        assert list(node) == NODE_KEYS
        below += [kid for kids in node["child"].values() for kid in kids]
    assert [(n["title"], n["depth"], n["select_score"]) for n in below] == [
        ("q", -1, 0.0),
        ("P", 0, 0.9),
        ("C", 1, 0.4),
    ]
    assert [n["sections"] for n in below] == ["", {"Intro": ["C"]}, ""]
    assert [n["arxiv_id"] for n in below] == ["", "2301.00001", ""]
    assert tree["child"]["nothing found"] == []


def test_how_the_run_was_made_stands_beside_upstream_s_extra() -> None:
    tree = tree_json(a_result(end_date=dt.date(2024, 1, 2), qid="Q7"), {"engine": "library"})
    assert (tree["extra"]["touch_ids"], tree["extra"]["recall_papers"]) == (["2301.00001"], ["P"])
    assert (tree["extra"]["qid"], tree["extra"]["end_date"]) == ("Q7", "2024-01-02")
    run = tree["extra"]["run"]
    assert (run["engine"], run["papers_found"], run["seconds"]) == ("library", 2, 0.123)
    assert list(run["problems"].items()) == [("a", 2), ("z", 1)]


def test_making_the_tree_leaves_the_result_as_it_was() -> None:
    result = a_result()
    tree_json(result, {"engine": "library"})
    assert "run" not in result.root.extra


def test_a_ranking_is_plain_data() -> None:
    first, second = json.loads(json.dumps(ranking_json(a_result().papers)))
    assert (first["rank"], first["title"], first["path"], first["authors"]) == (1, "P", ["words"], ["Ann"])
    assert (second["url"], second["selected"], second["path"]) == (None, False, ["words", "P", "Intro"])


# -- writing -----------------------------------------------------------------------------------------------------------


def test_a_file_is_made_with_its_folders_and_readable_by_others(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_json(tmp_path / "a" / "b" / "0.json", {"title": "Zürich 智能体"})
    finally:
        os.umask(before)
    path = tmp_path / "a" / "b" / "0.json"
    assert json.loads(path.read_text(encoding="utf-8")) == {"title": "Zürich 智能体"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert "智能体" in path.read_text(encoding="utf-8")


def test_content_that_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "0.json"
    write_json(path, {"title": "old"})
    with pytest.raises(TypeError):
        write_json(path, {"title": "new", "more": object()})
    assert json.loads(path.read_text()) == {"title": "old"}
    assert os.listdir(tmp_path) == ["0.json"]


def test_half_of_a_surrogate_pair_does_not_stop_the_writing(tmp_path: Path) -> None:
    write_json(tmp_path / "0.json", {"title": "a \ud83d b"})
    assert json.loads((tmp_path / "0.json").read_text(encoding="utf-8"))["title"].startswith("a ")


_KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from pasa.results import write_json
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)  # all is written, nothing is in its place yet
write_json(Path(sys.argv[1]), {"title": "q", "more": "x" * 100_000})
"""


@pytest.mark.parametrize("there_before", [False, True])
def test_a_kill_while_a_result_is_written_leaves_no_half_of_it(tmp_path: Path, there_before: bool) -> None:
    path, query = tmp_path / "0.json", Query("q")
    if there_before:
        write_json(path, {"title": "q"})
    killed = subprocess.run([sys.executable, "-c", _KILLED_WHILE_WRITING, str(path)], cwd=ROOT)
    assert killed.returncode == -9
    assert is_finished(path, query) == there_before
    assert len(os.listdir(tmp_path)) == 1 + there_before  # what was begun lies beside it under another name
    assert len(list(tmp_path.glob("*.json"))) == there_before


def test_a_folder_that_cannot_be_written_is_said_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="choose another folder"):
            check_writable(bad)
        with pytest.raises(ConfigError, match="choose another place"):
            write_json(bad / "0.json", {})
    check_writable(tmp_path / "new" / "folder")
    assert os.listdir(tmp_path / "new" / "folder") == []


# -- what is there already ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", "{", '{"title": "q"', '{"tit": 1}', "[]", "7", '"q"', "null", "\ud83d"])
def test_a_file_that_is_not_a_whole_result_is_run_again(tmp_path: Path, content: str) -> None:
    (tmp_path / "0.json").write_text(content, encoding="utf-8", errors="surrogatepass")
    assert not is_finished(tmp_path / "0.json", Query("q"))


@settings(max_examples=30, deadline=None)
@given(cut=st.floats(0, 0.999))
def test_no_beginning_of_a_result_is_taken_for_it(tmp_path_factory: pytest.TempPathFactory, cut: float) -> None:
    path = tmp_path_factory.mktemp("cut") / "0.json"
    write_json(path, tree_json(a_result(), {}))
    whole = path.read_bytes()
    assert is_finished(path, Query("q"))
    path.write_bytes(whole[: int(cut * len(whole))])
    assert not is_finished(path, Query("q"))


def test_a_missing_file_is_not_finished_and_another_question_s_is_refused(tmp_path: Path) -> None:
    assert not is_finished(tmp_path / "0.json", Query("q"))
    write_json(tmp_path / "0.json", tree_json(a_result(), {}))
    with pytest.raises(ConfigError, match=r"0\.json holds the result of another question.*--overwrite"):
        is_finished(tmp_path / "0.json", Query("another"))


# -- names -------------------------------------------------------------------------------------------------------------


@given(text=st.text(max_size=200))
def test_a_slug_is_a_plain_file_name(text: str) -> None:
    name = slug(text)
    assert name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not name.startswith("-")
    assert not name.endswith("-")
    assert len(name) <= SLUG_LENGTH


def test_a_slug_keeps_the_words() -> None:
    assert slug("Which papers: UCB / RL?") == "which-papers-ucb-rl"
    assert slug("智能体?").startswith("query-")


def test_texts_that_a_slug_cannot_hold_have_slugs_of_their_own() -> None:
    texts = ["智能体?", "检索?", "", "x" * 100 + "a", "x" * 100 + "b", "naïve", "na ve"]
    assert len({slug(text) for text in texts}) == len(texts)


@given(title=st.text(min_size=1), answer=st.lists(st.text(), max_size=2))
@settings(max_examples=40)
def test_a_file_that_is_skimmed_is_known_as_one_that_is_read(
    tmp_path_factory: pytest.TempPathFactory, title: str, answer: list[str]
) -> None:
    """Whether we wrote it or another program, and wherever it was cut off."""
    folder = tmp_path_factory.mktemp("skim")
    tree = tree_json(a_result(qid='x\n  "extra": {', answer=tuple(answer)), {"settings": {"n": 1}})
    tree["title"] = title.encode("utf-8", "replace").decode()
    query = Query(tree["title"])
    for name, text in (
        ("ours", json_text(tree)),
        ("compact", json.dumps(tree)),
        ("indent 4", json.dumps(tree, indent=4)),
    ):
        path = folder / name
        path.write_text(text, encoding="utf-8")
        assert is_finished(path, query)
        assert recorded_run(path)["settings"] == {"n": 1}
        for end in (1, len(text) // 2, len(text) - 1):
            path.write_text(text[:end], encoding="utf-8")
            assert not is_finished(path, query)

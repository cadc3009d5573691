"""configs/reproduce.yaml and what is made of it: pasa/evaluation/reproduce.py, worlds.py."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pasa.errors import ConfigError
from pasa.evaluation.reproduce import (
    PAPER,
    Row,
    choose_rows,
    commands,
    deviations,
    page,
    read_rows,
    rows_before,
    unmet_needs,
)
from pasa.evaluation.worlds import (
    World,
    check_files,
    check_library,
    file_digest,
    papers_digest,
    questions_digest,
    select_questions,
)
from pasa.library import Library, build_library
from tests.library_rows import write_rows

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "reproduce.yaml"
PAPER_FACTS = ROOT.parent / "shared" / "design" / "PAPER.md"
WORLD = World("w", "A world")
ROW = Row("w/way", WORLD, "A way", {"recall@20": 0.5231, "actions": 382.7}, "ours", command=("python x.py {output}",))

# The published table's methods -> our rows.
METHODS = {
    "Google": "google",
    "Google Scholar": "google_scholar",
    "Google + GPT-4o": "google-gpt-4o",
    "ChatGPT (Auto: 100 queries)": "chatgpt",
    "GPT-o1": "gpt-o1",
    "PaSa-GPT-4o": "pasa-gpt-4o",
    "PaSa-7b": "pasa-7b",
    "PaSa-7b, ensemble of 2": "pasa-7b-ensemble",
    "without Expand": "pasa-7b-no-expand",
    "without RL": "pasa-7b-no-rl",
    "without Selector as reward": "pasa-7b-no-selector-reward",
}
COLUMNS = ("crawler_recall", "precision", "recall", "recall@100", "recall@50", "recall@20")


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    return {row.name: row for row in read_rows(CONFIG)}


# -- the committed file ----------------------------------------------------------------------------------------------


def test_the_committed_page_is_the_one_that_the_file_gives(rows: dict[str, Row]) -> None:
    """Run `python scripts/reproduce.py --table docs/REPRODUCE.md` after a change of configs/reproduce.yaml."""
    assert (ROOT / "docs" / "REPRODUCE.md").read_text(encoding="utf-8") == page([*rows.values()])


def test_every_number_of_the_papers_table_stands_there_as_published(rows: dict[str, Row]) -> None:
    if not PAPER_FACTS.is_file():
        pytest.skip("the facts of the paper (../shared/design/PAPER.md) are not here")
    table = PAPER_FACTS.read_text(encoding="utf-8").split("## Published numbers")[1].split("Selector, 200 pairs")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:2] == "| "]
    published = {cells[0]: cells[1:] for cells in lines if cells[0] in METHODS}
    assert published.keys() == METHODS.keys()
    for method, cells in published.items():
        for place, world in enumerate(("auto", "real")):
            pairs = zip(COLUMNS, cells, strict=True)
            expected = {metric: float(cell.split("/")[place]) for metric, cell in pairs if cell not in ("-", "")}
            assert rows[f"{world}/{METHODS[method]}"].expected == expected, method


def test_rows_of_the_paper_need_what_they_were_made_with(rows: dict[str, Row]) -> None:
    of_paper = [row for row in rows.values() if row.source == PAPER]
    assert len(of_paper) == 2 * 11 + 4 + 2 + 3
    assert all(row.needs for row in of_paper)
    by_7b = [row for row in of_paper if "pasa-7b" in row.name and row.world.name in ("auto", "real")]
    assert by_7b
    assert all({"gpu", "SERPER_API_KEY"} <= set(row.needs) for row in by_7b)
    assert all(any(need.startswith("checkpoints/") for need in row.needs) for row in by_7b)


def test_every_command_names_a_script_that_is_there_and_flags_it_knows(rows: dict[str, Row]) -> None:
    places = dict.fromkeys(("library", "questions", "output", "runs", "cache"), "x")
    sources = {}
    for row in rows.values():
        for program, script, *words in commands(row, places):
            assert program == "python"
            text = sources.setdefault(script, _text_of_flags(script))
            for flag in (word for word in words if word.startswith("--")):
                assert f'"{flag}"' in text, (row.name, flag)


def _text_of_flags(script: str) -> str:
    place = "pasa/app_flags.py" if script == "run_paper_agent.py" else script
    return (ROOT / place).read_text(encoding="utf-8")


def test_ours_say_where_and_when_they_were_measured(rows: dict[str, Row]) -> None:
    for row in rows.values():
        if row.source != PAPER and row.command:
            assert re.fullmatch(r"ours, 2\d{3}-\d\d-\d\d, [0-9a-f]{7}", row.source), row.name


# -- checking --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("got", "off"),
    [
        ({"recall@20": 0.5231, "actions": 382.7}, []),
        ({"recall@20": 0.52314, "actions": 382.71}, []),  # four digits are given
        ({"recall@20": 0.52320, "actions": 382.7}, ["recall@20 expected 0.5231 got 0.5232"]),
        ({"recall@20": 0.5231, "actions": 383.0}, ["actions expected 382.7000 got 383.0000"]),
        ({"recall@20": float("nan"), "actions": 382.7}, ["recall@20 expected 0.5231 got nan"]),
        ({"actions": 382.7}, ["recall@20 expected 0.5231 got nothing"]),
    ],
)
def test_a_number_off_by_more_than_the_tolerance_is_told(got: dict[str, float], off: list[str]) -> None:
    assert [*map(str, deviations(ROW, got))] == off


def test_a_rows_own_tolerance_holds_and_no_more() -> None:
    row = replace(ROW, tolerance=0.03)
    assert not deviations(row, {"recall@20": 0.55, "actions": 392.0})
    assert len(deviations(row, {"recall@20": 0.56, "actions": 395.0})) == 2


def test_what_a_row_needs_and_this_machine_lacks(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "here").touch()
    row = replace(
        ROW,
        world=replace(WORLD, files=(("data/a.jsonl", ""),), questions="data/a.jsonl"),
        needs=("A_KEY", "checkpoints/here", "checkpoints/not", "a product that is gone"),
    )
    unmet = ["data/a.jsonl", "checkpoints/not", "a product that is gone"]
    assert unmet_needs(row, tmp_path, {"A_KEY": "k"}) == unmet
    assert "A_KEY" in unmet_needs(row, tmp_path, {"A_KEY": " "})


def test_rows_are_chosen_by_name_or_pattern() -> None:
    rows = [replace(ROW, name=name) for name in ("a/x", "b/x", "b/y")]
    assert choose_rows(rows, []) == rows
    assert [row.name for row in choose_rows(rows, ["b/*", "a/x"])] == ["a/x", "b/x", "b/y"]
    with pytest.raises(ConfigError, match="no row 'c/x'"):
        choose_rows(rows, ["b/*", "c/x"])


def test_commands_have_their_places_put_in() -> None:
    row = replace(ROW, command=("python a.py --o {output}", "python b.py {runs}/x"))
    places = {"output": "/with blank/o", "runs": "/r"}
    assert commands(row, places) == [["python", "a.py", "--o", "/with blank/o"], ["python", "b.py", "/r/x"]]


def test_rows_that_others_build_on_come_first() -> None:
    rows = [replace(ROW, name=f"w/{way}") for way in ("a", "b", "both")]
    assert [row.name for row in rows_before(replace(rows[2], after=("b", "a")), rows)] == ["w/a", "w/b"]


GOOD: dict[str, Any] = {
    "worlds": {"w": {"title": "W", "questions": "q.jsonl"}},
    "rows": [
        {
            "name": "way",
            "title": "A way",
            "command": "python x.py",
            "source": "ours",
            "worlds": {"w": {"expected": {"recall": 0.5}}},
        }
    ],
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.pop("rows"), "must hold `worlds` and `rows`"),
        (lambda c: c["rows"][0].pop("name"), "a row needs `name`"),
        (lambda c: c["rows"][0].pop("title"), "w/way: `title` is missing"),
        (lambda c: c["rows"][0].pop("command"), "w/way: give a `command`"),
        (lambda c: c["rows"][0].update(comand="x"), "w/way: unknown key 'comand'"),
        (lambda c: c["rows"][0].update(command="x {here}"), "unknown {here}"),
        (lambda c: c["rows"][0].update(worlds={"v": {}}), "no world 'v'"),
        (lambda c: c["rows"][0].update(worlds={"w": {}}), "`expected` is missing"),
        (lambda c: c["rows"][0].update(worlds={"w": {"expected": {"recall": ".5 or so"}}}), "takes a number"),
        (lambda c: c["rows"][0].update(after=["gone"]), "run after w/gone"),
        (lambda c: c["rows"].append(c["rows"][0]), "w/way stands there twice"),
        (lambda c: c["worlds"]["w"].update(queston="x"), "worlds.w: unknown key 'queston'"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_it(tmp_path: Path, change: Any, said: str) -> None:
    content = json.loads(json.dumps(GOOD))
    path = tmp_path / "r.yaml"
    path.write_text(json.dumps(content))  # JSON is YAML
    assert [row.name for row in read_rows(path)] == ["w/way"]
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError) as caught:
        read_rows(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


# -- worlds ----------------------------------------------------------------------------------------------------------

QUESTIONS = [
    {"question": "a?", "answer": ["A"], "answer_arxiv_id": ["2301.00001"], "in_corpus": [True]},
    {"question": "b?", "answer": ["B", "C"], "in_corpus": [True, False]},
    {"question": "c?", "answer": ["C"], "in_corpus": [True], "source_meta": {"published_time": "20240101"}},
]


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    return World("w", "W", questions="q.jsonl", only_covered=True)


def test_questions_are_the_covered_ones_in_order_without_dates(world: World, tmp_path: Path) -> None:
    asked = select_questions(world, tmp_path)
    assert [row["question"] for row in asked] == ["a?", "c?"]
    assert asked[0]["answer_arxiv_id"] == ["2301.00001"]
    assert "source_meta" not in asked[1]
    assert select_questions(world, tmp_path, 1) == asked[:1]
    with_dates = select_questions(replace(world, keep_dates=True), tmp_path)
    assert with_dates[1]["source_meta"] == {"published_time": "20240101"}


def test_other_questions_than_the_worlds_are_refused(world: World, tmp_path: Path) -> None:
    digest = questions_digest(select_questions(world, tmp_path))
    known = replace(world, count=2, questions_sha256=digest)
    assert select_questions(known, tmp_path, 1)  # the digest is of all
    with pytest.raises(ConfigError, match="gives 2 questions, w has 3"):
        select_questions(replace(known, count=3), tmp_path)
    text = (tmp_path / "q.jsonl").read_text().replace('"C"], "in_corpus": [true]', '"D"], "in_corpus": [true]')
    (tmp_path / "q.jsonl").write_text(text)
    with pytest.raises(ConfigError, match="not those of w"):
        select_questions(known, tmp_path)


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text("{}\n")
    world = replace(WORLD, files=(("p.jsonl", file_digest(tmp_path / "p.jsonl")),))
    check_files(world, tmp_path)
    (tmp_path / "p.jsonl").write_text("{} \n")
    with pytest.raises(ConfigError, match=r"p\.jsonl is not the file"):
        check_files(world, tmp_path)


def test_another_library_is_refused_even_with_as_many_papers(tmp_path: Path) -> None:
    rows = [{"title": "On Agents", "abstract": "a"}, {"title": "On Nets", "sections": {"Intro": ["On Agents"]}}]
    for name, last in (("one", "a"), ("again", "a"), ("other", "b")):
        rows[0]["abstract"] = last
        build_library([write_rows(tmp_path / f"{name}.jsonl", rows)], tmp_path / name)
    with Library.open(tmp_path / "one") as library:
        digest = papers_digest(library)
    world = replace(WORLD, build=("p.jsonl",), papers=2, with_sections=1, papers_sha256=digest)
    check_library(world, tmp_path / "one")
    check_library(world, tmp_path / "again")
    with pytest.raises(ConfigError, match="not those of w, though as many"):
        check_library(world, tmp_path / "other")
    with pytest.raises(ConfigError, match="has 2 papers, w has 3"):
        check_library(replace(world, papers=3), tmp_path / "one")
    with pytest.raises(ConfigError, match="has 1 with sections, w has 2"):
        check_library(replace(world, with_sections=2), tmp_path / "one")

"""data/demo: the library that ships is consistent, and agrees with the shared data where that is at hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pasa.paper import arxiv_id_month, last_day, parse_arxiv_id, title_key
from scripts import check_demo_library

DEMO = Path(__file__).resolve().parent.parent / "data" / "demo"
SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
CAMERA_READY = "2025-11"  # every paper with sections is of NeurIPS 2025
SENTENCE_END = re.compile(r"[.!?](?=\s+[A-Z]|$)")


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DEMO / name).read_text(encoding="utf-8").splitlines()]


PAPERS = read("papers.jsonl")
QUESTIONS = read("questions.jsonl")
BY_KEY = {title_key(paper["title"]): paper for paper in PAPERS}


def months(date: str) -> int:
    return int(date[:4]) * 12 + int(date[5:7])


def cited(paper: dict[str, Any]) -> list[str]:
    return [title for titles in paper.get("sections", {}).values() for title in titles]


def test_it_is_about_two_hundred_papers_with_a_citation_graph() -> None:
    assert 190 <= len(PAPERS) <= 220
    assert sum("sections" in paper for paper in PAPERS) >= 45
    assert sum(len(cited(paper)) for paper in PAPERS) >= 600


def test_no_paper_is_there_twice() -> None:
    ids = [paper["arxiv_id"] for paper in PAPERS if paper["arxiv_id"]]
    assert len(BY_KEY) == len(PAPERS)
    assert len(set(ids)) == len(ids)


def test_papers_are_in_order_of_arxiv_id_and_those_without_come_last() -> None:
    keys = [(paper["arxiv_id"] is None, paper["arxiv_id"] or "", paper["title"]) for paper in PAPERS]
    assert keys == sorted(keys)


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: title_key(paper["title"])[:40])
def test_each_paper_is_well_formed(paper: dict[str, Any]) -> None:
    assert set(paper) <= {"title", "abstract", "arxiv_id", "date", "sections"}
    assert last_day(paper["date"]) is not None
    if paper["arxiv_id"]:
        assert parse_arxiv_id(paper["arxiv_id"]) == paper["arxiv_id"]
        assert abs(months(paper["date"]) - months(arxiv_id_month(paper["arxiv_id"]) or "")) <= 1
    assert paper["abstract"].endswith(".")
    assert 1 <= len(SENTENCE_END.findall(paper["abstract"])) <= 2
    assert 12 <= len(paper["abstract"].split()) <= 60


def test_every_cited_title_is_a_paper_of_the_library_other_than_the_citing_one() -> None:
    for paper in PAPERS:
        for name, titles in paper.get("sections", {}).items():
            assert titles, f"{paper['title']}: section {name} is empty"
            assert len(set(titles)) == len(titles)
            assert paper["title"] not in titles
            for title in titles:
                assert BY_KEY[title_key(title)]["title"] == title


def test_no_citation_is_later_than_the_citing_conference() -> None:
    for paper in PAPERS:
        for title in cited(paper):  # camera-ready versions cite past their own first arXiv version
            assert BY_KEY[title_key(title)]["date"] <= CAMERA_READY


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question["qid"])
def test_each_question_is_answered_by_one_section_of_the_library(question: dict[str, Any]) -> None:
    source = question["source_meta"]
    section = BY_KEY[title_key(source["paper"])]["sections"][source["section"]]
    assert len(question["answer"]) >= 2
    assert set(question["answer"]) <= set(section)
    assert question["answer_arxiv_id"] == [BY_KEY[title_key(title)]["arxiv_id"] for title in question["answer"]]


def test_sources_lists_papers_of_the_library_only() -> None:
    listed = json.loads((DEMO / "SOURCES.json").read_text(encoding="utf-8"))["not_in_shared_data"]
    assert {title_key(title) for title in listed} <= set(BY_KEY)


@pytest.mark.skipif(not (SHARED / "papers.jsonl.xz").is_file(), reason="../shared/data is not here")
def test_it_agrees_with_the_shared_data(capsys: pytest.CaptureFixture[str]) -> None:
    status = check_demo_library.main([])
    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("damaged", "arxiv_id"),
    [
        ("1706.0374100000001", "1706.03741"),
        ("1703.034", "1703.03400"),
        ("1603.0932", "1603.09320"),
        ("1412.698", "1412.6980"),
        ("1412.6980", "1412.6980"),
        ("2501.10120", "2501.10120"),
        ("0912.3995", "0912.3995"),
        ("cs/0112017", "cs/0112017"),
    ],
)
def test_arxiv_ids_that_became_numbers_are_repaired(damaged: str, arxiv_id: str) -> None:
    assert check_demo_library.repair_arxiv_id(damaged) == arxiv_id


def test_the_longest_shared_run_ignores_case_and_punctuation() -> None:
    run = check_demo_library.longest_shared_run("We show: the cat sat, down", "Then The cat sat (up) we show")
    assert run == "the cat sat"
    assert check_demo_library.longest_shared_run("alpha beta", "gamma") == ""


def test_a_wrong_fact_is_reported() -> None:
    paper = {"title": "A Title", "abstract": "One two three four five six seven eight nine.", "date": "2024-01"}
    row = {**paper, "arxiv_id": "2401.00001"}
    evidence = check_demo_library.Evidence(papers={"atitle": {**row, "date": None}})
    evidence.ids["atitle"]["2401.00002"] += 1
    lines = check_demo_library.problems([row], {"Gone": "memory"}, evidence)
    assert [line.split(": ", 1)[1].split(" ", 2)[:2] for line in lines] == [
        ["arXiv", "id"],
        ["summary", "shares"],
        ["in", "SOURCES.json"],
    ]


def test_only_citations_that_the_bibliography_prints_become_links() -> None:
    fulltext = {
        "title": "Own Paper",
        "sections": {"Own Paper": ["A B"], "Related &amp; Work": ["a b", "C D", "E F", "Own Paper"], "End": ["E F"]},
        "references": [{"text": "Someone. A b. 2020."}, {"text": "E F, 2021"}, {"text": "Own paper"}],
    }
    titles = {"ab": "A B", "cd": "C D", "ownpaper": "Own Paper"}
    assert check_demo_library.links_inside(fulltext, titles) == {"Related & Work": ["A B"]}

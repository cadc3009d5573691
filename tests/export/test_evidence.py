"""What speaks for a paper: facts of the run, told with it in every form."""

from __future__ import annotations

from pasa.export.evidence import evidence
from pasa.export.run_view import ExportedRun
from pasa.paper import Paper
from pasa.result_tree import Node, rank
from pasa.search_record import SearchRecord, WayTaken

QUESTION = "Which papers study value-based methods, especially UCB, for non-stationary RL?"
ONE = Paper("Bounds", abstract="Upper confidence bounds where rewards are non-stationary.", arxiv_id="2001.00001")
OTHER = Paper("A survey of bandits", arxiv_id="2001.00002")
NOTHING = Paper("Protein folding", arxiv_id="2001.00003")


def way(kind: str, of: Paper | None, *found: int) -> WayTaken:
    return WayTaken(kind, "name", 0 if kind == "search" else 1, 0, of.key if of else "", found, 0)  # type: ignore[arg-type]


def a_run(*ways: WayTaken) -> ExportedRun:
    root = Node(Paper(QUESTION), children={"q": [Node(paper, 0, "Search", 0.9) for paper in (ONE, OTHER, NOTHING)]})
    record = SearchRecord((ONE.key, OTHER.key, NOTHING.key), ways)
    return ExportedRun(QUESTION, tuple(rank(root, 0.5)), root, {}, record=record)


def test_words_of_the_question_are_told_as_asked_abbreviations_spelled_out() -> None:
    told = evidence(a_run())
    assert told[ONE.key] == "holds “upper confidence bound”, “non stationary”"
    assert told[NOTHING.key] == ""


def test_citing_papers_count_once_and_searches_each() -> None:
    ways = (
        *(way("search", None, 0, 1), way("search", None, 0)),
        *(way("section", OTHER, 0), way("section", OTHER, 0), way("section", NOTHING, 0, 1)),
    )
    told = evidence(a_run(*ways))
    assert told[ONE.key].endswith("; cited by 2 of 2 papers read; found by 2 of 2 searches")
    assert told[OTHER.key] == "cited by 1 of 2 papers read; found by 1 of 2 searches"
    assert told[NOTHING.key] == ""


def test_words_apart_are_no_phrase_and_broken_text_is_in_no_paper() -> None:
    paper = Paper("Learning about search", abstract="Deep seas, images. Networks that learn.", arxiv_id="2001.00004")
    root = Node(Paper("q"), children={"q": [Node(paper, 0, "Search", 0.9)]})

    def told(question: str) -> str:
        return evidence(ExportedRun(question, tuple(rank(root, 0.5)), root, {}))[paper.key]

    assert told("deep learning networks") == "holds “deep”, “learning”, “networks”"
    assert told("learn searches") == "holds “learn”, “searches”"
    assert told("x" * 60) == ""
    assert evidence(ExportedRun("learning", tuple(rank(root, 0.5)), root, {}), []) == {}

"""Sessions to train a Crawler on: queries that really find the answers, sections that cite them, the source hidden."""

import json

import pytest

from pasa.actions import read_reply
from pasa.errors import ConfigError
from pasa.library import Library
from pasa.paper import Paper
from pasa.prompts import expand_request, search_request
from pasa.training_data.crawler_sessions import (
    COMPANION,
    RESULTS,
    SessionSettings,
    best_queries,
    build_sessions,
    candidate_queries,
)
from pasa.training_data.query_rows import LabelledQuery
from scripts.build_sft_crawler import main
from tests.library_rows import write_rows
from tests.training_data.small_library import ABSTRACTS, paper

SLOTS, GOSSIP = list(ABSTRACTS)[:2], list(ABSTRACTS)[2:4]
SOURCE, OTHER, BARREN = "The Source on Slot Attention", "A Slot Attention Reader", "Slot Attention on the Moon"
QUESTION = "Which papers study slot attention?"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    sections = {"Introduction": GOSSIP, "Related Work": SLOTS, "Method": SLOTS[:1], "Results": ["Spiking Retina Chips"]}
    rows = [
        *(paper(title, abstract) for title, abstract in ABSTRACTS.items()),
        paper(SOURCE, sections={"Related Work": [*SLOTS, GOSSIP[0]]}, arxiv_id="2509.00001"),
        paper(OTHER, sections=sections),
        paper(BARREN, sections={"Introduction": GOSSIP}),
    ]
    with Library.open(write_rows(folder / "papers.jsonl", rows), folder) as opened:
        yield opened


def query_row(**more):
    meta = {"title": SOURCE, "arxiv_id": "2509.00001", "section": "Related Work"}
    return {"question": QUESTION, "answer": SLOTS, "qid": "q0", "source_meta": meta, "writer": "heading", **more}


def built(library, folder, rows, **settings):
    """(rows, manifest)."""
    (folder / "queries").mkdir(parents=True)
    write_rows(folder / "queries" / "train.jsonl", rows)
    manifest = build_sessions(library, folder / "queries", folder / "out", SessionSettings(**settings))
    return [json.loads(line) for line in (folder / "out" / "train.jsonl").read_text("utf-8").splitlines()], manifest


def labelled_query(question, answers):
    return LabelledQuery(question, answers, tuple(range(len(answers))), 0, "q", "train", "", False, None)


def replies(rows, title):
    return [row["messages"][1]["content"] for row in rows if row.get("title") == title]


def test_a_session_asks_what_finds_most_for_the_least():
    found = {"all but one": [1, 2, 9], "one": [1], "the last": [3, 8], "nothing": [7], "all but one again": [1, 2]}
    worth = {1: 1.0, 2: 1.0, 3: 1.0}
    assert best_queries(found, worth, worth, 5) == ["all but one", "the last"]
    assert best_queries(found, worth, worth, 1) == ["all but one"]
    assert best_queries({"nothing": [7]}, worth, worth, 5) == []


def test_an_answer_after_the_results_counts_a_little_and_is_asked_for_again():
    far = [*range(100, 100 + RESULTS), 1]
    assert best_queries({"far": far}, {1: 1.0}, [1], 5) == ["far"]
    assert best_queries({"far": far, "near": [1]}, {1: 1.0}, [1], 5) == ["near"]
    assert best_queries({"far": [*far[:-1], *range(200, 240), 1]}, {1: 1.0}, [1], 5) == []
    assert best_queries({"far": far}, {1: COMPANION}, [], 5) == []


def test_a_query_is_worth_what_the_ones_before_it_did_not_find():
    found = {"wide": [1, 2, 4], "overlaps": [1, 2, 3], "apart": [3]}
    worth = {1: 1.0, 2: 1.0, 3: 1.0, 4: COMPANION}
    assert best_queries(found, worth, [1, 2, 3], 5) == ["overlaps", "wide"]
    assert best_queries(found, worth | {4: 0.0}, [1, 2, 3], 5) == ["overlaps"]


def test_the_earlier_of_equals_is_asked():
    assert best_queries({"b": [1], "a": [1]}, {1: 1.0}, [1], 5) == ["b"]


def test_a_paper_worth_less_than_a_search_costs_is_not_searched_for():
    assert best_queries({"a": [1]}, {1: 0.06}, [], 5) == []
    assert best_queries({"a": [1]}, {1: COMPANION}, [], 5) == ["a"]


def test_a_whole_title_is_no_candidate_and_field_words_share_a_word():
    answers = (Paper("Slot Attention"), Paper("Slot Attention for Quokka Synthesis"))
    query = labelled_query("Papers on slot attention and quokkas?", answers)
    candidates = candidate_queries(query, (), lambda text: 9, 5, 12)
    assert "slot attention" not in [text.lower() for text in candidates]
    assert "quokka synthesis" in [text.lower() for text in candidates]
    assert len(set(candidates)) == len(candidates) <= 12
    assert len(candidate_queries(query, (), lambda text: 9, 5, 3)) == 3


def test_what_few_papers_hold_is_no_term_of_the_field():
    query = labelled_query("Papers on quokka habitats?", (Paper("Quokka Synthesis with Marmoset Gossip"),))

    def known(**papers_with):
        number = {text.replace("_", " "): n for text, n in papers_with.items()}
        return candidate_queries(query, (), lambda text: number.get(text, 0), 5, 14)

    assert "quokka synthesis" in known(quokka_synthesis=5)
    assert "quokka synthesis" not in known(quokka_synthesis=4)
    assert "quokka habitats marmoset gossip" in known(marmoset_gossip=5, quokka_habitats_marmoset_gossip=3)
    assert "quokka habitats marmoset gossip" not in known(marmoset_gossip=5, quokka_habitats_marmoset_gossip=2)


def test_what_was_said_in_other_words_is_searched_by_its_term():
    query = labelled_query("Papers on drafting tokens to speed up decoding?", (Paper("Medusa"),))
    assert "speculative decoding" in candidate_queries(query, (), lambda text: 0, 5, 14)


def test_search_sessions_find_the_answers_when_carried_out(library, tmp_path):
    rows, manifest = built(library, tmp_path, [query_row()])
    (row,) = [row for row in rows if row["kind"] == "search"]
    assert row["messages"][0] == {"role": "user", "content": search_request(QUESTION).prompt}
    parsed = read_reply(row["messages"][1]["content"], "search")
    assert not parsed.problems
    assert parsed.stop.value == "stopped"
    found = {hit.paper.title for move in parsed.moves for hit in library.search(move.argument, 10)}
    assert found >= set(SLOTS)
    assert manifest["counts"]["answers found"] == manifest["counts"]["answers"] == 2


def test_sections_that_cite_an_answer_are_expanded_and_others_at_times(library, tmp_path):
    never, _ = built(library, tmp_path / "a", [query_row()], other_sections=0.0)
    assert replies(never, OTHER) == ["[Expand] Related Work\n[Expand] Method\n[StopExpand]"]
    assert replies(never, BARREN) == ["[StopExpand]"]
    always, _ = built(library, tmp_path / "b", [query_row()], other_sections=1.0)
    assert replies(always, OTHER)[0].count("[Expand]") == 4
    sections = ["Introduction", "Related Work", "Method", "Results"]
    (row,) = [row for row in never if row.get("title") == OTHER]
    abstract = library.paper_by_title(OTHER).abstract
    assert row["messages"][0]["content"] == expand_request(QUESTION, OTHER, abstract, sections).prompt


def test_the_source_paper_is_hidden(library, tmp_path):
    rows, _ = built(library, tmp_path / "hidden", [query_row()])
    assert SOURCE not in {row.get("title") for row in rows}
    shown, _ = built(library, tmp_path / "shown", [query_row(source_meta={})])
    assert SOURCE in {row.get("title") for row in shown}


def test_the_source_paper_takes_no_place_among_the_results(library, tmp_path, monkeypatch):
    found = [hit.paper.title for hit in library.search("slot attention", 10)]
    last = max(found.index(title) for title in SLOTS) + 1
    assert found.index(SOURCE) < last - 1
    monkeypatch.setattr("pasa.training_data.crawler_sessions.RESULTS", last - 1)
    _, manifest = built(library, tmp_path / "hidden", [query_row(answer=[found[last - 1]])])
    assert manifest["counts"]["answers found"] == 1
    _, manifest = built(library, tmp_path / "shown", [query_row(answer=[found[last - 1]], source_meta={})])
    assert manifest["counts"]["answers found"] == 0


def test_a_query_whose_answers_no_search_finds_gives_no_search_session(library, tmp_path):
    rows, manifest = built(library, tmp_path, [query_row(question="Which papers study xylophones?", source_meta={})])
    assert not [row for row in rows if row["kind"] == "search"]
    assert manifest["drops"]["search session: no query finds an answer"] == 1
    _, unknown = built(library, tmp_path / "unknown", [query_row(answer=["A Paper Nobody Has"])])
    assert unknown["drops"]["no answer in the library"] == 1


def test_a_build_is_the_same_twice(library, tmp_path):
    rows = [query_row(qid=f"q{n}") for n in range(5)]
    assert built(library, tmp_path / "a", rows)[0] == built(library, tmp_path / "b", rows)[0]


def test_any_number_of_workers_writes_the_same(library, tmp_path):
    (tmp_path / "queries").mkdir()
    write_rows(tmp_path / "queries" / "train.jsonl", [query_row(qid=f"q{n}") for n in range(80)])
    with (tmp_path / "queries" / "train.jsonl").open("ab") as file:
        file.write(b"\xff\xfe no row\n")
    one, two = (
        build_sessions(library, tmp_path / "queries", tmp_path / str(n), SessionSettings(), workers=n) for n in (1, 2)
    )
    assert two["files"] == one["files"]
    assert two["counts"] == one["counts"]
    assert two["drops"] == one["drops"] == {"bad row": 1}
    strict = SessionSettings(max_bad_rows=0)
    with pytest.raises(ConfigError, match="1 bad rows, more than the 0"):
        build_sessions(library, tmp_path / "queries", tmp_path / "strict", strict, workers=2)


def test_the_command_builds_and_shows(library, tmp_path, capsys):
    (tmp_path / "queries").mkdir()
    write_rows(tmp_path / "queries" / "train.jsonl", [query_row()])
    flags = ["--output_folder", str(tmp_path / "out")]
    assert main(["--library", str(library.path), "--queries", str(tmp_path / "queries"), *flags]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["search sessions"] == 1
    assert main([*flags, "--sample", "20"]) == 0
    assert f"[search] {QUESTION}\n  [Search] slot attention\n" in capsys.readouterr().out
    assert main(flags) == 2

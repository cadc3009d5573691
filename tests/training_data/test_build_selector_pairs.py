"""Pairs to train a Selector on: what is a positive, what may be a negative, and what bad rows do."""

import json

import pytest

from pasa.errors import ConfigError
from pasa.evaluation.selector_pairs import read_pairs
from pasa.library import Library
from pasa.paper import Paper
from pasa.prompts import select_request
from pasa.training_data.build import BadRows
from pasa.training_data.judges import read_verdicts
from pasa.training_data.selector_pairs import PairSettings, build_pairs, coverage, question_weights
from scripts.build_sft_selector import main
from tests.library_rows import write_rows
from tests.training_data.small_library import ABSTRACTS, paper

GOLD, SAME_WORDS, NEARBY, SOURCE = (
    "Slot Attention for Novel View Synthesis",
    "Slot Attention in Novel View Synthesis Again",
    "Novel Views of Attention Deficits",
    "The Source Cites Slot Attention",
)
QUESTION = "Which papers study slot attention for novel view synthesis?"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    far = [paper(f"Gossip of {name} Quadrotors") for name in ("Seven", "Eight", "Nine", "Eleven", "Thirty")]
    rows = [
        *(paper(title, abstract) for title, abstract in ABSTRACTS.items()),
        paper(SAME_WORDS),
        paper(NEARBY),
        paper(SOURCE, sections={"Related Work": [GOLD, "Spiking Retina Chips"]}, arxiv_id="2509.00001"),
        *far,
        paper("A Review of Attention", sections={"Text": [row["title"] for row in far]}),
    ]
    with Library.open(write_rows(folder / "papers.jsonl", rows), folder) as opened:
        yield opened


def query_row(**more):
    row = {
        "question": QUESTION,
        "answer": [GOLD],
        "qid": "q0",
        "source_meta": {"title": SOURCE, "arxiv_id": "2509.00001"},
        "writer": "heading",
    }
    return {**row, **more}


def built(library, folder, rows, verdicts=None, **settings):
    """(the train rows, manifest)."""
    (folder / "queries").mkdir(parents=True)
    write_rows(folder / "queries" / "train.jsonl", rows)
    manifest = build_pairs(library, folder / "queries", folder / "out", PairSettings(**settings), verdicts)
    return [json.loads(line) for line in (folder / "out" / "train.jsonl").read_text("utf-8").splitlines()], manifest


def titles(rows, decision):
    return {row["title"] for row in rows if row["messages"][1]["content"].startswith(decision)}


def test_answers_are_true_and_the_decision_token_comes_first(library, tmp_path):
    rows, _ = built(library, tmp_path, [query_row()])
    (positive,) = [row for row in rows if row["negative"] is None]
    assert positive["title"] == GOLD
    assert positive["messages"] == [
        {"role": "user", "content": select_request(QUESTION, GOLD, ABSTRACTS[GOLD]).prompt},
        {"role": "assistant", "content": "True"},
    ]


def test_no_negative_is_an_answer_the_source_cited_by_it_or_selected(library, tmp_path):
    rows, manifest = built(library, tmp_path, [query_row(qid=f"q{n}") for n in range(20)], negatives_per_positive=6)
    negatives = titles(rows, "False")
    assert len(negatives) > 5
    assert NEARBY in negatives
    assert not negatives & {GOLD, SOURCE, "Spiking Retina Chips", SAME_WORDS}
    assert manifest["drops"]["would be selected, not labelled"] > 0
    assert set(manifest["counts"]) >= {"negatives by search", "negatives by cited", "negatives by elsewhere"}


def test_a_question_that_tells_one_paper_takes_what_holds_most_of_its_words(library, tmp_path):
    question = "Which paper proposed slot attention for synthesis of a novel view by marmosets?"
    of_many, _ = built(library, tmp_path / "a", [query_row(question=question)], negatives_per_positive=9)
    of_one, _ = built(
        library, tmp_path / "b", [query_row(question=question, writer="detail")], negatives_per_positive=9
    )
    weights = question_weights(question)
    assert 0.6 < coverage(weights, Paper(SAME_WORDS)) < 0.95
    assert SAME_WORDS in titles(of_one, "False")
    assert (SAME_WORDS in titles(of_many, "False")) == (coverage(weights, Paper(SAME_WORDS)) < 0.75)


def test_coverage_weighs_words_and_reads_abbreviations():
    words = question_weights("Which papers use RL for quokkas?")
    assert coverage(words, Paper("Reinforcement Learning", "for quokkas")) == 1.0
    assert coverage(words, Paper("Quokkas")) > coverage(words, Paper("Learning"))
    assert coverage({}, Paper("Quokkas")) == 0.0


def test_verdicts_overrule_labels_and_bring_their_reasons(library, tmp_path):
    decided = [
        {"qid": "q0", "title": GOLD, "verdict": True, "reason": "It renders views."},
        {"qid": "q0", "title": NEARBY, "verdict": True},
        {"qid": "q1", "title": GOLD, "verdict": False},
        {"qid": "q1", "title": NEARBY, "verdict": None},
    ]
    verdicts = read_verdicts(write_rows(tmp_path / "verdicts.jsonl", decided), BadRows(0, print))
    rows, manifest = built(
        library, tmp_path, [query_row(), query_row(qid="q1")], verdicts=verdicts, negatives_per_positive=9
    )
    assert [row["messages"][1]["content"] for row in rows if row["title"] == GOLD] == [
        "True\nReason: It renders views."
    ]
    assert NEARBY not in {row["title"] for row in rows if row["qid"] == "q0"}
    assert manifest["drops"]["judges disagree with the label"] == 2


class Selector:
    """Selects whatever is of gossip."""

    name = "gossip"

    def score(self, requests):
        return [0.9 if "Gossip" in request.title else 0.1 for request in requests]


def test_what_a_selector_selects_is_no_negative_where_others_may_be_right(library, tmp_path):
    (tmp_path / "queries").mkdir()
    write_rows(tmp_path / "queries" / "train.jsonl", [query_row(), query_row(qid="q1", writer="detail")])
    settings = PairSettings(negatives_per_positive=9)
    manifest = build_pairs(library, tmp_path / "queries", tmp_path / "out", settings, selector=Selector())
    rows = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text("utf-8").splitlines()]
    gossip = {row["qid"] for row in rows if "Gossip" in row["title"]}
    assert gossip == {"q1"}
    assert manifest["drops"]["selected by the Selector, not labelled"] > 0
    assert manifest["sources"]["selector"] == "gossip"


def test_bad_rows_are_told_by_line_and_passed_over(library, tmp_path, capsys):
    (tmp_path / "queries").mkdir()
    good = json.dumps(query_row())
    bad = [
        '{"question": "cut',
        json.dumps({"answer": [GOLD]}),
        json.dumps(query_row(answer=[])),
        json.dumps(query_row(question="x" * 3000)),
        "[]",
    ]
    (tmp_path / "queries" / "train.jsonl").write_text("\n".join([good, *bad, good]), "utf-8")
    manifest = build_pairs(library, tmp_path / "queries", tmp_path / "out", PairSettings(max_bad_rows=5))
    told = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1] for line in told] == ["2", "3", "4", "5", "6"]
    assert "`answer` holds no title" in told[2]
    assert manifest["drops"]["bad row"] == 5
    assert manifest["counts"]["True pairs"] == 2
    with pytest.raises(ConfigError, match="5 bad rows, more than the 4"):
        build_pairs(library, tmp_path / "queries", tmp_path / "strict", PairSettings(max_bad_rows=4))


def test_the_same_seed_gives_the_same_pairs_and_another_seed_others(library, tmp_path):
    rows = [query_row(qid=f"q{n}") for n in range(6)]
    once, _ = built(library, tmp_path / "a", rows)
    again, _ = built(library, tmp_path / "b", rows)
    other, _ = built(library, tmp_path / "c", rows, seed=1)
    assert once == again
    assert once != other


def test_what_is_built_is_read_by_the_evaluation(library, tmp_path):
    rows, _ = built(library, tmp_path, [query_row()])
    pairs = read_pairs(tmp_path / "out" / "train.jsonl")
    assert [pair.title for pair in pairs] == [row["title"] for row in rows]
    assert {pair.title for pair in pairs if pair.is_answer} == {GOLD}


def test_the_command_builds_and_shows(library, tmp_path, capsys):
    (tmp_path / "queries").mkdir()
    write_rows(tmp_path / "queries" / "train.jsonl", [query_row()])
    flags = ["--output_folder", str(tmp_path / "out")]
    assert main(["--library", str(library.path), "--queries", str(tmp_path / "queries"), *flags]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["True pairs"] == 1
    assert main([*flags, "--sample", "20"]) == 0
    assert f"{QUESTION}\n  {GOLD}\n  -> True" in capsys.readouterr().out
    assert main(["--library", str(library.path), "--queries", str(tmp_path / "none"), *flags, "--fresh"]) == 2

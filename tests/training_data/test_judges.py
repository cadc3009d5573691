"""A panel of judges: who rules where they agree, where they differ, and what that saved."""

import json

import pytest

from pasa.errors import ConfigError
from pasa.models.base import Score
from pasa.prompts import select_request
from pasa.training_data.build import BadRows
from pasa.training_data.judges import Case, Verdict, hold_panel, panel_report, read_verdicts
from scripts.judge_pairs import main
from tests.library_rows import write_rows
from tests.models.openai_server import Answer, OpenAIServer, chat_answer, completion_answer

CASES = [Case(f"q{n}", f"question {n}?", f"Paper {n}", "Text.", label=n < 2) for n in range(4)]


class Judge:
    """Scores the papers by number."""

    name = "judge"

    def __init__(self, *scores, dollars=0.0):
        self.scores, self.dollars, self.asked = scores, dollars, []

    def score(self, requests):
        self.asked += [request.title for request in requests]
        return [Score(self.scores[int(request.title[-1])], 10, 1, self.dollars) for request in requests]


ONE, TWO = Judge(0.9, 0.8, 0.1, 0.2), Judge(0.7, 0.3, 0.4, 0.9)  # they differ on papers 1 and 3


def test_agreed_pairs_are_ruled_by_the_judges_and_the_rest_by_the_referee():
    referee = Judge(0.0, 0.9, 0.0, 0.1, dollars=0.5)
    rulings = hold_panel(CASES, [ONE, TWO], referee)
    assert referee.asked == ["Paper 1", "Paper 3"]
    assert [ruling.verdict for ruling in rulings] == [True, True, False, False]
    report = panel_report(rulings)
    assert report["judges_agree"] == 0.5
    assert (report["dollars"], report["dollars_for_all"]) == (1.0, 2.0)
    assert (report["judge_0_as_verdicts"], report["judge_1_as_verdicts"]) == (1.0, 0.5)
    assert report["left_for_a_person"] == 0


def test_without_a_referee_a_person_has_the_last_word(tmp_path):
    rulings = hold_panel(CASES, [ONE, TWO])
    rows = [ruling.row() for ruling in rulings]
    assert [row["verdict"] for row in rows] == [True, None, False, None]
    assert panel_report(rulings)["left_for_a_person"] == 2
    rows[1] |= {"verdict": True, "reason": "It does."}
    verdicts = read_verdicts(write_rows(tmp_path / "v.jsonl", rows), BadRows(0, print))
    assert verdicts == {
        ("q0", "paper"): Verdict(True),
        ("q1", "paper"): Verdict(True, "It does."),
        ("q2", "paper"): Verdict(False),
    }


def test_control_pairs_tell_how_often_an_agreed_panel_is_wrong():
    referee = Judge(0.1, 0.9, 0.1, 0.1)
    rulings = hold_panel(CASES, [ONE, TWO], referee, control_share=1.0)
    assert len(referee.asked) == 4
    assert rulings[0].verdict is False
    assert panel_report(rulings)["control_pairs"] == 2
    assert panel_report(rulings)["referee_agrees_with_agreed"] == 0.5


def test_a_report_on_nothing_is_all_zero():
    assert set(panel_report([]).values()) == {0}


@pytest.mark.parametrize(
    "row", [{"verdict": "yes"}, {"verdict": 1}, {"verdict": True}, {"verdict": True, "qid": "q"}, []]
)
def test_a_verdict_that_cannot_be_read_is_told_by_its_line(tmp_path, row):
    path = write_rows(tmp_path / "v.jsonl", [row])
    told = []
    assert read_verdicts(path, BadRows(1, told.append)) == {}
    assert told[0].startswith("skipped v.jsonl:1: ")
    with pytest.raises(ConfigError, match="1 bad rows, more than the 0"):
        read_verdicts(path, BadRows(0, print))


def test_the_command_votes_and_writes_what_the_builder_reads(tmp_path, capsys):
    rows = [
        {
            "messages": [
                {"role": "user", "content": select_request(case.question, case.title, case.abstract).prompt},
                {"role": "assistant", "content": str(case.label)},
            ],
            "qid": case.qid,
        }
        for case in CASES
    ]
    pairs = write_rows(tmp_path / "pairs.jsonl", rows)

    def script(path, body):
        true = "question 0" in (body.get("prompt") or body["messages"][0]["content"])
        if path.endswith("chat/completions"):
            return Answer(chat_answer("True", logprobs={"True": -0.1, "False": -3.0}))
        sure = {"True": -0.1, "False": -3.0} if true or body["model"] == "kind" else {"True": -3.0, "False": -0.1}
        return Answer(completion_answer("True", sure))

    out = tmp_path / "verdicts.jsonl"
    with OpenAIServer(script) as server:
        flags = ["--pairs", pairs, "--output_file", out, "--api_base", server.base_url]
        judges = ["--judges", "openai:kind", "openai:strict", "--referee", "openai:chat", "--referee_prompts", "chat"]
        assert main([str(flag) for flag in [*flags, *judges]]) == 0
    assert [json.loads(line)["verdict"] for line in out.read_text("utf-8").splitlines()] == [True] * 4
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert printed["judges_agree"] == "0.25"
    assert printed["asked_of_referee"] == "0.75"
    assert len(read_verdicts(out, BadRows(0, print))) == 4

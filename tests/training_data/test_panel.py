"""Small judges that learn from verdicts, stage by stage."""

import json

import numpy as np
import pytest

from pasa.models.base import Score
from pasa.prompts import select_request
from pasa.training_data.judges import Case
from pasa.training_data.panel import STUDENT, LabelReferee, hold_stages, stage_report
from pasa.training_data.small_judges import (
    WordsJudge,
    area_under_curve,
    fit_curve,
    log_odds,
)
from scripts.judge_pairs import main
from tests.library_rows import write_rows


def cases(number, seed=0):
    """Pairs of which a third are answers."""
    rng = np.random.default_rng(seed)
    return [Case(f"q{n}", f"question {n}?", f"Paper {n}", "Text.", bool(rng.random() < 1 / 3)) for n in range(number)]


class Noisy:
    """Scores near the label; the more noise the worse, and never around one half by itself."""

    def __init__(self, name, noise, pairs, seed):
        rng = np.random.default_rng(seed)
        self.name = name
        self.scores = {c.title: 0.8 + 0.1 * c.label + noise * rng.normal() for c in pairs}

    def score(self, requests):
        return [float(np.clip(self.scores[request.title], 0.01, 0.99)) for request in requests]


def held(number=600, **more):
    pairs = cases(number)
    judges = [Noisy("good", 0.03, pairs, 1), Noisy("fair", 0.05, pairs, 2), Noisy("poor", 0.5, pairs, 3)]
    return pairs, hold_stages(pairs, judges, LabelReferee(pairs), 100, 3, **more)


def test_judges_learn_where_to_say_yes():
    scores = np.array([[0.9], [0.91], [0.95], [0.96]])
    curve = fit_curve(scores, np.array([False, False, True, True]))
    assert (curve.probability(scores) > 0.5).tolist() == [False, False, True, True]


def test_the_curve_is_where_the_loss_is_least():
    rng = np.random.default_rng(0)
    scores, labels = rng.random((200, 2)), rng.random(200) < 0.4
    curve = fit_curve(scores, labels)

    def loss(weights):
        logits = (log_odds(scores) - curve.mean) / curve.scale @ weights + curve.intercept
        signed = np.where(labels, logits, -logits)
        return np.mean(np.log1p(np.exp(-signed))) + 0.005 * np.sum(weights**2)

    least = loss(curve.weights)
    assert all(loss(curve.weights + delta) > least for delta in (0.05 * np.eye(2)).tolist())
    assert all(loss(curve.weights - delta) > least for delta in (0.05 * np.eye(2)))


def test_verdicts_that_are_all_alike_and_none_at_all():
    curve = fit_curve(np.full((5, 1), 0.3), np.ones(5, bool))
    assert curve.probability(np.array([[0.3]])) > 0.9
    with pytest.raises(ValueError, match="no verdict"):
        fit_curve(np.zeros((0, 1)), np.zeros(0, bool))


def test_area_counts_pairs_in_order_and_ties_half():
    assert area_under_curve([0.9, 0.5, 0.5, 0.1], [True, True, False, False]) == 0.875
    assert np.isnan(area_under_curve([0.5], [True]))


def test_the_referee_rules_the_first_and_then_what_the_panel_differs_on():
    pairs, stages = held()
    assert [len(stage.rulings) for stage in stages] == [100, 167, 167, 166]
    assert [ruling.case for stage in stages for ruling in stage.rulings] == pairs
    assert all(ruling.referee is not None for ruling in stages[0].rulings)
    for stage in stages[1:]:
        assert all((ruling.referee is None) == ruling.agreed for ruling in stage.rulings)
        assert all(ruling.verdict is ruling.case.label for ruling in stage.rulings if not ruling.agreed)


def test_the_student_joins_and_the_poorest_judge_leaves():
    _, stages = held()
    assert stages[1].panel == ("good", "fair", "poor")
    assert set(stages[2].panel) == set(stages[3].panel) == {STUDENT, "good", "fair"}
    agreed = [row["agreed"] for row in stage_report(stages)]
    assert agreed[0] == 0 < agreed[1] < agreed[2]


def test_test_pairs_measure_every_judge_and_are_not_learnt_from():
    pairs = cases(700)
    judges = [Noisy("good", 0.03, pairs, 1), Noisy("poor", 0.5, pairs, 3)]
    referee = LabelReferee(pairs[:600])  # knows no label of the others
    stages = hold_stages(pairs[:600], judges, referee, 100, 2, test_cases=pairs[600:])
    last = stages[-1]
    assert set(last.accuracy) == {"good", "poor", STUDENT}
    assert last.accuracy["good"] > 0.85 > last.accuracy["poor"]
    assert last.area[STUDENT] > 0.9


def test_a_report_counts_what_the_referee_read():
    class Counting(LabelReferee):
        def score(self, requests):
            return [Score(score, prompt_tokens=10) for score in super().score(requests)]

    pairs = cases(30)
    stages = hold_stages(pairs, [Noisy("a", 0.1, pairs, 1), Noisy("b", 0.1, pairs, 2)], Counting(pairs), 10, 1)
    seed, _, total = stage_report(stages)
    assert seed["asked_tokens"] == seed["all_tokens"] == 100
    assert total["asked_tokens"] == 10 * total["asked"]
    assert total["all_tokens"] > total["asked_tokens"]


def test_words_are_counted_by_weight():
    def ask(title):
        return select_request("Which papers study quokka habitats?", title, "")

    some, most, none = WordsJudge().score([ask("Habitats"), ask("Quokka habitats"), ask("Gossip")])
    assert none == 0 < some < most == pytest.approx(1.0)


def pairs_file(folder, number=60):
    rows = [
        {
            "messages": [
                {"role": "user", "content": select_request(f"quokka {n}", f"Quokka {n * case.label}", "Text.").prompt},
                {"role": "assistant", "content": str(case.label)},
            ],
            "qid": case.qid,
        }
        for n, case in enumerate(cases(number), 1)
    ]
    return write_rows(folder / "pairs.jsonl", rows)


def test_the_command_holds_stages_and_skips_bad_rows(tmp_path, capsys):
    pairs = pairs_file(tmp_path)
    with pairs.open("ab") as file:
        file.write(b'{"messages": []}\n[1]\n"\xff"\n')
    flags = ["--pairs", str(pairs), "--output_file", str(tmp_path / "v.jsonl"), "--judges", "words", "words"]
    stages = [*flags, "--stages", "2", "--seed_pairs", "20"]
    assert main([*stages, "--referee", "labels", "--test_pairs", str(pairs), "--max_pairs", "50"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1].split()[:2] == ["seed", "20"]
    assert "student" in out
    assert "skipped pairs.jsonl:61: `messages` must be" in err
    assert len(err.splitlines()) == 6  # three of each file
    verdicts = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text("utf-8").splitlines()]
    assert len(verdicts) == 50
    assert main([*stages, "--referee", "labels", "--max_bad_rows", "2"]) == 2
    assert "3 bad rows, more than the 2" in capsys.readouterr().err
    assert main(stages) == 2
    assert "--referee" in capsys.readouterr().err
    assert main([*flags, "--stages", "2", "--seed_pairs", "60", "--referee", "labels"]) == 2
    assert main([*flags, "--judges", "cosine:nobody", "words"]) == 2

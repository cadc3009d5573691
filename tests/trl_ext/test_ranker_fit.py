"""The ranker's fit: answers come first, the probability selects, no question of the hidden paper leaks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pasa.errors import ConfigError
from pasa.models.rules_ranker import linear_scores
from trl_ext.ranker_crawls import HidingLibrary, ranker_questions
from trl_ext.ranker_fit import RankedCrawl, _question_loss, best_shift, fit_level, fit_weights, recalls, selected

NAMES = ("cosine", "noise", "place")


def crawls(count: int, seed: int = 0) -> list[RankedCrawl]:
    """40 papers each, 3 of them answers: nearer by `cosine`, earlier by `place`, and no different by `noise`."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        is_answer = np.zeros(40, bool)
        is_answer[draw.choice(40, 3, replace=False)] = True
        features = {
            "cosine": draw.normal(size=40) + 2.0 * is_answer,
            "noise": draw.normal(size=40),
            "place": draw.normal(size=40) - 1.0 * is_answer,
        }
        made.append(RankedCrawl(features, is_answer, 4))
    return made


def test_what_tells_answers_apart_gets_weight_and_noise_gets_none() -> None:
    weights = fit_weights(crawls(80), NAMES)
    assert weights["cosine"] > 0.8
    assert weights["place"] < -0.4
    assert 0 <= weights["noise"] < 0.15


def test_a_feature_that_points_the_wrong_way_is_dropped() -> None:
    turned = [RankedCrawl({**c.features, "cosine": -c.features["cosine"]}, c.is_answer, c.answers) for c in crawls(40)]
    assert fit_weights(turned, NAMES)["cosine"] == 0


def test_without_an_answer_among_others_nothing_is_fitted() -> None:
    with pytest.raises(ValueError, match="no crawl"):
        fit_weights([RankedCrawl({"cosine": np.ones(3)}, np.zeros(3, bool), 1)], ("cosine",))


def test_the_loss_falls_along_its_slope_as_told() -> None:
    draw = np.random.default_rng(1)
    rows, is_answer, weights = draw.normal(size=(9, 3)), np.arange(9) < 2, draw.normal(size=3)
    _, slope = _question_loss(rows, is_answer, weights)
    step = 1e-6
    for at in range(3):
        ahead, back = weights.copy(), weights.copy()
        ahead[at] += step
        back[at] -= step
        measured = (_question_loss(rows, is_answer, ahead)[0] - _question_loss(rows, is_answer, back)[0]) / (2 * step)
        assert slope[at] == pytest.approx(measured, abs=1e-6)


def test_the_level_selects_answers_and_keeps_the_order() -> None:
    made = crawls(80)
    weights = fit_weights(made, NAMES)
    scores = [linear_scores(c.features, weights) for c in made]
    level, intercept = fit_level(scores, [c.is_answer for c in made])
    assert level["score"] > 0
    logits = [intercept + level["score"] * s + level["best"] * s.max() for s in scores]
    measured = selected(logits, made)
    assert measured["recall"] > 0.5  # of 4 answers 3 were found
    assert measured["precision"] > 0.3


def test_the_shift_puts_the_threshold_where_the_f_measure_is_best() -> None:
    logits, y = np.array([3.0, 2.0, 1.0, 0.0]), np.array([1.0, 1.0, 0.0, 0.0])
    shift = best_shift(logits, y)
    assert ((logits + shift) > 0).tolist() == [True, True, False, False]


def test_recalls_count_answers_that_were_never_found() -> None:
    crawl = RankedCrawl({}, np.array([False, True, False]), 2)
    assert recalls([crawl], [np.array([0.1, 0.9, 0.5])])["recall@20"] == 0.5


def test_questions_about_one_paper_and_without_a_source_are_left_out(tmp_path: Path) -> None:
    rows = [
        {"question": "a", "answer": ["A"], "source_meta": {"title": "S"}, "writer": "phrase"},
        {"question": "b", "answer": ["A"], "source_meta": {"title": "S"}, "writer": "detail"},
        {"question": "c", "answer": ["A"], "source_meta": {}, "writer": "phrase"},
        {"question": "d", "answer": ["A"], "source_meta": {"title": "S"}, "writer": "heading"},
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert {q.text for q in ranker_questions(path, 10, 0)} == {"a", "d"}
    assert len(ranker_questions(path, 1, 0)) == 1
    with pytest.raises(ConfigError, match="build_queries"):
        ranker_questions(tmp_path / "none.jsonl", 1, 0)


class TestHidingLibrary:
    """The source paper is as if the library did not hold it."""

    @pytest.fixture
    def library(self, tmp_path: Path):
        from pasa.library import Library
        from pasa.library.build import build_library

        rows = [
            {
                "title": f"Slot attention {name}",
                "abstract": "Slots.",
                "sections": {"Related Work": ["Slot attention a"]},
            }
            for name in "abc"
        ]
        source = tmp_path / "papers.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        build_library([source], tmp_path / "library", processes=1)
        with Library.open(tmp_path / "library") as opened:
            yield opened

    def test_neither_search_nor_references_lead_to_it(self, library) -> None:
        from pasa.paper import Reference, title_key

        hiding = HidingLibrary(library)
        titles = {hit.title for hit in hiding.search("slot attention", 3)}
        assert "Slot attention a" in titles
        assert hiding.papers_by_reference([Reference("Slot attention a")])[0] is not None
        hiding.hidden = title_key("Slot attention a")
        assert {hit.title for hit in hiding.search("slot attention", 2)} == titles - {"Slot attention a"}
        assert hiding.papers_by_reference([Reference("Slot attention a")]) == [None]

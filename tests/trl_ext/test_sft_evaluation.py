import datetime as dt
import math

import pytest

from pasa.models.base import Reply
from pasa.paper import Paper
from pasa.prompts import expand_request, search_request
from pasa.query import Query
from trl_ext.sft_data import SftRow
from trl_ext.sft_evaluation import (
    GoldSearch,
    area_under_roc,
    crawl_request,
    crawler_metrics,
    curve_point,
    logistic_fit,
    selector_metrics,
)

SEARCH = search_request("which study agents")
EXPAND = expand_request("which study agents", "A title", "An abstract.", ["Related Work", "Method"])


class Replies:
    name = "replies"

    def __init__(self, *texts):
        self._texts = texts

    def generate(self, requests, sampling):
        return [Reply(text) for text in self._texts]


def rows(*decisions):
    return [SftRow("select", "p", "True" if decision else "False") for decision in decisions]


def test_decisions_are_counted_at_one_half_and_above_it_only():
    pairs = rows(True, True, False, False)
    metrics = selector_metrics([0.9, 0.5, 0.6, 0.1], pairs)
    assert (metrics["precision"], metrics["recall"], metrics["f1"]) == (0.5, 0.5, 0.5)
    assert metrics["auc"] == 0.75
    assert metrics["best_f1"] == pytest.approx(0.8)
    assert metrics["best_threshold"] < 0.5
    assert [point[0] for point in metrics["curve"]][:2] == [0.05, 0.1]


def test_curve_and_area_of_empty_kinds_are_defined():
    assert curve_point([0.1], [True], 0.5).precision == 0
    assert curve_point([0.9], [False], 0.5).recall == 0
    assert area_under_roc([0.1, 0.9], [True, True]) == 0.5
    assert area_under_roc([0.5, 0.5], [True, False]) == 0.5
    assert area_under_roc([0.1, 0.2, 0.3], [False, True, True]) == 1


def test_a_request_is_read_back_from_its_prompt():
    assert crawl_request(SftRow("search", SEARCH.prompt, "")) == SEARCH
    read = crawl_request(SftRow("expand", EXPAND.prompt, ""))
    assert (read.query, read.section_names, read.abstract) == (EXPAND.query, EXPAND.section_names, "An abstract.")


@pytest.mark.parametrize(
    ("request_", "reply", "valid"),
    [
        (SEARCH, "[Search] agents\n[StopSearch]", 1),
        (SEARCH, "[Search] agents", 0),
        (SEARCH, "Sure: [Search] agents\n[StopSearch]", 0),
        (SEARCH, "[Search] a\n[Search] a\n[StopSearch]", 0),
        (EXPAND, "[Expand] Method\n[StopExpand]", 1),
        (EXPAND, "[StopExpand]", 1),
        (EXPAND, "[Expand] Conclusion\n[StopExpand]", 0),
        (EXPAND, "[Search] agents\n[StopExpand]", 0),
    ],
)
def test_only_exact_actions_are_valid(request_, reply, valid):
    row = SftRow(request_.kind, request_.prompt, "[Expand] Method\n[StopExpand]")
    assert crawler_metrics(Replies(reply), [row], 8)["valid"] == valid


def test_sections_are_compared_with_the_rows():
    row = SftRow("expand", EXPAND.prompt, "[Expand] Method\n[StopExpand]")
    metrics = crawler_metrics(Replies("[Expand] Method\n[Expand] Related Work\n[StopExpand]"), [row], 8)
    assert metrics["section_f1"] == pytest.approx(2 / 3)


def test_golds_are_looked_for_among_what_the_queries_find_before_the_end_date():
    def search(query, limit, end_date):
        assert (limit, end_date) == (10, dt.date(2024, 1, 1))
        return [Paper("Gold one!")] if query == "first" else [Paper("Another")]

    known = Query(SEARCH.query, dt.date(2024, 1, 1), answer=("gold One", "Gold two"))
    golds = GoldSearch(search, {known.text: known}, 10)
    row = SftRow("search", SEARCH.prompt, "")
    metrics = crawler_metrics(Replies("[Search] first\n[Search] second\n[StopSearch]"), [row], 8, golds)
    assert (metrics["gold_recall"], metrics["gold_questions"]) == (0.5, 1)
    assert "gold_recall" not in crawler_metrics(Replies("[StopSearch]"), [row], 8, GoldSearch(search, {}, 10))


def test_the_logistic_fit_finds_the_odds_of_each_value():
    values = [0.0] * 4 + [1.0] * 4
    is_answer = [True, False, False, False, True, True, True, False]
    slope, offset = logistic_fit(values, is_answer, ridge=0.0)
    assert offset == pytest.approx(-math.log(3))
    assert slope == pytest.approx(2 * math.log(3))


def test_the_logistic_fit_ends_on_separable_values():
    slope, offset = logistic_fit([-1.0, -0.5, 0.5, 1.0], [False, False, True, True])
    assert 1 < slope < 100
    assert offset == pytest.approx(0.0, abs=1e-6)

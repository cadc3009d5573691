"""Metrics are the paper's, equal to upstream's metrics.py on its own trees."""

import json
from pathlib import Path

import pytest

from pasa.evaluation.metrics import macro_average, query_metrics

RUNS = Path(__file__).parents[3] / "shared" / "data" / "upstream_runs"


def node(title, score, child=None):
    return {"title": title, "select_score": score, "child": child or {}, "extra": {}}


def test_a_tree_small_enough_to_count_by_hand():
    deep = node("Gamma!", 0.4)
    tree = node("q", 0.0, {"s1": [node("Alpha", 0.9, {"Related Work": [deep]}), node("alpha", 0.1)], "s2": []})
    tree["extra"]["answer"] = ["ALPHA", "gamma", "missed"]
    metrics = query_metrics(tree)
    assert metrics.crawler_recall == pytest.approx(2 / 3)
    assert metrics.precision == 1.0
    assert metrics.recall == pytest.approx(1 / 3)
    assert metrics.recall_at_20 == pytest.approx(2 / 3)
    assert metrics.actions == 3
    # root: one selected child, two actions; Alpha: none selected, one action; two leaves
    assert metrics.score == pytest.approx((1 - 0.2 + 0 - 0.1) / 4)


def test_recall_at_k_counts_the_k_best_scored():
    papers = [node(f"paper {chr(97 + i // 26)}{chr(97 + i % 26)}", 1 - i / 100) for i in range(60)]
    tree = node("q", 0.0, {"s": list(reversed(papers))})
    assert query_metrics(tree, [papers[19]["title"]]).recall_at_20 == 1
    assert query_metrics(tree, [papers[20]["title"]]).recall_at_20 == 0
    assert query_metrics(tree, [papers[49]["title"]]).recall_at_50 == 1
    assert query_metrics(tree, [papers[50]["title"]]).recall_at_50 == 0


def test_nothing_selected_has_precision_zero():
    assert query_metrics(node("q", 0.0, {"s": [node("a", 0.5)]}), ["a"]).precision == 0


@pytest.mark.skipif(not RUNS.exists(), reason="../shared/data/upstream_runs is not here")
def test_equals_upstream_on_its_own_trees():
    trees = [json.loads(path.read_text()) for path in sorted((RUNS / "trees").glob("*.json"))]
    expected = json.loads((RUNS / "metrics.json").read_text())
    ours = macro_average([query_metrics(tree) for tree in trees])
    assert {name: round(value, 4) for name, value in ours.items()} == expected

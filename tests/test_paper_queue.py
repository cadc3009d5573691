"""The paper queue: pasa/paper_queue.py."""

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasa.paper import Paper
from pasa.paper_queue import PaperQueue, next_to_expand, too_late
from pasa.result_tree import Node

papers = st.builds(
    Paper, st.sampled_from(["Aa", "aa!", "Bb", "Cc", "1984", "2001"]), arxiv_id=st.sampled_from([None, "1", "2", "3"])
)


@settings(max_examples=80, deadline=None)
@given(st.lists(papers, max_size=12))
def test_no_two_papers_let_in_share_an_id_or_a_title(met):
    queue = PaperQueue()
    let_in = [paper for paper in met if queue.meet(paper)]
    ids = [p.arxiv_id for p in let_in if p.arxiv_id]
    titles = [p.title_key for p in let_in if p.title_key]
    assert len(ids) == len(set(ids))
    assert len(titles) == len(set(titles))
    assert queue.touched_ids == ids
    assert all(queue.has_met(p) and not queue.meet(p) for p in met)


def test_by_id_alone_same_titles_are_two_papers():
    a, b = Paper("Deep Nets", arxiv_id="1"), Paper("Deep nets", arxiv_id="2")
    by_id, by_title = PaperQueue("id"), PaperQueue()
    assert by_id.meet(a)
    assert by_id.meet(b)
    assert by_title.meet(a)
    assert not by_title.meet(b)


def test_titles_without_letters_are_told_apart():
    queue = PaperQueue()
    assert queue.meet(Paper("1984"))
    assert queue.meet(Paper("2001"))
    assert not queue.meet(Paper("1984"))


END = dt.date(2024, 5, 15)


@pytest.mark.parametrize(
    ("paper", "reason"),
    [
        (Paper("t", date="2024-05-15"), None),
        (Paper("t", date="2024-05-16"), "after_end_date"),
        (Paper("t", date="2024-04"), None),
        (Paper("t", date="2024-05"), "after_end_date"),
        (Paper("t", date="2023"), None),
        (Paper("t", date="2024"), "after_end_date"),
        (Paper("t", arxiv_id="2404.00001"), None),
        (Paper("t", arxiv_id="2405.00001"), "after_end_date"),
        (Paper("t", date="garbage", arxiv_id="2406.00001"), "after_end_date"),
        (Paper("t"), "undated"),
    ],
)
def test_a_paper_is_kept_only_if_it_surely_is_not_later(paper, reason):
    assert too_late(paper, END, "drop") == reason
    assert too_late(paper, END, "keep") == (None if reason == "undated" else reason)
    assert too_late(paper, None, "drop") is None


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=8), st.none() | st.integers(0, 9))
def test_the_best_are_expanded_first_and_ties_keep_their_order(scores, limit):
    nodes = [Node(Paper(str(i)), score=score) for i, score in enumerate(scores)]
    chosen = next_to_expand(nodes, limit)
    places = [(-node.score, nodes.index(node)) for node in chosen]
    assert places == sorted(places)
    assert len(chosen) == (len(nodes) if limit is None else min(limit, len(nodes)))
    assert not chosen or chosen[-1].score >= max((n.score for n in nodes if n not in chosen), default=0.0)

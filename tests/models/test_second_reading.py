"""The best papers of a ranking, read again."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasa.models.base import FoundPapers, SelectRequest
from pasa.models.second_reading import SecondReading, merged
from pasa.paper import Paper


class ByTitle:
    """Scores a paper by the number that is its title, and keeps what it was asked."""

    name = "by title"

    def __init__(self) -> None:
        self.asked: list[SelectRequest] = []

    def score(self, requests: Sequence[SelectRequest]) -> list[float]:
        self.asked += requests
        return [float(request.title) for request in requests]


def found(scores: Sequence[float], second: Sequence[float], question: str = "which?") -> FoundPapers:
    papers = tuple(Paper(title=str(value), abstract="a") for value in second)
    return FoundPapers(question, papers, tuple(scores), (), tuple(None for _ in scores))


def test_only_the_best_are_read_and_change_places_keeping_the_scores_there_were() -> None:
    scorer = ByTitle()
    scores = SecondReading(scorer, papers=3, share=1.0)(found([0.9, 0.1, 0.6, 0.7], [0.2, 0.99, 0.3, 0.5]))
    assert [request.title for request in scorer.asked] == ["0.2", "0.5", "0.3"]
    assert {request.query for request in scorer.asked} == {"which?"}
    assert scores == [0.6, 0.1, 0.7, 0.9]


def test_the_ranking_to_start_from_may_be_another_than_the_selectors() -> None:
    reading = SecondReading(ByTitle(), lambda found: [0.3, 0.8, 0.5], papers=2, share=1.0)
    assert reading(found([0.9, 0.1, 0.1], [0.9, 0.2, 0.6])) == [0.3, 0.5, 0.8]


def test_without_a_question_or_papers_nothing_changes() -> None:
    scorer = ByTitle()
    assert SecondReading(scorer)(found([0.2, 0.4], [0.9, 0.1], question="")) == [0.2, 0.4]
    assert SecondReading(scorer)(found([], [])) == []
    assert not scorer.asked


unequal = st.lists(st.floats(0.01, 0.99), min_size=2, max_size=6, unique=True)


@settings(max_examples=30)
@given(first=unequal, share=st.sampled_from([0.0, 0.3, 1.0]))
def test_scores_are_a_rearrangement_and_a_share_of_none_changes_none(first: list[float], share: float) -> None:
    given_scores = SecondReading(ByTitle(), share=share)(found(first, [1 - score for score in first]))
    assert sorted(given_scores) == sorted(first)
    assert share > 0.0 or given_scores == first


def test_the_shares_weigh_standardised_log_odds() -> None:
    assert merged([0.5, 0.9], [0.9, 0.5], 0.5) == pytest.approx([0.0, 0.0])
    assert merged([0.5, 0.9], [0.9, 0.5], 0.25) == pytest.approx([-0.5, 0.5])
    assert merged([0.5, 0.5], [0.2, 0.8], 0.5) == pytest.approx([-0.5, 0.5])

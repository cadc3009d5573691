"""RulesRanker: what its final scores promise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasa.errors import CheckpointError
from pasa.models import rules_ranker
from pasa.models.base import FoundPapers
from pasa.models.embedding import DIMENSION, SentenceEmbedder, Vectors
from pasa.models.rules_ranker import FEATURES, RANKER_FILE, UNCOUNTED_FEATURES, RulesRanker, read_ranker
from pasa.paper import Paper

QUESTION = "Which works apply slot attention to novel view synthesis?"


class LetterEmbedder(SentenceEmbedder):
    """A cheap stand-in: a text's vector counts its letters; the texts asked for are noted."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str], max_tokens: int) -> Vectors:
        self.asked += texts
        out = np.full((len(texts), DIMENSION), 1e-3, np.float32)
        for row, text in enumerate(texts):
            for letter in text.lower():
                out[row, ord(letter) % DIMENSION] += 1
        return out / np.linalg.norm(out, axis=1, keepdims=True)


def found(
    scores: Sequence[float],
    citations: Sequence[tuple[int, int]] = (),
    places: Sequence[int | None] | None = None,
    question: str = QUESTION,
) -> FoundPapers:
    """Papers alike in everything but what is given."""
    papers = tuple(Paper(f"Paper {'i' * at}", "Slots attend to views.") for at in range(len(scores)))
    return FoundPapers(question, papers, tuple(scores), tuple(citations), tuple(places or [None] * len(scores)))


def same_papers(count: int) -> FoundPapers:
    return FoundPapers(QUESTION, (Paper("Slots", "Views."),) * count, (0.4,) * count, (), (None,) * count)


def test_a_paper_that_good_papers_cite_moves_up() -> None:
    ranker = RulesRanker(LetterEmbedder())
    plain = ranker.features(found([0.9, 0.2, 0.2]))
    cited = ranker.features(found([0.9, 0.2, 0.2], [(0, 1), (2, 1)]))
    assert cited["evidence"][1] > cited["evidence"][2] == plain["evidence"][1] == 0
    by_better = ranker.features(found([0.9, 0.2, 0.2], [(0, 1), (1, 2)]))["evidence"]
    assert by_better[1] > by_better[2] > 0


def test_the_library_s_citations_and_the_place_in_the_search_count() -> None:
    papers = same_papers(3)
    scores = RulesRanker(LetterEmbedder(), lambda _: [0, 5, 50])(papers)
    assert scores[0] < scores[1] < scores[2]
    placed = FoundPapers(papers.question, papers.papers, papers.scores, (), (0, 50, None))
    first, later, not_found = RulesRanker(LetterEmbedder())(placed)
    assert first > later > not_found


def test_papers_like_the_best_score_higher_than_others() -> None:
    like, unlike = Paper("ab", "ab" * 40), Paper("xy", "xy" * 40)
    papers = (*[Paper("ab", "ba" * 40)] * 5, like, unlike)
    features = RulesRanker(LetterEmbedder()).features(
        FoundPapers(QUESTION, papers, (0.9,) * 5 + (0.1, 0.1), (), (None,) * 7)
    )
    assert features["like_best_5"][5] > features["like_best_5"][6] + 0.2


def test_a_paper_is_read_as_the_selector_reads_it() -> None:
    embedder = LetterEmbedder()
    papers = (Paper("With", "An abstract."), Paper("Without"))
    RulesRanker(embedder)(FoundPapers(QUESTION, papers, (0.5, 0.5), (), (None, None)))
    assert embedder.asked[1:] == ["With", "Without", "With. An abstract."]


def test_only_the_best_by_title_have_their_abstracts_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_ranker, "READ_PAPERS", 2)
    embedder = LetterEmbedder()
    papers = tuple(Paper(title, f"Abstract of {title}.") for title in ("A", "B", "C", "D"))
    found_ones = FoundPapers(QUESTION, papers, (0.5,) * 4, (), (300, 0, None, 1))
    RulesRanker(embedder)(found_ones)
    assert embedder.asked[-2:] == ["B. Abstract of B.", "D. Abstract of D."]
    RulesRanker(embedder).features(found_ones)
    assert len([text for text in embedder.asked if "Abstract" in text]) == 6


def test_without_papers_or_words_scores_stay() -> None:
    ranker = RulesRanker(LetterEmbedder())
    assert ranker(found([])) == []
    assert ranker(found([0.3, 0.8], question=" ?!")) == [0.3, 0.8]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.data())
def test_any_crawl_gets_scores_from_0_to_1_whatever_the_order(scores: list[float], data: st.DataObject) -> None:
    place = st.integers(0, len(scores) - 1)
    pairs = sorted({p for p in data.draw(st.lists(st.tuples(place, place), max_size=8)) if p[0] != p[1]})
    places = data.draw(st.lists(st.none() | st.integers(0, 900), min_size=len(scores), max_size=len(scores)))
    ranked = RulesRanker(LetterEmbedder(), lambda papers: [7] * len(papers))(found(scores, pairs, places))
    assert len(ranked) == len(scores)
    assert all(0.0 <= score <= 1.0 for score in ranked)


@pytest.mark.parametrize("known", ["counted", "uncounted"])
def test_the_committed_weights_reward_every_sign_and_beat_the_cosine_where_they_were_not_fitted(known: str) -> None:
    model = getattr(read_ranker(), known)
    assert set(model.weights) == set(FEATURES if known == "counted" else UNCOUNTED_FEATURES)
    assert model.weights["place"] < 0
    assert all(weight > 0 for name, weight in model.weights.items() if name != "place")
    assert model.level.weights["score"] > 0
    held_out = json.loads(RANKER_FILE.read_text())["manifest"]["held_out"]
    for metric in ("recall@20", "recall@50", "recall@100"):
        assert held_out[known][metric] > held_out["by cosine"][metric]


def test_weights_that_cannot_be_read_say_what_to_do(tmp_path: Path) -> None:
    broken = tmp_path / "weights.json"
    for text in ("{", "[]", '{"counted": {}}'):
        broken.write_text(text)
        read_ranker.cache_clear()
        with pytest.raises(CheckpointError, match="train_ranker"):
            read_ranker(broken)

"""RulesScorer and the reranking: what their scores promise."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasa.errors import CheckpointError
from pasa.models.base import SelectRequest
from pasa.models.embedding import DIMENSION, EmbeddingStore, SentenceEmbedder, Vectors
from pasa.models.rules import RulesScorer, common_words, rerank
from pasa.models.rules_features import lexical_features, subject_of
from pasa.models.rules_weights import WEIGHTS_FILE, Logistic, log_odds, read_weights, sigmoid
from pasa.prompts import select_request

QUESTION = "Could you list some works that apply slot attention to the domain of novel view synthesis?"
# Real papers.
TITLES = (
    "Object Scene Representation Transformer",
    "Attention Is All You Need",
    "Adam: A Method for Stochastic Optimization",
    "Proximal Policy Optimization Algorithms",
    "Deep Residual Learning for Image Recognition",
    "Unsupervised Discovery of Object Radiance Fields",
)


class WordEmbedder(SentenceEmbedder):
    """A cheap stand-in: a text's vector counts its words, and the texts asked for are noted."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str], max_tokens: int) -> Vectors:
        self.asked += texts
        out = np.full((len(texts), DIMENSION), 1e-3, np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                out[row, sum(map(ord, word)) % DIMENSION] += 1
        return out / np.linalg.norm(out, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def embedder() -> SentenceEmbedder:
    return SentenceEmbedder()


@pytest.fixture(scope="module")
def scorer(embedder: SentenceEmbedder) -> RulesScorer:
    return RulesScorer(embedder=embedder)


@pytest.mark.parametrize(
    ("question", "right"),
    [
        ("Which works render novel views of a scene from object representations?", 0),
        ("What papers propose optimizers based on adaptive gradient moments, such as Adam?", 2),
        ("Who introduced residual connections for recognition of images?", 4),
    ],
)
def test_of_real_titles_the_right_one_is_ranked_first(scorer: RulesScorer, question: str, right: int) -> None:
    scores = scorer.score([select_request(question, title, "") for title in TITLES])
    assert max(range(len(TITLES)), key=scores.__getitem__) == right


def test_an_abstract_on_the_subject_selects_a_paper_and_one_off_it_does_not(scorer: RulesScorer) -> None:
    on = "We apply slot attention to novel view synthesis: slots of objects render a scene from novel views."
    off = "We study the convergence rate of a distributed database's commit protocol under message loss."
    selected, not_selected = scorer.score(
        [
            select_request(QUESTION, "Slot attention for novel view synthesis", on),
            select_request(QUESTION, "Commit protocols", off),
        ]
    )
    assert selected > 0.5 > not_selected


def test_a_score_depends_on_its_own_request_alone(embedder: SentenceEmbedder) -> None:
    requests = [select_request(QUESTION, title, f"{title} and novel view synthesis. " * 3) for title in TITLES]
    requests.append(select_request("graph kernels", "Graph kernels", ""))
    together = RulesScorer(embedder=SentenceEmbedder()).score(requests)
    alone = [RulesScorer(embedder=SentenceEmbedder()).score([request])[0] for request in reversed(requests[-3:])]
    assert together[-3:] == alone[::-1]
    assert RulesScorer(embedder=embedder).score(requests) == together


def test_an_empty_question_selects_nothing() -> None:
    scorer = RulesScorer(embedder=WordEmbedder())
    assert scorer.score([select_request(q, "A title", "An abstract.") for q in ("", " ?!")]) == [0.0, 0.0]
    assert scorer.score([]) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=60), st.text(max_size=60), st.text(max_size=200)), max_size=4))
def test_any_text_gets_a_score_from_0_to_1(texts: list[tuple[str, str, str]]) -> None:
    scores = RulesScorer(embedder=WordEmbedder()).score([SelectRequest(q, t, a, "") for q, t, a in texts])
    assert len(scores) == len(texts)
    assert all(0.0 <= score <= 1.0 for score in scores)


def test_the_real_model_takes_any_text(scorer: RulesScorer) -> None:
    texts = ("", "\x00\ud800", "数学" * 50, "a" * 10_000, "slot attention " * 900)
    scores = scorer.score([select_request(q, t, t) for q in texts for t in texts])
    assert all(0.0 <= score <= 1.0 for score in scores)


def test_abstracts_are_embedded_only_where_there_is_a_chance() -> None:
    embedder = WordEmbedder()
    scorer = RulesScorer(embedder=embedder)
    near = select_request(QUESTION, "Slot attention for novel view synthesis", "Slot attention, novel view synthesis.")
    far = select_request(QUESTION, "Commit protocols", "Databases must commit.")
    scorer.score([near, far])
    assert any("Slot attention, novel" in text for text in embedder.asked)
    assert not any("Databases must" in text for text in embedder.asked)


def test_a_word_of_the_question_in_the_title_or_abstract_never_lowers_the_lexical_features() -> None:
    subject = subject_of(QUESTION, common_words())
    without = lexical_features(subject, "Rendering an object", "We render a scene of an object.")
    in_title = lexical_features(subject, "Rendering a slot", "We render a scene of an object.")
    in_abstract = lexical_features(subject, "Rendering an object", "We render a scene of a slot.")
    for more in (in_title, in_abstract):
        assert all(more[name] >= without[name] for name in without)
        assert more["coverage"] > without["coverage"]
    assert sum(subject.weights.values()) == pytest.approx(1.0)


def test_the_committed_weights_reward_every_sign_of_relevance() -> None:
    weights = read_weights()
    for model in (weights.title, weights.quick, weights.full, weights.rerank):
        assert all(w >= 0 for name, w in model.weights.items() if name != "log_words")
        assert any(w > 0 for w in model.weights.values())
    manifest = json.loads(WEIGHTS_FILE.read_text())["manifest"]
    assert manifest["held_out"]["reranked"]["log_loss"] < manifest["held_out"]["reranked"]["log_loss_of_base_rate"]


def test_a_weights_file_that_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    broken = tmp_path / "weights.json"
    for text in ("{", "[]", '{"models": {}}'):
        broken.write_text(text)
        read_weights.cache_clear()
        with pytest.raises(CheckpointError, match="calibrate_rules"):
            read_weights(broken)


@given(st.floats(-30, 30))
@settings(max_examples=30, deadline=None)
def test_log_odds_undo_the_sigmoid(logit: float) -> None:
    assert log_odds(sigmoid(logit)) == pytest.approx(logit, abs=1e-2)


def test_extreme_log_odds_stay_probabilities() -> None:
    assert 0.0 <= sigmoid(-1e9) < 1e-15 < 1 - 1e-15 < sigmoid(1e9) <= 1.0
    assert log_odds(0.0) == -log_odds(1.0) == -40.0
    assert Logistic(0.0, {"x": 1.0}).probability({"x": 0.0, "unused": 9.0}) == 0.5


def test_being_cited_by_relevant_papers_moves_a_paper_up() -> None:
    scores = [0.6, 0.1, 0.3, 0.3, 0.3]
    after = rerank(scores, [(0, 2), (1, 3)])
    assert after[2] > after[3] > after[4]
    assert after[0] > after[4]


def test_without_citations_the_scores_stay() -> None:
    assert rerank([0.2, 0.7], []) == rerank([0.2, 0.7], [(1, 1)]) == [0.2, 0.7]
    assert rerank([], []) == []


def test_a_citation_counts_once_and_its_order_does_not_matter() -> None:
    scores = [0.9, 0.5, 0.2, 0.4]
    citations = [(0, 2), (1, 2), (3, 2), (0, 3)]
    assert rerank(scores, citations) == rerank(scores, [*reversed(citations), (0, 2), (2, 2)])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.data())
def test_reranked_scores_are_scores_and_keep_the_order_of_papers_cited_alike(
    scores: list[float], data: st.DataObject
) -> None:
    place = st.integers(0, len(scores) - 1)
    citations = data.draw(st.lists(st.tuples(place, place), max_size=10))
    after = rerank(scores, citations)
    assert all(0.0 <= score <= 1.0 for score in after)
    cited = {b for a, b in citations if a != b}
    uncited = [i for i in range(len(scores)) if i not in cited]
    for a in uncited:
        for b in uncited:
            if scores[a] <= scores[b]:
                assert after[a] <= after[b]


def test_vectors_are_unit_length_and_the_same_in_any_company(embedder: SentenceEmbedder) -> None:
    alone = SentenceEmbedder().embed([TITLES[0]], 32)
    company = embedder.embed(
        [*TITLES, "x", "a much longer title that fills another bucket of tokens than the rest"], 32
    )
    assert alone.shape == (1, DIMENSION)
    assert np.array_equal(company[0], alone[0])
    assert np.linalg.norm(company, axis=1) == pytest.approx(1.0, abs=2e-3)
    assert embedder.embed([], 32).shape == (0, DIMENSION)


def test_a_store_keeps_vectors_between_processes(tmp_path: Path) -> None:
    class NoModel(SentenceEmbedder):
        def _compute(self, texts: list[str], max_tokens: int) -> Vectors:
            raise AssertionError(f"{texts} should have been remembered")

    first = SentenceEmbedder(store=EmbeddingStore(tmp_path / "cache" / "vectors.db")).embed(TITLES[:2], 32)
    again = NoModel(store=EmbeddingStore(tmp_path / "cache" / "vectors.db")).embed(TITLES[:2], 32)
    assert np.array_equal(first, again)


def test_a_folder_without_a_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="install"):
        SentenceEmbedder(model_path=tmp_path).embed(["text"], 32)


def test_a_store_that_is_damaged_or_cannot_be_made_costs_only_the_saving(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"no database " * 1000)
    (tmp_path / "file").write_text("")
    plain = SentenceEmbedder().embed(TITLES[:2], 32)
    for path in (damaged, tmp_path / "file" / "below.db"):
        store = EmbeddingStore(path)
        assert np.array_equal(SentenceEmbedder(store=store).embed(TITLES[:2], 32), plain)
        assert store.failures

"""LikelihoodScorer on tiny real models, against the same log-probabilities token by token."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pasa.errors import CheckpointError
from pasa.models.base import Scorer, SelectRequest
from pasa.models.hf_likelihood import SELECTOR_FILE, Calibration, LikelihoodScorer, paper_prompt, question_text
from pasa.models.hf_loading import LoadedModel, load_checkpoint
from pasa.models.huggingface import HuggingFaceScorer, load_scorer
from pasa.prompts import select_request

Checkpoint = Callable[[str], str]


def some_requests() -> list[SelectRequest]:
    """Two questions, papers of many lengths."""
    return [
        select_request("which papers study agents", f"Title {i}", "rewards search " * (7 * i % 5)) for i in range(5)
    ] + [select_request("reward models", f"A paper {i}", "we train " * i) for i in (3, 1)]


def mean_log_probability(loaded: LoadedModel, before: str, after: str) -> float:
    """By itself, a forward pass a token."""
    ids = loaded.tokenizer(before)["input_ids"]
    values = []
    for token in loaded.tokenizer(after, add_special_tokens=False)["input_ids"]:
        with torch.inference_mode():
            values.append(loaded.model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[token].item())
        ids = [*ids, token]
    return sum(values) / len(values)


@pytest.mark.parametrize("tokens_per_pass", [1, 300, 10_000])
def test_a_gain_is_what_the_paper_adds_to_the_log_probability(tokens_per_pass: int, checkpoint: Checkpoint) -> None:
    loaded = load_checkpoint(checkpoint("llama"), device="cpu")
    requests = some_requests()
    expected = [
        mean_log_probability(loaded, paper_prompt(r.title, r.abstract), question_text(r.query))
        - mean_log_probability(loaded, paper_prompt("", ""), question_text(r.query))
        for r in requests
    ]
    assert max(expected) > min(expected) + 0.01  # the model tells the papers apart
    scorer = LikelihoodScorer(loaded, Calibration(2.0, -0.5), tokens_per_pass)
    assert isinstance(scorer, Scorer)
    assert scorer.gains(requests, scorer.encode(requests)) == pytest.approx(expected, abs=1e-4)
    assert scorer.score(requests) == pytest.approx([Calibration(2.0, -0.5).score(gain) for gain in expected], abs=1e-4)


def test_a_checkpoint_is_a_selector_by_likelihood_where_its_folder_says_so(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    folder = Path(shutil.copytree(checkpoint("llama"), tmp_path / "model"))
    assert isinstance(load_scorer(str(folder), device="cpu"), HuggingFaceScorer)
    (folder / SELECTOR_FILE).write_text(json.dumps({"score": "likelihood", "slope": 0.0, "offset": 0.0}))
    scorer = load_scorer(str(folder), device="cpu")
    assert isinstance(scorer, LikelihoodScorer)
    assert scorer.score(some_requests()) == [0.5] * 7
    assert scorer.score([]) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [('{"score": "likelihood"}', "slope and offset"), ("{", "slope and offset"), ('{"score": "x"}', "knows")],
)
def test_a_broken_selector_file_is_told_in_a_line(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / SELECTOR_FILE).write_text(content)
    with pytest.raises(CheckpointError, match=told):
        load_scorer(str(tmp_path))


def test_prompts_are_cut_to_what_the_checkpoint_was_trained_on(tmp_path: Path, checkpoint: Checkpoint) -> None:
    folder = Path(shutil.copytree(checkpoint("llama"), tmp_path / "model"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": 90}))
    loaded = load_checkpoint(str(folder), device="cpu")
    long = select_request("agents", "A title", "search " * 200)
    (paper,) = LikelihoodScorer(loaded).encode([long])
    (prompt,) = HuggingFaceScorer(loaded).encode([long])
    assert (len(paper), len(prompt)) == (90, 90)
    assert str(loaded.tokenizer.decode(paper)).endswith("Question that this paper answers:")

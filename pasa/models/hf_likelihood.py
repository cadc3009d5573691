"""A Selector that asks how likely a paper makes the question: for models too small to learn a decision token.

A paper's score grows with what its title and abstract add to the question's mean log-probability per token, against
the same question after no paper at all:

    gain = mean log p(question | title, abstract) - mean log p(question | nothing)
    score = 1 / (1 + exp(-(slope * gain + offset)))

Within one question only log p(question | paper) orders the papers (query likelihood; Sachan et al. 2022, "Improving
passage retrieval with zero-shot question generation"); subtracting the second term makes scores of different questions
comparable. A checkpoint is such a Selector where SELECTOR_FILE in its folder says so, with slope and offset.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pasa.errors import CheckpointError
from pasa.models.base import ModelUsage, Score, SelectRequest
from pasa.models.hf_batches import like_length_batches, pad_left, run_halving
from pasa.models.hf_loading import LoadedModel
from pasa.models.hf_prompts import encode_prompts

SELECTOR_FILE = "selector.json"
LIKELIHOOD = "likelihood"
# Tokens of one forward pass, as hf_scorer.py's.
CPU_TOKENS_PER_PASS = 1024
GPU_TOKENS_PER_PASS = 16384


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a gain in nats per token becomes a score."""

    slope: float = 1.0
    offset: float = 0.0

    def score(self, gain: float) -> float:
        return 1.0 / (1.0 + math.exp(-max(-700.0, min(700.0, self.slope * gain + self.offset))))


def paper_prompt(title: str, abstract: str) -> str:
    """What stands before the question; the question itself follows after a blank."""
    return f"Title: {title}\nAbstract: {abstract}\n\nQuestion that this paper answers:"


def question_text(question: str) -> str:
    """The question as it follows a paper."""
    return " " + question.strip()


def read_calibration(folder: str) -> Calibration | None:
    """The calibration of the checkpoint in `folder`; None where it decides by a token. Raises CheckpointError."""
    file = Path(folder).expanduser() / SELECTOR_FILE
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["score"] != LIKELIHOOD:
            raise CheckpointError(f"{file} asks for scores by {content['score']!r}: this version knows {LIKELIHOOD!r}")
        return Calibration(float(content["slope"]), float(content["offset"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file} must hold score, slope and offset: copy it anew") from error


def selector_record(calibration: Calibration) -> dict[str, str | float]:
    """What SELECTOR_FILE holds."""
    return {"score": LIKELIHOOD, "slope": calibration.slope, "offset": calibration.offset}


class LikelihoodScorer:
    """Scores by the likelihood of the question (the module's docstring). SelectRequest's `prompt` is not read."""

    def __init__(
        self, loaded: LoadedModel, calibration: Calibration = Calibration(), tokens_per_pass: int | None = None
    ) -> None:
        """`tokens_per_pass`: tokens in one forward pass, None = by device."""
        self.name = loaded.name
        self.usage = ModelUsage()
        self.model = loaded.model
        self.tokenizer = loaded.tokenizer
        self.description = f"{loaded.description}, likelihood of the question"
        self._calibration = calibration
        self._prompt_limit = loaded.prompt_limit
        on_gpu = loaded.model.device.type != "cpu"
        self._tokens_per_pass = tokens_per_pass or (GPU_TOKENS_PER_PASS if on_gpu else CPU_TOKENS_PER_PASS)

    def score(self, requests: Sequence[SelectRequest]) -> list[float]:
        """One score in [0, 1] a request, in order. Raises ModelError."""
        papers = self.encode(requests)
        scores = [self._calibration.score(gain) for gain in self.gains(requests, papers)]
        self.usage.requests += len(requests)
        self.usage.prompt_tokens += sum(map(len, papers))
        return [Score(score, len(paper)) for score, paper in zip(scores, papers, strict=True)]

    def encode(self, requests: Sequence[SelectRequest]) -> list[list[int]]:
        """Each paper as token ids, abstracts cut to the checkpoint's limit."""
        texts = [paper_prompt(request.title, request.abstract) for request in requests]
        abstracts = [request.abstract for request in requests]
        return encode_prompts(self.tokenizer, texts, abstracts, self._prompt_limit, "abstract")

    def gains(self, requests: Sequence[SelectRequest], papers: Sequence[Sequence[int]]) -> list[float]:
        """What each paper adds to its question's mean log-probability, nats per token."""
        questions = [self._question_ids(request.query) for request in requests]
        asked = {request.query: ids for request, ids in zip(requests, questions, strict=True)}
        (nothing,) = encode_prompts(self.tokenizer, [paper_prompt("", "")], [""], self._prompt_limit, "abstract")
        pairs = [*zip(papers, questions, strict=True), *((nothing, ids) for ids in asked.values())]
        likelihoods = self._log_probabilities(pairs)
        alone = dict(zip(asked, likelihoods[len(requests) :], strict=True))
        return [value - alone[request.query] for value, request in zip(likelihoods, requests, strict=False)]

    def _question_ids(self, question: str) -> list[int]:
        return list(self.tokenizer(question_text(question), add_special_tokens=False)["input_ids"])

    def _log_probabilities(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
        """Mean log-probability of the second's tokens after the first, of each pair."""
        lengths = [len(before) + len(after) for before, after in pairs]
        values = [0.0] * len(pairs)
        for batch in like_length_batches(lengths, max(1, self._tokens_per_pass // max(lengths, default=1))):
            for i, value in zip(batch, run_halving(self._batch, [pairs[i] for i in batch]), strict=True):
                values[i] = value
        return values

    def _batch(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
        rows = [[*before, *after] for before, after in pairs]
        ids, mask, positions = pad_left(rows, int(self.tokenizer.pad_token_id or 0), self.model.device)
        longest = max(len(after) for _, after in pairs)
        with torch.inference_mode():
            output = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                use_cache=False,
                logits_to_keep=longest + 1,
            )
        chosen = output.logits[:, :-1].float().log_softmax(-1).gather(-1, ids[:, -longest:, None])[..., 0]
        return [chosen[i, -len(after) :].mean().item() for i, (_, after) in enumerate(pairs)]

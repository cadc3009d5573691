"""Choosing the next token, and knowing when a reply is over; each row of a batch by itself."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from transformers import LogitsProcessor, StoppingCriteria


class SeededSampling(LogitsProcessor):
    """Leaves one token possible in each row, drawn with that row's own random stream."""

    def __init__(self, temperature: float, top_p: float, top_k: int | None, streams: Sequence[random.Random]) -> None:
        self._temperature = temperature
        self._top_p = top_p
        self._top_k = top_k or None
        self._streams = streams  # [B]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        draws = torch.tensor([stream.random() for stream in self._streams], device=scores.device)  # [B]
        tokens = draw_tokens(scores, draws, self._temperature, self._top_p, self._top_k)  # [B]
        return torch.full_like(scores, float("-inf")).scatter(1, tokens[:, None], 0.0)  # type: ignore[return-value]


def draw_tokens(
    logits: torch.Tensor, draws: torch.Tensor, temperature: float, top_p: float, top_k: int | None = None
) -> torch.Tensor:
    """The token [B] that each row of `logits` [B, V] gives for its draw [B] in [0, 1).

    Temperature first, then the `top_k` likeliest, then the fewest likeliest that together reach `top_p`; among these
    the draw picks by cumulative probability, likeliest first.
    """
    probabilities, tokens = (logits.float() / temperature).softmax(-1).sort(stable=True, dim=-1, descending=True)
    if top_k is not None:
        probabilities, tokens = probabilities[:, :top_k], tokens[:, :top_k]
        probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    kept = probabilities.cumsum(-1) - probabilities < top_p  # [B, V], True = may be drawn
    kept[:, 0] = True
    cumulative = (probabilities * kept).cumsum(-1)
    place = torch.searchsorted(cumulative, draws[:, None] * cumulative[:, -1:], right=True)
    last_kept = kept.sum(-1, keepdim=True) - 1
    return tokens.gather(1, torch.minimum(place, last_kept)).squeeze(1)


class StopAfterText(StoppingCriteria):
    """Ends a row once its reply holds one of `texts`; `ended_at[i]` is then row i's reply length in tokens."""

    def __init__(self, tokenizer: Any, texts: Sequence[str], prompt_length: int, rows: int) -> None:
        self._tokenizer = tokenizer
        self._texts = tuple(texts)
        self._prompt_length = prompt_length
        # A token is a character at least, so a stop text lies within this many tokens of its last one.
        self._tail = max((len(text) for text in texts), default=0) + 1
        self.ended_at: list[int | None] = [None] * rows

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs: Any) -> torch.BoolTensor:
        length = input_ids.shape[1] - self._prompt_length
        tails = input_ids[:, -min(self._tail, length) :].tolist()
        for row, tail in enumerate(tails):
            if self.ended_at[row] is None and self._ends(tail):
                self.ended_at[row] = length
        return torch.tensor([end is not None for end in self.ended_at], device=input_ids.device)  # type: ignore[return-value]

    def _ends(self, tail: Sequence[int]) -> bool:
        text = self._tokenizer.decode(tail)
        return any(stop in text for stop in self._texts)

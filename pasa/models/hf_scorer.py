"""The Selector's language model, run in this process."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pasa.models.base import ModelUsage, SelectRequest
from pasa.models.hf_batches import chunks, longest_first, pad_left, run_halving
from pasa.models.hf_loading import Attention, Dtype, LoadedModel, load_checkpoint, true_token_id
from pasa.models.hf_prompts import MAX_PROMPT_TOKENS, Truncation, encode_prompts

DEFAULT_BATCH_SIZE = 8


class HuggingFaceScorer:
    """Scores = softmax over the whole vocabulary at the first generated position, read at `True` (PAPER.md)."""

    def __init__(
        self,
        loaded: LoadedModel,
        batch_size: int = DEFAULT_BATCH_SIZE,
        max_prompt_tokens: int = MAX_PROMPT_TOKENS,
        truncation: Truncation = "abstract",
    ) -> None:
        self.name = loaded.name
        self.description = loaded.description
        self.usage = ModelUsage()
        self.model = loaded.model
        self.tokenizer = loaded.tokenizer
        self._true_id = true_token_id(loaded.tokenizer)
        self._batch_size = batch_size
        self._max_prompt_tokens = max_prompt_tokens
        self._truncation = truncation

    @classmethod
    def load(
        cls,
        path: str,
        device: str = "auto",
        dtype: Dtype = "auto",
        attention: Attention = "auto",
        batch_size: int = DEFAULT_BATCH_SIZE,
        max_prompt_tokens: int = MAX_PROMPT_TOKENS,
        truncation: Truncation = "abstract",
    ) -> HuggingFaceScorer:
        loaded = load_checkpoint(path, device, dtype, attention)
        return cls(loaded, batch_size, max_prompt_tokens, truncation)

    def score(self, requests: Sequence[SelectRequest]) -> list[float]:
        """One score in [0, 1] a request, in order. Raises ModelError."""
        prompts = self.encode(requests)
        scores = [0.0] * len(requests)
        for batch in chunks(longest_first([len(ids) for ids in prompts]), self._batch_size):
            for i, score in zip(
                batch, run_halving(lambda rows: self._padded([prompts[i] for i in rows]), batch), strict=True
            ):
                scores[i] = score
        self.usage.requests += len(requests)
        self.usage.prompt_tokens += sum(map(len, prompts))
        return scores

    def encode(self, requests: Sequence[SelectRequest]) -> list[list[int]]:
        """The token ids that the model reads for each request: the raw prompt, no chat template."""
        return encode_prompts(
            self.tokenizer,
            [request.prompt for request in requests],
            [request.abstract for request in requests],
            self._max_prompt_tokens,
            self._truncation,
        )

    def _padded(self, prompts: list[list[int]]) -> list[float]:
        ids, mask, positions = pad_left(prompts, int(self.tokenizer.pad_token_id or 0), self.model.device)
        with torch.inference_mode():
            logits = self.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=1
            ).logits[:, -1]  # [B, V]
        return logits.float().softmax(-1)[:, self._true_id].tolist()

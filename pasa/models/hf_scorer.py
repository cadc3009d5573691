"""The Selector's language model, run in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from transformers import GenerationConfig

from pasa.models.base import ModelUsage, Reply, Score, SelectRequest
from pasa.models.hf_batches import like_length_batches, pad_left, run_halving
from pasa.models.hf_loading import Attention, Dtype, LoadedModel, decision_token_id, load_checkpoint
from pasa.models.hf_packed import can_pack, pack_prompts, packed_logits, remember_prefix
from pasa.models.hf_prompts import MAX_PROMPT_TOKENS, Truncation, chat_text, encode_prompts
from pasa.models.reasons import REASON_TOKENS, reason_prompt, with_reason

# Tokens of one forward pass. On a CPU 768 to 1,536 were fastest (SmolLM2-135M, float32, 300 to 4,096 tried: larger
# passes leave the caches); a GPU needs more to be busy, how many is not measured.
CPU_TOKENS_PER_PASS = 1024
GPU_TOKENS_PER_PASS = 16384


class HuggingFaceScorer:
    """Scores = softmax over the whole vocabulary at the first generated position, read at `True` (PAPER.md).

    The raw prompt, no chat template; a prompt for a chat model goes through it, and its score is the share of `True`
    among `True` and `False`. The prompts of one query go through the model without padding, and what they
    begin with alike goes through it once (hf_packed). Where a model cannot do that (`packs` is False), batches of
    like length, padded on the left, give the same scores.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        tokens_per_pass: int | None = None,
        max_prompt_tokens: int = MAX_PROMPT_TOKENS,
        truncation: Truncation = "abstract",
        pack: bool = True,
    ) -> None:
        """`tokens_per_pass`: prompt tokens in one forward pass, None = by device; `pack` False: always pad."""
        self.name = loaded.name
        self.usage = ModelUsage()
        self.model = loaded.model
        self.tokenizer = loaded.tokenizer
        self.packs = pack and can_pack(loaded.model)
        self.description = f"{loaded.description}, {'packed prompts' if self.packs else 'padded batches'}"
        self._true_id = decision_token_id(loaded.tokenizer, "True")
        on_gpu = loaded.model.device.type != "cpu"
        self._tokens_per_pass = tokens_per_pass or (GPU_TOKENS_PER_PASS if on_gpu else CPU_TOKENS_PER_PASS)
        self._max_prompt_tokens = min(max_prompt_tokens, loaded.prompt_limit)
        self._truncation = truncation

    @classmethod
    def load(
        cls,
        path: str,
        device: str = "auto",
        dtype: Dtype = "auto",
        attention: Attention = "auto",
        tokens_per_pass: int | None = None,
        max_prompt_tokens: int = MAX_PROMPT_TOKENS,
        truncation: Truncation = "abstract",
        pack: bool = True,
    ) -> HuggingFaceScorer:
        """The scorer of the checkpoint at `path`; settings and errors as in `load_checkpoint`."""
        loaded = load_checkpoint(path, device, dtype, attention)
        return cls(loaded, tokens_per_pass, max_prompt_tokens, truncation, pack)

    def score(self, requests: Sequence[SelectRequest]) -> list[float]:
        """One score in [0, 1] a request, in order; any mix of queries. Raises ModelError."""
        prompts = self.encode(requests)
        scores = [0.0] * len(requests)
        for group in self._groups(requests):
            run = self._packed if self.packs else self._padded
            as_chat = requests[group[0]].as_chat
            for i, score in zip(group, run([prompts[i] for i in group], as_chat), strict=True):
                scores[i] = score
        self.usage.requests += len(requests)
        self.usage.prompt_tokens += sum(map(len, prompts))
        return [Score(score, len(prompt)) for score, prompt in zip(scores, prompts, strict=True)]

    def explain(self, requests: Sequence[SelectRequest]) -> list[Reply]:
        """Why each paper answers its query: what the model writes behind the decision True, greedily. ModelError."""
        asked = [replace(request, prompt=reason_prompt(request)) for request in requests]
        prompts = self.encode(asked)
        replies = [Reply("")] * len(prompts)
        rows = max(1, self._tokens_per_pass // (max(map(len, prompts), default=0) + REASON_TOKENS))
        for batch in like_length_batches([len(ids) for ids in prompts], rows):
            for i, reply in zip(batch, run_halving(self._write, [prompts[i] for i in batch]), strict=True):
                replies[i] = reply
        self.usage.requests += len(requests)
        self.usage.prompt_tokens += sum(reply.prompt_tokens for reply in replies)
        self.usage.reply_tokens += sum(reply.reply_tokens for reply in replies)
        return replies

    def _write(self, prompts: Sequence[list[int]]) -> list[Reply]:
        """What the model writes behind each prompt, from one padded batch."""
        pad = int(self.tokenizer.pad_token_id or 0)
        ids, mask, _ = pad_left(prompts, pad, self.model.device)
        ends = {self.tokenizer.eos_token_id, getattr(self.model.generation_config, "eos_token_id", None)}
        end_ids = sorted({int(i) for end in ends if end is not None for i in (end if isinstance(end, list) else [end])})
        config = GenerationConfig(
            do_sample=False, num_beams=1, max_new_tokens=REASON_TOKENS, pad_token_id=pad, eos_token_id=end_ids or None
        )
        with torch.inference_mode():
            output = self.model.generate(input_ids=ids, attention_mask=mask, generation_config=config)  # type: ignore[operator]
        replies = []
        for prompt, row in zip(prompts, output[:, ids.shape[1] :].tolist(), strict=True):
            end = next((i for i, token in enumerate(row) if token in end_ids), None)
            text = str(self.tokenizer.decode(row[:end], skip_special_tokens=True))
            tokens = len(row) if end is None else end + 1
            finish: Literal["stop", "length"] = "length" if end is None else "stop"
            replies.append(with_reason(Reply(text, finish, prompt_tokens=len(prompt), reply_tokens=tokens)))
        return replies

    def encode(self, requests: Sequence[SelectRequest]) -> list[list[int]]:
        """The token ids that the model reads for each request."""
        prompts: list[list[int]] = [[]] * len(requests)
        for as_chat in (False, True):
            group = [i for i, request in enumerate(requests) if request.as_chat is as_chat]
            texts = [requests[i].prompt for i in group]
            messages = [chat_text(self.tokenizer, text) for text in texts] if as_chat else []
            is_message = bool(messages) and messages[0] is not None  # else the tokenizer has no template
            encoded = encode_prompts(
                self.tokenizer,
                [message or "" for message in messages] if is_message else texts,
                [requests[i].abstract for i in group],
                self._max_prompt_tokens,
                self._truncation,
                add_special_tokens=not is_message,
            )
            for i, ids in zip(group, encoded, strict=True):
                prompts[i] = ids
        return prompts

    def _groups(self, requests: Sequence[SelectRequest]) -> list[list[int]]:
        """Indices of requests of one form to run together: by query where they are packed (lone queries together)."""
        groups = []
        for as_chat in (False, True):
            by_query: dict[str, list[int]] = {}
            for i, request in enumerate(requests):
                if request.as_chat is as_chat:
                    by_query.setdefault(request.query if self.packs else "", []).append(i)
            alone = [group[0] for group in by_query.values() if len(group) == 1]
            groups += [group for group in by_query.values() if len(group) > 1] + ([alone] if alone else [])
        return groups

    def _packed(self, prompts: list[list[int]], as_chat: bool) -> list[float]:
        """Scores of prompts that begin alike, in order."""
        packs = pack_prompts(prompts, self._tokens_per_pass)
        (memory,) = run_halving(lambda prefixes: [remember_prefix(self.model, prefixes[0])], [packs[0].prefix])

        def scores_after_prefix(rests: Sequence[tuple[int, ...]]) -> list[float]:
            return self._scores(packed_logits(self.model, rests, memory), as_chat)

        return [score for pack in packs for score in run_halving(scores_after_prefix, pack.rests)]

    def _padded(self, prompts: list[list[int]], as_chat: bool) -> list[float]:
        lengths = [len(ids) for ids in prompts]
        scores = [0.0] * len(prompts)
        for batch in like_length_batches(lengths, max(1, self._tokens_per_pass // max(lengths))):
            scored = run_halving(lambda rows: self._padded_batch(rows, as_chat), [prompts[i] for i in batch])
            for i, score in zip(batch, scored, strict=True):
                scores[i] = score
        return scores

    def _padded_batch(self, prompts: Sequence[list[int]], as_chat: bool) -> list[float]:
        ids, mask, positions = pad_left(prompts, int(self.tokenizer.pad_token_id or 0), self.model.device)
        with torch.inference_mode():
            output = self.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=1
            )
        return self._scores(output.logits[:, -1], as_chat)

    def _scores(self, logits: torch.Tensor, as_chat: bool) -> list[float]:
        """The probability of `True` in each row of logits [prompts, vocabulary], or its share of True and False."""
        if as_chat:
            decisions = [self._true_id, decision_token_id(self.tokenizer, "False")]
            return logits[:, decisions].float().softmax(-1)[:, 0].tolist()
        return logits.float().softmax(-1)[:, self._true_id].tolist()

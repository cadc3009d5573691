"""The Crawler's language model, run in this process."""

from __future__ import annotations

import hashlib
import random
import secrets
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from pasa.models.base import CrawlRequest, ModelUsage, Reply, Sampling
from pasa.models.hf_batches import like_length_batches, pad_left, run_halving
from pasa.models.hf_decoding import SeededSampling, StopAfterText
from pasa.models.hf_loading import Attention, Dtype, LoadedModel, load_checkpoint
from pasa.models.hf_prompts import MAX_PROMPT_TOKENS, Truncation, chat_text, encode_prompts

# The actions that end a session; nothing after them is read.
STOP_TEXTS = ("[StopSearch]", "[StopExpand]", "[Stop]")
DEFAULT_BATCH_SIZE = 8


class HuggingFaceGenerator:
    """Writes replies with a causal LM: chat template, batches of like length, left padding.

    A reply does not depend on which others share its batch, sampled replies included: each prompt draws from a
    random stream of its own, made from `Sampling.seed`, the prompt, and how often the same prompt came before in
    the same call. torch's global generator is neither read nor moved.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        batch_size: int = DEFAULT_BATCH_SIZE,
        max_prompt_tokens: int = MAX_PROMPT_TOKENS,
        truncation: Truncation = "abstract",
        stop_texts: Sequence[str] = STOP_TEXTS,
    ) -> None:
        """`stop_texts` end a reply as soon as it holds one of them; () lets it run on to its end token."""
        self.name = loaded.name
        self.description = loaded.description
        self.usage = ModelUsage()
        self.model = loaded.model
        self.tokenizer = loaded.tokenizer
        self._batch_size = batch_size
        self._max_prompt_tokens = min(max_prompt_tokens, loaded.prompt_limit)
        self._truncation = truncation
        self._stop_texts = tuple(stop_texts)

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
        stop_texts: Sequence[str] = STOP_TEXTS,
    ) -> HuggingFaceGenerator:
        """The generator of the checkpoint at `path`; settings and errors as in `load_checkpoint`."""
        loaded = load_checkpoint(path, device, dtype, attention)
        return cls(loaded, batch_size, max_prompt_tokens, truncation, stop_texts)

    def generate(self, requests: Sequence[CrawlRequest], sampling: Sampling) -> list[Reply]:
        """One reply a request, in order, with the token ids of prompt and reply (its end token included).

        `text` leaves special tokens out. Where the checkpoint's generation settings name a repetition penalty or a
        top_k, they hold. Raises ModelError.
        """
        prompts = self.encode(requests, sampling.max_new_tokens)
        seeds = row_seeds(sampling, prompts)
        replies: list[Reply | None] = [None] * len(requests)
        for batch in like_length_batches([len(ids) for ids in prompts], self._batch_size):
            answers = run_halving(lambda rows: self._batch(rows, prompts, seeds, sampling), batch)
            for i, reply in zip(batch, answers, strict=True):
                replies[i] = reply
        done = [reply for reply in replies if reply is not None]
        self._count(done)
        return done

    def encode(self, requests: Sequence[CrawlRequest], max_new_tokens: int) -> list[list[int]]:
        """The token ids that the model reads for each request; a tokenizer without chat template reads raw prompts."""
        texts = [chat_text(self.tokenizer, request.prompt) for request in requests]
        raw = not requests or texts[0] is None
        return encode_prompts(
            self.tokenizer,
            [text or request.prompt for text, request in zip(texts, requests, strict=True)],
            [request.abstract for request in requests],
            self._prompt_limit(max_new_tokens),
            self._truncation,
            add_special_tokens=raw,
        )

    def _prompt_limit(self, max_new_tokens: int) -> int:
        """The longest prompt that leaves the model's context room for the reply."""
        context = getattr(self.model.config, "max_position_embeddings", None)
        if not context:
            return self._max_prompt_tokens
        return max(1, min(self._max_prompt_tokens, context - max_new_tokens))

    def _batch(
        self, rows: Sequence[int], prompts: list[list[int]], seeds: list[int], sampling: Sampling
    ) -> list[Reply]:
        """The replies to the prompts numbered `rows`, in that order, from one padded batch."""
        prompts, seeds = [prompts[i] for i in rows], [seeds[i] for i in rows]
        ids, mask, _ = pad_left(prompts, self._pad_id, self.model.device)
        stop = StopAfterText(self.tokenizer, self._stop_texts, ids.shape[1], len(prompts))
        config = self._generation_config(sampling)
        processors = [] if sampling.temperature == 0 else [self._sampler(sampling, seeds)]
        with torch.inference_mode():
            output = self.model.generate(  # type: ignore[operator]
                input_ids=ids,
                attention_mask=mask,
                generation_config=config,
                logits_processor=processors,
                stopping_criteria=[stop] if self._stop_texts else None,
            )
        replies = output[:, ids.shape[1] :].tolist()
        return [self._reply(*triple) for triple in zip(prompts, replies, stop.ended_at, strict=True)]

    def _generation_config(self, sampling: Sampling) -> GenerationConfig:
        """Greedy settings for `generate`: sampling is done by our own processor, which ends in one choice."""
        return GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=sampling.max_new_tokens,
            repetition_penalty=self._checkpoint_setting("repetition_penalty") or 1.0,
            # The values below are generate()'s own defaults: stated, or the checkpoint's would draw a warning.
            temperature=1.0,
            top_p=1.0,
            top_k=50,
            eos_token_id=sorted(self._end_ids),
            pad_token_id=self._pad_id,
        )

    def _sampler(self, sampling: Sampling, seeds: Sequence[int]) -> SeededSampling:
        top_k = self._checkpoint_setting("top_k")
        return SeededSampling(sampling.temperature, sampling.top_p, top_k, [random.Random(seed) for seed in seeds])

    def _checkpoint_setting(self, name: str) -> Any:
        return getattr(getattr(self.model, "generation_config", None), name, None)

    @property
    def _pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)

    @property
    def _end_ids(self) -> frozenset[int]:
        """The tokens that end a reply: the checkpoint's and the tokenizer's."""
        ends = self._checkpoint_setting("eos_token_id")
        ids = set(ends if isinstance(ends, list) else [ends]) | {self.tokenizer.eos_token_id}
        return frozenset(int(i) for i in ids if i is not None)

    def _reply(self, prompt: Sequence[int], row: Sequence[int], ended_at: int | None) -> Reply:
        """The Reply in an output row that padding may follow; `ended_at` = its length if a stop text ended it."""
        ends = self._end_ids
        first_end = next((i for i, token in enumerate(row) if token in ends), None)
        length = ended_at if ended_at is not None else len(row) if first_end is None else first_end + 1
        ids = tuple(row[:length])
        return Reply(
            text=str(self.tokenizer.decode(list(ids), skip_special_tokens=True)),
            finish_reason="length" if ended_at is None and first_end is None else "stop",
            prompt_ids=tuple(prompt),
            reply_ids=ids,
            prompt_tokens=len(prompt),
            reply_tokens=len(ids),
        )

    def _count(self, replies: Sequence[Reply]) -> None:
        self.usage.requests += len(replies)
        self.usage.prompt_tokens += sum(reply.prompt_tokens for reply in replies)
        self.usage.reply_tokens += sum(reply.reply_tokens for reply in replies)


def row_seeds(sampling: Sampling, prompts: Sequence[Sequence[int]]) -> list[int]:
    """A seed a prompt, from the run's seed, the prompt's tokens and how often it came before; fresh without a seed."""
    base = secrets.randbits(64) if sampling.seed is None else sampling.seed
    seen: Counter[tuple[int, ...]] = Counter()
    seeds = []
    for prompt in map(tuple, prompts):
        digest = hashlib.blake2b(repr((base, seen[prompt], prompt)).encode(), digest_size=8).digest()
        seeds.append(int.from_bytes(digest, "big"))
        seen[prompt] += 1
    return seeds

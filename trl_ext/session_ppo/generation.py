"""The policy writes: the model in training as a Generator, and a layer's prompts in batches of like length."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from pasa.batcher import in_thread
from pasa.errors import ToolError
from pasa.models.base import CrawlRequest, Generator, Reply, Sampling, Scorer, SideBySide
from pasa.models.hf_batches import like_length_batches
from pasa.models.hf_generator import STOP_TEXTS, HuggingFaceGenerator
from pasa.models.hf_loading import LoadedModel
from pasa.paper import Paper, Reference
from pasa.tools.base import PaperSource, SearchEngine
from pasa.workers import Workers

# How long the first prompt of a layer waits for the others: they come within a few turns of the event loop.
LAYER_LINGER_SECONDS = 0.02
_STOP_TOKENS = max(map(len, STOP_TEXTS)) + 1  # a token is a character at least
# Settings of a checkpoint that bend the distribution which tokens are drawn from.
_BENDING = ("repetition_penalty", "top_k")


class PolicyGenerator(HuggingFaceGenerator):
    """Draws replies from the policy itself: what the checkpoint's generation settings would bend is left straight."""

    def __init__(
        self,
        loaded: LoadedModel,
        batch_size: int,
        max_prompt_tokens: int,
        precision: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        """`precision`: the context that the model computes in, such as autocast, which holds for one thread only."""
        super().__init__(loaded, batch_size, max_prompt_tokens)
        self._precision = precision

    def generate(self, requests: Sequence[CrawlRequest], sampling: Sampling) -> list[Reply]:
        """One reply a request, in order. Raises ModelError."""
        # Layers that are compiled for passes over whole sessions would be compiled anew for one token after another.
        with self._precision(), torch.compiler.set_stance("force_eager"):
            return super().generate(requests, sampling)

    def reply_of(self, prompt: Sequence[int], ids: Sequence[int]) -> Reply:
        """The Reply that a server wrote as these tokens, up to the stop action or the end token."""
        for length in range(1, len(ids) + 1):
            text = self.tokenizer.decode(list(ids[max(0, length - _STOP_TOKENS) : length]))
            if any(stop in text for stop in STOP_TEXTS):
                return self._reply(prompt, ids, length)
        return self._reply(prompt, ids, None)

    def _checkpoint_setting(self, name: str) -> Any:
        return None if name in _BENDING else super()._checkpoint_setting(name)


class PromptBatches:
    """Answers what many sessions ask at once, longest prompts first, `size` at a time.

    Each batch's replies go to their sessions as soon as they are there, so that these search while the next batch is
    written. What comes within LAYER_LINGER_SECONDS is sorted together, which makes batches, and with them the last
    digits of what a model computes, the same each time.
    """

    def __init__(self, generator: Generator, threads: Executor, size: int) -> None:
        self._generator = generator
        self._threads = threads
        self._size = size
        self._waiting: list[tuple[CrawlRequest, Sampling, asyncio.Future[Reply]]] = []
        self._worker: asyncio.Task[None] | None = None
        self.sizes: list[int] = []  # of the batches so far

    async def submit(self, request: CrawlRequest, sampling: Sampling) -> Reply:
        """The reply to the request; raises what the batch that it was in failed with."""
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, sampling, answer))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(LAYER_LINGER_SECONDS)
                items, self._waiting = self._waiting, []
                for batch in like_length_batches([len(request.prompt) for request, _, _ in items], self._size):
                    await self._answer([items[i] for i in batch])
        finally:
            self._worker = None

    async def _answer(self, items: list[tuple[CrawlRequest, Sampling, asyncio.Future[Reply]]]) -> None:
        """Items of a step are sampled alike."""
        items = [item for item in items if not item[2].done()]
        if not items:
            return
        self.sizes.append(len(items))
        requests = [request for request, _, _ in items]
        try:
            replies = await in_thread(self._threads, self._generator.generate, requests, items[0][1])
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            for _, _, answer in items:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, _, answer), reply in zip(items, replies, strict=True):
            if not answer.done():
                answer.set_result(reply)


class StepWorkers(Workers):
    """The threads behind all crawls of a process: the policy's prompts in batches of like length."""

    def __init__(
        self,
        generator: Generator,
        scorer: Scorer,
        engine: SearchEngine,
        source: PaperSource,
        threads_num: int,
        batch_size: int,
    ) -> None:
        super().__init__(generator, scorer, engine, source, threads_num, look_ups_at_once=1)
        is_served = isinstance(generator, SideBySide)
        self._is_in_doubt: Callable[[Reference | str], bool] = getattr(source, "is_in_doubt", lambda _: False)
        self.prompts = None if is_served else PromptBatches(generator, self._executors[1], batch_size)

    async def generate(self, request: CrawlRequest, sampling: Sampling) -> Reply:
        if self.prompts is None:  # a server forms its own batches
            return await super().generate(request, sampling)
        return await self.prompts.submit(request, sampling)

    async def paper_by_id(self, arxiv_id: str) -> Paper | None:
        """The paper; ToolError where it may be unknown for a failure's sake alone."""
        return self._surely(arxiv_id, await super().paper_by_id(arxiv_id))

    async def paper_by_reference(self, reference: Reference) -> Paper | None:
        """The paper; ToolError where it may be unknown for a failure's sake alone."""
        return self._surely(reference, await super().paper_by_reference(reference))

    def _surely(self, asked: Reference | str, paper: Paper | None) -> Paper | None:
        if paper is None and self._is_in_doubt(asked):
            raise ToolError("unknown, in a look-up that failed in part", service="sources", kind="failed in part")
        return paper

"""Gathers single calls from many coroutines into batches for something that answers one batch at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

from pasa.errors import PasaError

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """`await submit(item)` gives `call([..., item, ...])`'s answer to that item.

    One batch is under way at a time, in `executor`; what arrives meanwhile forms the next one, in order of arrival. If
    a batch fails, its items are asked one by one, so that a bad item costs itself alone.
    """

    def __init__(self, call: Callable[[Sequence[T]], Sequence[R]], executor: Executor, max_batch: int) -> None:
        self._call = call
        self._executor = executor
        self._max_batch = max_batch
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, item: T) -> R:
        """The answer to `item`; raises the PasaError that it alone ends in."""
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # coroutines that are ready in this turn join the batch
            batch: list[tuple[T, asyncio.Future[R]]] = []
            while self._waiting and len(batch) < self._max_batch:
                item, answer = self._waiting.popleft()
                if not answer.cancelled():
                    batch.append((item, answer))
            if batch:
                await self._answer(batch)

    async def _answer(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._executor, self._call, [item for item, _ in batch])
        except PasaError as error:
            if len(batch) == 1:
                _fail(batch[0][1], error)
                return
            for one in batch:
                await self._answer([one])
        except Exception as error:  # noqa: BLE001 - a bug in a model must reach every caller, not hang them
            for _, answer in batch:
                _fail(answer, error)
        else:
            for (_, answer), result in zip(batch, results, strict=True):
                if not answer.done():
                    answer.set_result(result)


def _fail(answer: asyncio.Future[R], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)

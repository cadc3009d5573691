"""Waiting for many coroutines at once, so that none is left running and no failure goes unheard."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def each(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Every result, in order. Raises the first failure and gives up what is still under way."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        await _ended(tasks)


async def each_until(interrupted: asyncio.Event, coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T | None]:
    """As `each`, with None for what was still under way when `interrupted` was set."""
    if not coroutines:
        return []
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    everything = asyncio.create_task(asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION))
    interruption = asyncio.create_task(interrupted.wait())
    try:
        await asyncio.wait([everything, interruption], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error
        return [task.result() if task.done() and not task.cancelled() else None for task in tasks]
    finally:
        await _ended([everything, interruption, *tasks])


async def wait_shared(task: asyncio.Task[T]) -> T:
    """The task's result; cancelling the waiting does not cancel the task, which others may wait for too."""
    return await asyncio.shield(task)


def give_up(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels what is still under way. Of what failed unheard asyncio does not complain later: cancel() sees to it."""
    for task in tasks:
        task.cancel()


async def _ended(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancels the tasks and waits until they have ended."""
    give_up(tasks)
    if under_way := [task for task in tasks if not task.done()]:
        await asyncio.wait(under_way)

"""Waiting for many coroutines at once: pasa/waiting.py."""

import asyncio
import gc

import pytest

from pasa.waiting import each, each_until, give_up, wait_shared


async def after(seconds, value=None, error=None):
    await asyncio.sleep(seconds)
    if error:
        raise error
    return value


def run(coroutine):
    """The coroutine's result; fails if it leaves a task behind."""

    async def go():
        try:
            return await asyncio.wait_for(coroutine, 5)
        finally:
            assert asyncio.all_tasks() == {asyncio.current_task()}

    return asyncio.run(go())


def test_results_come_in_order():
    assert run(each([after(0.02, 1), after(0, 2), after(0.01, 3)])) == [1, 2, 3]
    assert run(each([])) == []


def test_the_first_failure_is_raised_and_the_rest_given_up():
    with pytest.raises(KeyError):
        run(each([after(9), after(0.01, error=KeyError())]))


def test_an_interruption_gives_what_has_come():
    async def go():
        interrupted = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, interrupted.set)
        return await each_until(interrupted, [after(9, 1), after(0, 2)])

    assert run(go()) == [None, 2]


def test_what_is_there_already_counts_after_an_interruption_too():
    async def go():
        interrupted = asyncio.Event()
        interrupted.set()
        done, under_way = asyncio.create_task(after(0, 1)), asyncio.create_task(after(9))
        await asyncio.sleep(0.01)
        got = await each_until(interrupted, [wait_shared(done), wait_shared(under_way)])
        assert not under_way.done()  # others may wait for it still
        give_up([under_way])
        await asyncio.sleep(0)
        return got

    assert run(go()) == [1, None]


def test_without_an_interruption_all_come_and_a_failure_is_raised():
    async def go(*coroutines):
        return await each_until(asyncio.Event(), coroutines)

    assert run(go()) == []
    assert run(go(after(0.01, 1), after(0, 2))) == [1, 2]
    with pytest.raises(KeyError):
        run(go(after(9), after(0, error=KeyError())))


@pytest.mark.parametrize("wait", [each, lambda coroutines: each_until(asyncio.Event(), coroutines)])
def test_cancelling_the_waiting_cancels_what_is_waited_for(wait):
    async def go():
        waiting = asyncio.create_task(wait([after(9), after(9)]))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()

    run(go())


def test_failures_of_what_is_given_up_are_not_complained_of(caplog):
    async def go():
        tasks = [asyncio.create_task(after(0, error=KeyError())), asyncio.create_task(after(9))]
        await asyncio.sleep(0.01)
        give_up(tasks)
        await asyncio.wait(tasks)

    run(go())
    gc.collect()
    assert not caplog.records

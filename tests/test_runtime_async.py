"""Events for callers on an event loop, and ending one run of several: pasa/runtime.py."""

import asyncio
import threading
import time

import pytest

from pasa.errors import ConfigError, PasaError
from pasa.events import RunDone
from pasa.query import make_query
from tests.world import World, no_task_is_left, run_facts

QUESTION = "which papers?"
SLOW = 0.02  # seconds a call takes where a run must be met in its middle
LONG = 3.0  # seconds a page takes where a run must not end by itself


def long_world():
    world = World(3)
    world.slow = {f"page:{paper.title}": LONG for paper in world.papers}
    return world


async def last_event(agent, query=QUESTION):
    events = [event async for event in agent.astream(query)]
    return events[-1]


def test_astream_gives_the_run_that_stream_gives():
    with World(3).agent() as agent:
        here = list(agent.stream(QUESTION))
    with World(3).agent() as agent:
        there = asyncio.run(last_event(agent))
    assert isinstance(there, RunDone)
    assert run_facts(there.result) == run_facts(here[-1].result)


def test_astream_leaves_the_callers_loop_free():
    """Nothing that the caller's loop does waits for the run: a slow search is met by ticks meanwhile."""

    async def ticks_meanwhile(agent):
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        ticking = asyncio.create_task(tick())
        await last_event(agent)
        ticking.cancel()
        return ticks

    with World(3, delay_seconds=SLOW).agent() as agent:
        assert asyncio.run(ticks_meanwhile(agent)) > 10


def test_leaving_astream_ends_the_run():
    async def leave(agent):
        events = agent.astream(QUESTION)
        await anext(events)
        await events.aclose()

    with long_world().agent() as agent:
        asyncio.run(leave(agent))
        assert no_task_is_left(agent, LONG / 3)


def test_a_cancelled_task_ends_its_run():
    async def cancel(agent):
        task = asyncio.create_task(last_event(agent))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with long_world().agent() as agent:
        asyncio.run(cancel(agent))
        assert no_task_is_left(agent, LONG / 3)


def test_what_a_run_raises_comes_out_of_astream():
    with World(3).agent() as agent, pytest.raises(ConfigError, match="empty"):
        asyncio.run(last_event(agent, "  "))


def test_closing_the_agent_ends_astream_with_a_reason():
    agent = World(3, delay_seconds=SLOW).agent()
    closer = threading.Timer(0.1, agent.close)
    closer.start()
    with pytest.raises(PasaError, match="closed while this query ran"):
        asyncio.run(last_event(agent))
    closer.join()


def test_stopping_one_query_leaves_the_others_running():
    stopped, other = make_query("which papers?"), make_query("which other papers?")
    ends = {}

    def run(agent, query):
        ends[query.text] = agent.run(query).stats.budget_reached

    with World(3, delay_seconds=SLOW).agent() as agent:
        threads = [threading.Thread(target=run, args=(agent, query)) for query in (stopped, other)]
        for thread in threads:
            thread.start()
        while not agent.stop(stopped):
            time.sleep(0.001)
        for thread in threads:
            thread.join()
        assert agent.stop(stopped) is False
    assert ends == {stopped.text: "stopped", other.text: None}

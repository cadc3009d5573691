"""What a run may spend: pasa/budget.py, and runs that reach it."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pasa.budget import Budget
from pasa.config import AgentSettings
from pasa.errors import ConfigError
from pasa.events import LayerStarted, RunStats
from pasa.models.base import Reply
from pasa.runtime import PaperAgent
from tests.world import World, run_facts

QUESTION = "which papers?"


def run(world, **settings):
    with world.agent(**settings) as agent:
        return agent.run(QUESTION)


def test_without_limits_nothing_is_over():
    async def go():
        budget = Budget(AgentSettings(), RunStats())
        assert all(budget.take_crawler_call() and budget.take_score(True) for _ in range(1000))
        assert not budget.over
        assert not budget.counts

    asyncio.run(go())


def test_the_first_reason_stays():
    async def go():
        stats = RunStats()
        budget = Budget(AgentSettings(max_papers_scored=0), stats)
        assert not budget.take_score(True)
        budget.interrupt("stopped")
        assert stats.budget_reached == "papers_scored"
        assert budget.interrupted.is_set()

    asyncio.run(go())


@pytest.mark.parametrize("limit", [0, 1, 7, 23, 40, 10_000])
def test_no_more_papers_are_scored_than_allowed_and_no_fewer(limit):
    world, free = World(3), World(3)
    wanted = run(free).stats.papers_scored
    result = run(world, max_papers_scored=limit)
    assert result.stats.papers_scored == sum(world.scored.values()) == min(limit, wanted)
    assert len(list(result.root.walk())) == min(limit, wanted)
    assert result.stats.budget_reached == ("papers_scored" if limit < wanted else None)


@pytest.mark.parametrize("limit", [0, 1, 2, 9, 30, 31, 60, 10_000])
def test_no_more_model_calls_are_made_than_allowed_and_no_fewer(limit):
    world, free = World(3), World(3)
    wanted = run(free).stats.model_calls
    result = run(world, max_model_calls=limit)
    made = sum(world.scored.values()) + sum(world.batches)
    assert result.stats.model_calls == made == min(limit, wanted)
    assert result.stats.budget_reached == ("model_calls" if limit < wanted else None)


def test_a_limit_that_is_not_reached_changes_nothing():
    assert run_facts(run(World(4), max_model_calls=10_000)) == run_facts(run(World(4)))


@pytest.mark.parametrize("settings", [{"max_papers_scored": 25}, {"max_model_calls": 35}])
def test_a_budgets_run_does_not_depend_on_timing(settings):
    facts = [run_facts(run(World(5, delay_seconds=delay), **settings)) for delay in (0, 0.003, 0.003)]
    assert facts[0] == facts[1] == facts[2]


def test_a_limit_counts_a_paper_once_over_the_runs_of_an_ensemble():
    free = World(6)
    wanted = run(free, ensemble_runs=2).stats
    assert wanted.papers_scored == sum(free.scored.values())
    result = run(World(6), ensemble_runs=2, max_papers_scored=wanted.papers_scored)
    assert wanted.papers_scored == wanted.selector_calls
    assert result.stats.budget_reached is None
    assert result.stats.papers_found == wanted.papers_found


def test_the_time_limit_ends_the_run_with_what_was_found():
    world = World(7)
    world.slow = {f"page:{paper.title}": 3.0 for paper in world.papers}
    started = time.monotonic()
    with world.agent(max_seconds=0.4) as agent:
        result = agent.run(QUESTION)
        took = time.monotonic() - started
    assert 0.3 < took < 2
    assert result.stats.budget_reached == "seconds"
    assert result.papers
    assert all(paper.depth == 0 for paper in result.papers)


def test_a_time_limit_of_zero_finds_nothing_and_says_so():
    result = run(World(7), max_seconds=0)
    assert (result.papers, result.stats.budget_reached) == ([], "seconds")


def test_a_run_that_ended_in_time_stays_so():
    with World(7).agent(max_seconds=0.6) as agent:
        result = agent.run(QUESTION)
        assert result.stats.budget_reached is None
        time.sleep(0.8)
        assert result.stats.budget_reached is None


def test_stop_ends_the_run_at_once_with_what_was_found():
    world = World(8)
    world.slow = {f"page:{paper.title}": 3.0 for paper in world.papers}
    with world.agent(threads_num=100) as agent:
        started = time.monotonic()

        def stop_in_the_first_layer(event):
            if isinstance(event, LayerStarted) and event.layer == 1:
                agent.stop()

        result = agent.run(QUESTION, stop_in_the_first_layer)
        assert time.monotonic() - started < 2
        assert result.stats.budget_reached == "stopped"
        assert result.papers
        world.slow = {}
        assert agent.run(QUESTION).stats.budget_reached is None


def test_stop_also_ends_a_run_that_was_asked_for_and_has_not_begun():
    with World(8).agent() as agent, ThreadPoolExecutor(1) as pool:
        agent._loop.call_soon_threadsafe(time.sleep, 0.5)  # the loop is busy, as at a start on a slow machine
        run = pool.submit(agent.run, QUESTION)
        while not agent.stop():
            time.sleep(0.01)
        result = run.result(5)
        assert (result.stats.budget_reached, result.papers) == ("stopped", [])


def test_stop_without_a_run_says_so_and_ends_no_later_one():
    with World(8).agent() as agent:
        assert agent.stop() is False
        assert agent.run(QUESTION).stats.budget_reached is None
        assert agent.stop() is False


# -- reasons ----------------------------------------------------------------------------------------------------------


def explaining(world, seconds=0.0):
    """The world with a Selector that says why, each time after so long; what it was asked is returned."""
    asked = []

    def explain(requests):
        asked.extend(request.title for request in requests)
        time.sleep(seconds)
        return [Reply(f"{request.title} answers.", prompt_tokens=5) for request in requests]

    world.scorer.explain = explain
    return asked


def test_reasons_are_asked_of_the_best_and_count_as_calls():
    plain = run(World(8))
    world = World(8)
    asked = explaining(world)
    with world.agent(reasons=3) as agent:
        result = agent.run(QUESTION)
    best = [paper.paper.title for paper in result.papers if paper.selected][:3]
    assert sorted(asked) == sorted(best)
    assert [paper.reason for paper in result.papers[:4]] == [*(f"{title} answers." for title in best), ""]
    assert result.stats.selector_calls == plain.stats.selector_calls + 3
    assert result.stats.prompt_tokens == 15
    limit = plain.stats.model_calls + 1
    world = World(8)
    asked = explaining(world)
    with world.agent(reasons=3, max_model_calls=limit) as agent:
        assert agent.run(QUESTION).stats.model_calls <= limit
    assert len(asked) <= 1


@pytest.mark.parametrize("how", ["stop", "seconds"])
def test_a_run_that_is_ended_while_reasons_are_written_is_whole(how):
    whole = run(World(8))
    world = World(8)
    asked = explaining(world, seconds=3.0)
    with world.agent(reasons=3, **({"max_seconds": 1.0} if how == "seconds" else {})) as agent:
        started = time.monotonic()

        def watch():
            while not asked:
                time.sleep(0.01)
            agent.stop()

        watcher = threading.Thread(target=watch if how == "stop" else str)
        watcher.start()
        result = agent.run(QUESTION)
        watcher.join()
        assert time.monotonic() - started < 2.5
    assert [paper.paper.key for paper in result.papers] == [paper.paper.key for paper in whole.papers]
    assert result.stats.budget_reached is None
    assert result.stats.problems["stopped: no reason"] == 3


@pytest.mark.parametrize("reasons", [0, 2])
def test_a_run_whose_time_ends_while_its_papers_are_ranked_is_whole(reasons):
    world = World(8)
    explaining(world)

    def slow_ranking(found):
        time.sleep(1.2)
        return list(found.scores)

    settings = AgentSettings(reasons=reasons, max_seconds=1.0)
    with PaperAgent(world, world.scorer, world, world, settings, rerank=slow_ranking) as agent:
        result = agent.run(QUESTION)
    assert result.papers
    assert result.stats.budget_reached is None
    assert result.stats.problems["stopped: no reason"] == reasons


def test_a_reason_that_cannot_be_had_is_counted_and_the_run_stands():
    world = World(8)
    explaining(world)

    def refused(requests):
        raise ConfigError("the key is refused by now")

    world.scorer.explain = refused
    with world.agent(reasons=2) as agent:
        result = agent.run(QUESTION)
    assert result.papers
    assert result.stats.problems["selector: no reason"] == 2

"""The estimate of what is missing, and runs that end when nothing new comes."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasa.query import Query
from pasa.saturation import (
    Overlap,
    chao2,
    chao2_variance,
    chapman,
    curve,
    describe,
    estimate,
    log_normal_interval,
    overlap,
)
from pasa.search_record import SearchRecord, WayTaken
from tests.agent_world import DEEP, FOUND, QUESTION, ModelServer, Outcome, nodes
from tests.world import World, run_facts

COUNTS = st.integers(0, 200)


def way(kind: str, of: str, *found: int) -> WayTaken:
    return WayTaken(kind, kind, 0 if kind == "search" else 1, 0, of, found, 0)  # type: ignore[arg-type]


# -- the mathematics ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ways", "once", "twice", "missing", "variance"),
    [
        (10, 4, 2, 1.8, 0.9 * 12 / 6 + 0.81 * 4 * 49 / 36 + 0.81 * 16 * 2 * 9 / (4 * 81)),
        (5, 1, 3, 0.0, 0.0 + 0.64 * 1 * 1 / 64 + 0.0),
        (5, 0, 9, 0.0, 0.0),
        (0, 0, 0, 0.0, 0.0),
    ],
)
def test_chao2_by_hand(ways: int, once: int, twice: int, missing: float, variance: float) -> None:
    assert chao2(ways, once, twice) == pytest.approx(missing)
    assert chao2_variance(ways, once, twice) == pytest.approx(variance)


def test_chapman_by_hand() -> None:
    assert chapman(10, 10, 5) == pytest.approx(121 / 6 - 1)
    assert chapman(7, 7, 7) == 7


@given(st.integers(2, 50), COUNTS, COUNTS)
@settings(max_examples=80)
def test_more_papers_come_by_once_mean_more_missing(ways: int, once: int, twice: int) -> None:
    assert chao2(ways, once, twice) >= 0
    assert chao2(ways, once + 1, twice) >= chao2(ways, once, twice)
    assert chao2(ways, once, twice + 1) <= chao2(ways, once, twice)
    low, high = log_normal_interval(chao2(ways, once, twice), chao2_variance(ways, once, twice))
    assert 0 <= low <= chao2(ways, once, twice) <= high or (once <= 1 and low == 0)


def test_chao2_finds_how_many_there_are_where_all_are_as_easy_to_come_by() -> None:
    chance = random.Random(1)
    inside, total = 0, 0.0
    for _ in range(200):
        samples = [{n for n in range(100) if chance.random() < 0.15} for _ in range(8)]
        times = [sum(n in sample for sample in samples) for n in range(100)]
        counts = (8, times.count(1), times.count(2))
        low, high = log_normal_interval(chao2(*counts), chao2_variance(*counts))
        missing = times.count(0)
        inside += low <= missing <= high
        total += chao2(*counts) / missing
    assert total / 200 == pytest.approx(1, abs=0.15)
    assert inside / 200 >= 0.9


# -- of a run ----------------------------------------------------------------------------------------------------------


def test_searches_are_one_way_and_each_paper_read_another() -> None:
    ways = (way("search", "", 0, 1, 2), way("search", "", 1, 2), way("section", "a", 2, 3), way("section", "a", 3, 4))
    record = SearchRecord(("k0", "k1", "k2", "k3", "k4", "k5"), (*ways, way("cited_by", "a", 4), way("section", "b")))
    assert overlap(record, {"k1", "k2", "k3", "k4", "elsewhere"}) == Overlap(4, 3, 2, 2, 0, 2, 3, 1)
    assert curve(record, {"k2", "k3"})[:4] == [(3, 1), (3, 1), (4, 2), (5, 2)]


def test_the_estimate_grows_with_what_only_one_way_led_to_and_is_told_to_two_digits() -> None:
    few, many = (estimate(Overlap(40, 20, once, 10, 5, 30, 20, 10)) for once in (2, 25))
    assert few is not None
    assert many is not None
    assert few.missing < many.missing
    assert all(0 <= one.low <= one.missing <= one.high for one in (few, many))
    assert 0 < few.share_found < 1
    expected = math.expm1(0.056 + 0.452 * math.log1p(40) + 0.506 * math.log1p(0.95 * 25 * 24 / 22))
    assert many.missing == pytest.approx(expected)
    told = describe(Overlap(40, 20, 25, 10, 5, 30, 20, 10), many)
    assert told.startswith(f"about {round(many.missing)} more relevant papers were likely not found (90 % interval ")
    assert "of 40 selected, 25 were come by in one way only, 15 in two or more" in told


def test_too_few_ways_tell_nothing_and_say_so() -> None:
    seen = Overlap(3, 1, 3, 0, 0, 3, 0, 0)
    assert estimate(seen) is None
    assert describe(seen, None).endswith("only 1 way led to papers, 5 are needed")


# -- ending when nothing new comes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "is_saturated"), [(2, True), (4, False), (None, False)])
def test_a_run_ends_after_so_many_new_papers_without_one_selected(
    cli: Callable[..., Outcome],
    model_server: ModelServer,
    world_library: Path,
    tmp_path: Path,
    limit: int | None,
    is_saturated: bool,
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(json.dumps({"agent": {"stop_when_saturated": limit, "select_threshold": 0.87}}))
    flags = ["--library", world_library, *model_server.flags, "--config", config, "--format", "tree"]
    outcome = cli(QUESTION, *flags)
    tree = json.loads(outcome.out)
    assert set(nodes(tree)) == FOUND - ({DEEP} if is_saturated else set())
    assert tree["extra"]["run"]["budget_reached"] == ("saturated" if is_saturated else None)
    assert ("nothing new was selected any more (--stop_when_saturated)" in outcome.err) == is_saturated


@pytest.mark.parametrize("seed", range(4))
def test_where_a_run_ends_does_not_depend_on_timing(seed: int) -> None:
    def facts(threads: int, delay: float) -> object:
        world = World(seed, delay_seconds=delay)
        with world.agent(stop_when_saturated=6, select_threshold=0.6, threads_num=threads) as agent:
            result = agent.run(Query("which papers?"))
        assert result.stats.budget_reached in (None, "saturated")
        return run_facts(result)

    assert facts(1, 0) == facts(4, 0.003) == facts(32, 0.003)


def test_a_limit_that_is_never_reached_changes_nothing() -> None:
    def facts(limit: int | None) -> object:
        with World(3).agent(stop_when_saturated=limit) as agent:
            return run_facts(agent.run("which papers?"))

    assert facts(10_000) == facts(None)

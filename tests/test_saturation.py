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
from pasa.saturation import Estimate, Overlap, chapman, chapman_share, curve, describe, estimate, overlap
from pasa.search_record import SearchRecord, WayTaken
from tests.agent_world import DEEP, FOUND, QUESTION, ModelServer, Outcome, nodes
from tests.world import World, run_facts


def way(kind: str, of: str, *found: int) -> WayTaken:
    return WayTaken(kind, kind, 0 if kind == "search" else 1, 0, of, found, 0)  # type: ignore[arg-type]


# -- the mathematics ---------------------------------------------------------------------------------------------------


def test_chapman_by_hand() -> None:
    assert chapman(10, 10, 5) == pytest.approx(121 / 6 - 1)
    assert chapman(7, 7, 7) == 7


@given(st.integers(0, 60), st.integers(0, 60), st.data())
@settings(max_examples=80)
def test_more_in_common_means_more_of_all_found(first: int, second: int, data: st.DataObject) -> None:
    both = data.draw(st.integers(0, min(first, second)))
    less = data.draw(st.integers(0, both))
    found = first + second - both
    shares = [chapman_share(Overlap(found, 9, first, second, n)) for n in (less, both)]
    assert 0 < shares[0] <= shares[1] <= 1
    assert chapman(first, second, both) <= chapman(first, second, less)


def test_chapman_finds_how_many_there_are_where_two_samples_are_independent() -> None:
    chance = random.Random(1)
    told = 0.0
    for _ in range(300):
        one, other = ({n for n in range(100) if chance.random() < share} for share in (0.5, 0.3))
        told += chapman(len(one), len(other), len(one & other))
    assert told / 300 == pytest.approx(100, rel=0.03)


# -- of a run ----------------------------------------------------------------------------------------------------------


def test_searches_are_one_way_and_each_paper_read_another() -> None:
    ways = (way("search", "", 0, 1, 2), way("search", "", 1, 2), way("section", "a", 2, 3), way("section", "a", 3, 4))
    record = SearchRecord(("k0", "k1", "k2", "k3", "k4", "k5"), (*ways, way("cited_by", "a", 4), way("section", "b")))
    assert overlap(record, {"k1", "k2", "k3", "k4", "elsewhere"}) == Overlap(4, 3, 2, 3, 1)
    assert curve(record, {"k2", "k3"})[:4] == [(3, 1), (3, 1), (4, 2), (5, 2)]


def test_the_share_told_grows_with_what_searches_and_citations_both_led_to() -> None:
    few, many = (estimate(Overlap(10, 20, 8 + both, 2, both)) for both in (0, 2))
    assert few is not None
    assert many is not None
    assert all(0 < one.low < one.share < one.high < 1 for one in (few, many))
    assert few.share < many.share
    odds = 1.92 + 1.73 * math.log(10.5 / (9 * 3 / 1 - 1 + 0.5))
    assert few.high == pytest.approx(1 / (1 + math.exp(-(odds + 1.645 * 1.11))))
    assert few.share == pytest.approx(1 / (1 + math.exp(-odds / math.sqrt(1 + math.pi * 1.11**2 / 8))))


def test_the_estimate_is_told_with_how_many_may_be_missing_beside_the_selected() -> None:
    best = Overlap(10, 20, 9, 3, 2)
    told = describe(best, Estimate(0.8, 0.5, 0.95), 12)
    assert told == (
        "about 80% of the relevant papers were likely found (90% interval 50% to 95%); beside the 12 selected about "
        "3 more may be missing (1 to 12): of the 10 papers of the best scores, searches led to 9, citations to 3, both "
        "to 2"
    )


def test_what_rounds_to_none_missing_is_told_as_the_most_there_may_be() -> None:
    assert "; beside the 1 selected up to 1 may be missing: of" in describe(
        Overlap(10, 20, 9, 3, 2), Estimate(0.8, 0.5, 0.95), 1
    )


def test_where_nothing_can_be_told_it_says_why() -> None:
    for best, why in (
        (Overlap(3, 1, 3, 0, 0), "only 1 way led to papers, 5 are needed"),
        (Overlap(9, 9, 9, 0, 0), "of the 9 best citations led to none"),
        (Overlap(9, 9, 0, 9, 0), "of the 9 best searches led to none"),
    ):
        assert estimate(best) is None
        assert describe(best, None, 3).endswith(why)


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

"""Reciprocal-rank fusion: its sums, who is the same paper, and engines that fail."""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pasa.errors import RefusedError, ResponseError, ServiceError, ToolError
from pasa.library import Library
from pasa.paper import Paper, Section
from pasa.tools.arxiv import ArxivSearch
from pasa.tools.base import SearchEngine, SearchHit
from pasa.tools.fusion import FusedSearch, fuse
from pasa.tools.http import HttpClient
from pasa.tools.local import LibrarySearch
from pasa.tools.serper import SerperSearch
from tests.services import FakeServices, Fault
from tests.tools.conftest import TITLES


def ids(hits: list[SearchHit]) -> list[str | None]:
    return [hit.arxiv_id for hit in hits]


def ranking(*arxiv_ids: str) -> list[SearchHit]:
    return [SearchHit(arxiv_id) for arxiv_id in arxiv_ids]


# -- the sums ----------------------------------------------------------------------------------------------------------


def test_sums_are_those_of_the_paper() -> None:
    """By hand with k = 60: b 1/62 + 1/61, a 1/61, c 1/63 + 1/62, d 1/63."""
    fused = fuse([ranking("a", "b", "c"), ranking("b", "c", "d")])
    assert [(hit.arxiv_id, hit.score) for hit in fused] == [
        ("b", pytest.approx(1 / 62 + 1 / 61, rel=1e-12)),
        ("c", pytest.approx(1 / 63 + 1 / 62, rel=1e-12)),
        ("a", pytest.approx(1 / 61, rel=1e-12)),
        ("d", pytest.approx(1 / 63, rel=1e-12)),
    ]


def test_a_small_k_lets_one_first_rank_outweigh_two_middling_ones() -> None:
    rankings = [ranking("a", "x", "b"), ranking("y", "z", "b")]
    assert ids(fuse(rankings))[0] == "b"
    assert ids(fuse(rankings, k=0))[0] == "a"


rankings_of_ids = st.lists(
    st.lists(st.sampled_from([f"2401.0000{n}" for n in range(9)]), unique=True, max_size=9), max_size=4
)


@given(st.lists(st.sampled_from("abcdefghij"), unique=True), st.integers(0, 100))
def test_one_engine_keeps_its_order(order: list[str], k: int) -> None:
    assert ids(fuse([ranking(*order)], k)) == order


@given(rankings_of_ids, st.randoms(use_true_random=False))
def test_the_order_of_the_engines_changes_nothing(orders: list[list[str]], chance: random.Random) -> None:
    """Records with it: each engine describes a paper otherwise."""
    rankings = [
        [
            SearchHit(i, paper=Paper(f"Title {'abcdefghi'[int(i[-1])]}", "words " * (n % 2), i, source=str(n)))
            for i in order
        ]
        for n, order in enumerate(orders)
    ]
    mixed = rankings[:]
    chance.shuffle(mixed)
    assert fuse(rankings) == fuse(mixed)


@given(rankings_of_ids)
def test_each_paper_stands_once_and_none_is_lost(orders: list[list[str]]) -> None:
    fused = ids(fuse([ranking(*order) for order in orders]))
    assert len(fused) == len(set(fused))
    assert set(fused) == {i for order in orders for i in order}


@given(rankings_of_ids)
def test_a_paper_that_one_more_engine_finds_never_sinks(orders: list[list[str]]) -> None:
    base = [ranking(*order) for order in orders]
    before, after = fuse(base), fuse([*base, ranking("2401.00000")])
    scores = {hit.arxiv_id: hit.score or 0 for hit in before}
    assert {hit.arxiv_id: hit.score for hit in after}["2401.00000"] > scores.get("2401.00000", 0)
    assert [i for i in ids(after) if i != "2401.00000"] == [i for i in ids(before) if i != "2401.00000"]


def test_a_paper_that_one_engine_repeats_counts_by_its_best_rank() -> None:
    fused = fuse([ranking("a", "a", "b"), ranking("c", "a")])
    assert {hit.arxiv_id: hit.score for hit in fused} == {"a": 1 / 61 + 1 / 62, "b": 1 / 62, "c": 1 / 61}


# -- who is the same paper ---------------------------------------------------------------------------------------------


def test_a_hit_without_an_id_is_the_paper_of_its_title() -> None:
    book = SearchHit(paper=Paper("Deep Nets!", "An abstract."))
    [hit] = fuse([[SearchHit("2101.00005", "Deep nets")], [book]])
    assert (hit.arxiv_id, hit.paper) == ("2101.00005", Paper("Deep Nets!", "An abstract.", "2101.00005"))


def test_two_ids_under_one_title_stay_two_papers() -> None:
    """Comments and replies are titled alike; which are one paper is for the crawl to say."""
    same = [SearchHit("2101.00001", "Errata"), SearchHit("2101.00002", "Errata")]
    fused = fuse([same, [SearchHit(paper=Paper("Errata", "Of a book."))]])
    assert [(hit.arxiv_id, hit.paper is not None) for hit in fused] == [("2101.00001", True), ("2101.00002", False)]


def test_a_title_that_google_cut_names_no_paper() -> None:
    cut, whole = SearchHit("2101.00001", "Language Models ..."), SearchHit(paper=Paper("Language models", "Others."))
    assert len(fuse([[cut], [whole]])) == 2


def test_hits_that_name_no_paper_are_left_out_and_take_no_rank() -> None:
    [hit] = fuse([[SearchHit(), SearchHit(title="..."), SearchHit("a")]])
    assert (hit.arxiv_id, hit.score) == ("a", 1 / 61)


def test_the_richest_record_is_kept() -> None:
    sections = (Section("Introduction"),)
    records = [
        Paper("Deep Nets", arxiv_id="a", sections=sections),
        Paper("Deep Nets", "A long abstract of many words.", "a", "2021-01-01", ("Ann",)),
        Paper("Deep Nets", "Short.", "a", "2021"),
    ]
    assert fuse([[SearchHit("a")], *([SearchHit("a", paper=p)] for p in records)])[0].paper == records[0]
    assert fuse([[SearchHit("a", paper=p)] for p in records[1:]])[0].paper == records[1]


# -- engines -----------------------------------------------------------------------------------------------------------


class Engine:
    """Answers with ids, or fails; waits at a barrier first where one is given."""

    def __init__(self, name: str, answer: list[str] | ToolError, together: threading.Barrier | None = None) -> None:
        self.name = name
        self.asked: list[tuple[str, int, dt.date | None]] = []
        self._answer = answer
        self._together = together

    def search(self, query: str, limit: int, end_date: dt.date | None = None) -> list[SearchHit]:
        self.asked.append((query, limit, end_date))
        if self._together:
            self._together.wait(timeout=5)
        if isinstance(self._answer, ToolError):
            raise self._answer
        return ranking(*self._answer)[:limit]


def test_engines_are_asked_the_same_and_side_by_side() -> None:
    together = threading.Barrier(3)  # breaks unless all three wait at once
    engines = [Engine(name, [name], together) for name in "abc"]
    fused = FusedSearch(engines)
    day = dt.date(2024, 1, 2)
    assert isinstance(fused, SearchEngine)
    assert (fused.name, ids(fused.search("nets", 2, day))) == ("a+b+c", ["a", "b"])
    assert [engine.asked for engine in engines] == [[("nets", 2, day)]] * 3


def test_each_hit_names_the_engines_that_gave_it() -> None:
    fused = FusedSearch([Engine("two", ["b", "a"]), Engine("one", ["a", "c"])])
    assert [(h.arxiv_id, h.engines) for h in fused.search("nets", 5)] == [
        ("a", ("one", "two")),
        ("b", ("two",)),
        ("c", ("one",)),
    ]


def test_an_engine_that_fails_costs_only_its_own_results_and_is_counted() -> None:
    fused = FusedSearch([Engine("one", ServiceError("the host is down", 503)), Engine("two", ["a", "b"])])
    assert ids(fused.search("nets", 5)) == ids(fused.search("deep nets", 5)) == ["a", "b"]
    assert fused.failures() == {"one: HTTP 503": 2}


def test_nothing_found_by_one_is_an_answer_where_another_fails() -> None:
    assert FusedSearch([Engine("one", ResponseError("no JSON")), Engine("two", [])]).search("nets", 5) == []


def test_all_failing_is_an_error_that_names_each() -> None:
    fused = FusedSearch([Engine("one", ServiceError("it is down")), Engine("two", RefusedError("no key", 403))])
    with pytest.raises(ToolError, match="one: it is down; two: no key"):
        fused.search("nets", 5)
    assert fused.failures() == {"one: no answer": 1, "two: HTTP 403": 1}


def test_library_google_and_arxiv_are_fused(
    services: FakeServices, client_for: Callable[..., HttpClient], world_of_library: Library
) -> None:
    client = client_for(services)
    engines: list[Any] = [
        LibrarySearch(world_of_library),
        SerperSearch(client, services.serper_key, services.urls.serper),
        ArxivSearch(client, services.urls.arxiv_api),
    ]
    fused = FusedSearch(engines)
    react = fused.search("reasoning acting language models", 5)[0]
    assert (react.arxiv_id, react.score) == ("2210.03629", pytest.approx(3 / 61))
    services.always("serper", Fault.status(503))
    again = fused.search("acting reasoning language models", 5)[0]
    assert (again.arxiv_id, again.score) == ("2210.03629", pytest.approx(2 / 61))
    assert fused.failures() == {"serper: HTTP 503": 1}


def test_a_slow_engine_does_not_hold_up_another_search_s_fast_one() -> None:
    class Slow(Engine):
        def search(self, query: str, limit: int, end_date: dt.date | None = None) -> list[SearchHit]:
            told.wait(timeout=10)
            return super().search(query, limit, end_date)

    told = threading.Event()
    fast = Engine("fast", ["a"])
    fused = FusedSearch([Slow("slow", ["b"]), fast])
    searches = [threading.Thread(target=fused.search, args=(f"q{n}", 3)) for n in range(30)]
    for search in searches:
        search.start()
    deadline = time.monotonic() + 5  # less than the slow engine takes unless told
    while len(fast.asked) < 30 and time.monotonic() < deadline:
        time.sleep(0.01)
    asked = len(fast.asked)
    told.set()
    assert asked == 30
    for search in searches:
        search.join()


@pytest.fixture(scope="module")
def world_of_library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from pasa.library import build_library
    from tests.agent_world import write_jsonl

    folder = tmp_path_factory.mktemp("fusion")
    rows = [{"title": t, "abstract": f"About {t.lower()}.", "arxiv_id": i} for i, t in TITLES.items()]
    build_library([write_jsonl(folder / "papers.jsonl", rows)], folder / "built")
    with Library.open(folder / "built") as library:
        yield library

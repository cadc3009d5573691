import asyncio
import threading
import time

import pytest

from pasa.config import AgentSettings, ToolSettings
from pasa.errors import ServiceError, ToolError
from pasa.paper import Paper, Reference
from pasa.tools.arxiv import ArxivSource
from pasa.tools.base import FailureCount
from pasa.tools.fusion import FusedSearch
from pasa.tools.http import HttpClient
from pasa.tools.http_pace import HostLimit
from pasa.tools.service_urls import http_settings
from pasa.workers import Workers
from tests.services import FakeServices, Fault
from tests.world import World
from trl_ext.session_ppo.environment import Kept, QueryWorkers, make_environment, open_environment
from trl_ext.session_ppo.hidden import HiddenPapers, hidden_papers


def test_what_is_kept_is_asked_for_once_by_threads_that_come_together():
    kept, asked = Kept(), []

    def ask():
        time.sleep(0.02)
        asked.append(1)
        return 5

    threads = [threading.Thread(target=kept.get, args=("key", ask)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(asked), kept.get("key", ask)) == (1, 5)


def test_failures_are_not_kept_and_the_oldest_answer_goes():
    kept = Kept(size=2)
    with pytest.raises(ServiceError):
        kept.get("a", lambda: (_ for _ in ()).throw(ServiceError("down", 503)))
    assert [kept.get(key, lambda key=key: key * 2) for key in "abc"] == ["aa", "bb", "cc"]
    assert kept.get("a", lambda: "again") == "again"
    assert kept.get_many(["c", "x", "x"], lambda places: [f"at {i}" for i in places]) == ["cc", "at 1", "at 1"]


def test_what_another_thread_pushed_out_meanwhile_is_answered_all_the_same():
    kept = Kept(size=2)
    kept.get("a", lambda: "first")

    def ask(places):
        for key in "xyz":  # as other threads may while this one waits for a service
            kept.get(key, lambda: "other")
        return ["second" for _ in places]

    assert kept.get_many(["a", "b"], ask) == ["first", "second"]
    assert kept.get_many(["a", "b"], lambda places: pytest.fail("asked again")) == ["first", "second"]


def test_what_a_lost_request_left_open_is_asked_for_again_and_what_is_unknown_is_not():
    papers = [Paper(f"Study of {word}", arxiv_id=f"1706.0376{n}") for n, word in enumerate(("amber", "basil"))]
    references = [Reference(title) for title in (*(paper.title for paper in papers), "A book that nobody indexed")]
    ids = [paper.arxiv_id for paper in papers]
    with FakeServices(papers) as services:
        settings = http_settings(services.urls, {"arxiv_api": HostLimit()}, max_retries=0)
        with HttpClient(settings) as client:
            arxiv = ArxivSource(client, services.urls.arxiv_api, ids_per_request=1, titles_per_request=1)
            source = make_environment(World(), arxiv, cuts_off=True).source
            services.script("arxiv_api", None, Fault.status(500), None)
            for asked, found in ((3, [True, False, False]), (5, [True, True, False]), (5, [True, True, False])):
                assert [paper is not None for paper in source.papers_by_reference(references)] == found
                assert len(services.requests_to("arxiv_api")) == asked
                in_doubt = [source.is_in_doubt(reference) for reference in references]
                assert in_doubt == ([False, True, True] if asked == 3 else [False] * 3)
            services.script("arxiv_api", None, Fault.status(500))
            assert [list(source.papers_by_id(ids)) for _ in range(2)] == [ids[:1], ids]


def test_a_look_up_is_in_doubt_for_what_its_own_call_lost_alone():
    """Not for another thread's pages, nor for what a source never asks for."""
    world, lost, reference = World(), FailureCount(), Reference("A book that nobody indexed")
    look_up = world.papers_by_reference

    def beside_failing_pages(references):
        page = threading.Thread(target=lost.add, args=("page of a server", 1))
        page.start()
        page.join()
        lost.add("more than 20 titles in one look-up", 80, is_lost=False)
        return look_up(references)

    world.papers_by_reference = beside_failing_pages
    source = make_environment(world, world, cuts_off=False).source
    assert source.papers_by_reference([reference]) == [None]
    assert not source.is_in_doubt(reference)
    assert sum(lost.snapshot().values()) == 81


def test_a_search_that_one_of_several_engines_failed_at_is_asked_again():
    whole, half = World(), World(seed=1)
    half.failing_searches = {"words"}
    environment = make_environment(FusedSearch([whole, half]), whole, cuts_off=False)
    first = environment.engine.search("words", 5)
    half.failing_searches = set()
    again = environment.engine.search("words", 5)
    assert first
    assert again != first
    assert environment.engine.search("words", 5) == again
    assert (whole.calls["search"], half.calls["search"]) == (2, 2)


def test_a_step_asks_the_world_for_each_search_page_and_reference_once():
    world = World()
    environment = make_environment(world, world, cuts_off=False)
    reference = Reference(world.papers[0].title)
    for _ in range(3):
        environment.engine.search("agents", 5)
        environment.source.sections(world.papers[0])
        assert environment.source.papers_by_reference([reference])[0] == world.papers[0]
    assert (world.calls["search"], world.calls["page"], world.calls["reference"]) == (1, 1, 1)
    assert environment.asked()["searches_kept"] == 2


def test_a_spent_budget_ends_calls_but_not_what_is_kept():
    world = World()
    environment = make_environment(world, world, cuts_off=True, call_budget=2)
    first = environment.engine.search("agents", 5)
    environment.engine.search("papers", 5)
    with pytest.raises(ToolError, match="budget of 2 calls"):
        environment.engine.search("rewards", 5)
    assert environment.engine.search("agents", 5) == first
    assert environment.budget.spent == 2


def shown(world, hidden, ask):
    """What `ask` gets from one query's workers."""

    async def go():
        workers = Workers(world, world.scorer, world, world, 4, 1)
        mine = QueryWorkers(workers, hidden)
        try:
            return await ask(mine), mine
        finally:
            workers.close()

    return asyncio.run(go())


def test_the_hidden_paper_is_found_by_no_way():
    world = World()
    hit = next(h.paper for h in world.search("agents", 8) if h.paper and h.paper.arxiv_id)
    hidden = hidden_papers(hit.title, hit.arxiv_id)
    assert any(h.paper == hit for h in shown(world, HiddenPapers(), lambda w: w.search("agents", 8, None))[0])
    hits, _ = shown(world, hidden, lambda w: w.search("agents", 8, None))
    assert hits
    assert all(h.paper != hit and h.arxiv_id != hit.arxiv_id for h in hits)
    assert shown(world, hidden, lambda w: w.paper_by_reference(Reference(hit.title)))[0] is None
    assert shown(world, hidden, lambda w: w.paper_by_id(hit.arxiv_id))[0] is None


def test_what_is_hidden_takes_no_place_among_the_results(tmp_path, world_library):
    from tests.agent_world import SURVEY, TOOL

    settings = ToolSettings(library=str(world_library), engine="library", cache_dir=str(tmp_path))
    with open_environment(settings, AgentSettings()) as environment:
        assert not environment.cuts_off
        world = World()
        hidden = hidden_papers(SURVEY)

        async def one(workers):
            return await workers.search("agents tools", 1, None)

        async def go():
            workers = Workers(world, world.scorer, environment.engine, environment.source, 4, 1)
            try:
                return await one(QueryWorkers(workers, HiddenPapers())), await one(QueryWorkers(workers, hidden))
            finally:
                workers.close()

        [[seen], [instead]] = asyncio.run(go())
        assert (seen.title, instead.title) == (SURVEY, TOOL)


def test_what_failed_is_noted_for_the_query_that_asked():
    world = World()
    world.failing_searches = {"agents"}

    async def ask(workers):
        with pytest.raises(ToolError):
            await workers.search("agents", 5, None)
        return await workers.search("papers", 5, None)

    hits, workers = shown(world, HiddenPapers(), ask)
    assert hits
    assert workers.failed_searches == {"agents"}


def test_live_engines_cut_off_by_default_and_libraries_by_setting(tmp_path, world_library, monkeypatch):
    library = ToolSettings(library=str(world_library), engine="library", cache_dir=str(tmp_path))
    live = ToolSettings(engine="arxiv", cache_dir=str(tmp_path))
    for tools, setting, cuts_off in ((library, "auto", False), (library, "true", True), (live, "auto", True)):
        with open_environment(tools, AgentSettings(), setting, call_budget=7) as environment:
            assert environment.cuts_off is cuts_off
            assert environment.budget.limit == (7 if tools is live else None)

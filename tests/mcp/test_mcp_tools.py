"""The MCP tools, asked by the official client in this process: pasa/mcp/server.py, records.py, runs.py."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from pasa import PaperAgent
from pasa.errors import ServiceError
from pasa.mcp.records import MAX_PAGE, cut, page
from pasa.mcp.server import ServerLimits, paper_server
from pasa.query import Query
from tests.agent_world import DEEP, LATE, QUESTION, SURVEY, TOOL, ZURICH
from tests.world import World, no_task_is_left

Ask = Callable[..., Any]
TOOLS = {"search_papers", "get_results", "export", "get_paper", "get_references", "search_library"}
LONG = 3.0  # seconds a page takes where a search must not end by itself


@pytest.fixture(scope="module")
def agent(world_library: Path, shared_cache: Path) -> Iterator[PaperAgent]:
    with PaperAgent(library=world_library, crawler="rules", selector="rules", cache_dir=str(shared_cache)) as agent:
        yield agent


def with_client(agent: Any, work: Callable[[Client], Coroutine[Any, Any, Any]], **limits: Any) -> Any:
    """What `work` gives with a client of the agent's server."""

    async def run() -> Any:
        async with Client(paper_server(agent, ServerLimits(**limits))) as client:
            return await work(client)

    return asyncio.run(run())


def refusal(answer: Any) -> str:
    assert answer.is_error, answer.structured_content
    return str(answer.content[0].text)


def titles(papers: list[dict[str, Any]]) -> list[str]:
    return [paper["title"] for paper in papers]


# -- answers -----------------------------------------------------------------------------------------------------------


def test_a_client_sees_the_tools_with_what_they_take_and_give(agent: PaperAgent) -> None:
    async def look(client: Client) -> Any:
        return (await client.list_tools()).tools

    tools = {tool.name: tool for tool in with_client(agent, look)}
    assert set(tools) == TOOLS
    for tool in tools.values():
        assert tool.description
        assert tool.output_schema
        assert tool.annotations.read_only_hint is True
        assert all("description" in field for field in tool.input_schema["properties"].values()), tool.name
    assert tools["search_papers"].input_schema["required"] == ["question"]


def test_a_search_gives_the_run_page_by_page(agent: PaperAgent) -> None:
    direct = agent.run(QUESTION)

    async def read(client: Client) -> list[dict[str, Any]]:
        answer = (await client.call_tool("search_papers", {"question": QUESTION, "limit": 2})).structured_content
        pages = [answer]
        while (offset := answer["next_offset"]) is not None:
            asked = {"run_id": answer["run_id"], "offset": offset, "limit": 3}
            answer = (await client.call_tool("get_results", asked)).structured_content
            pages.append(answer)
        return pages

    pages = with_client(agent, read)
    assert [len(page["papers"]) for page in pages][:2] == [2, 3]
    shown = [(paper["rank"], paper["title"], paper["selected"]) for page in pages for paper in page["papers"]]
    assert shown == [(paper.rank, paper.paper.title, paper.selected) for paper in direct.papers]
    assert pages[0]["papers_in_all"] == len(direct.papers)
    assert pages[0]["selected_in_all"] == len(direct.selected)
    assert "Selector rules" in pages[0]["notes"][0]


def test_a_search_tells_its_progress(agent: PaperAgent) -> None:
    heard: list[tuple[float, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message))

    async def search(client: Client) -> Any:
        return await client.call_tool("search_papers", {"question": QUESTION}, progress_callback=hear)

    assert not with_client(agent, search).is_error
    assert heard
    assert "found" in (heard[0][1] or "")
    assert [progress for progress, _ in heard] == sorted({progress for progress, _ in heard})


def test_a_search_takes_an_end_date_seeds_and_depth(agent: PaperAgent) -> None:
    async def search(client: Client) -> Any:
        everything = await client.call_tool("search_papers", {"question": QUESTION, "limit": 50})
        asked = {"question": QUESTION, "end_date": "2024-01-31", "seeds": [DEEP], "expand_layers": 0, "limit": 50}
        return everything.structured_content, (await client.call_tool("search_papers", asked)).structured_content

    everything, asked = with_client(agent, search)
    assert {LATE, ZURICH} <= set(titles(everything["papers"]))
    assert DEEP in titles(asked["papers"])
    assert not {LATE, ZURICH} & set(titles(asked["papers"]))


def test_a_server_bounds_depth_and_time(agent: PaperAgent) -> None:
    async def search(client: Client) -> Any:
        return (await client.call_tool("search_papers", {"question": QUESTION, "expand_layers": 9})).structured_content

    flat = with_client(agent, search, max_layers=0)
    assert ZURICH not in titles(flat["papers"])
    ended = with_client(agent, search, max_seconds=0.0)
    assert ended["papers"] == []
    assert any("ended early: seconds" in note for note in ended["notes"])


def test_a_run_is_exported_by_format_rank_and_page(agent: PaperAgent) -> None:
    async def export(client: Client) -> Any:
        run = (await client.call_tool("search_papers", {"question": QUESTION})).structured_content
        asked = {"run_id": run["run_id"], "format": "jsonl"}
        pages = [
            (await client.call_tool("export", asked | more)).structured_content
            for more in ({"limit": 2}, {"offset": 2}, {"ranks": [3, 1]}, {"format": "bibtex"}, {"offset": 1000})
        ]
        return run, pages

    run, (first, rest, chosen, bibtex, beyond) = with_client(agent, export)
    ranks = [[json.loads(line)["rank"] for line in page["text"].splitlines()] for page in (first, rest, chosen)]
    everything = list(range(1, run["papers_in_all"] + 1))
    assert ranks == [everything[:2], everything[2:], [1, 3]]
    assert (first["next_offset"], rest["next_offset"]) == (2, None)
    assert bibtex["text"].count("title = ") == bibtex["papers"] == run["selected_in_all"]
    assert (beyond["papers"], beyond["text"], beyond["next_offset"]) == (0, "", None)


def test_a_paper_is_given_by_id_url_or_title(agent: PaperAgent) -> None:
    async def read(client: Client) -> Any:
        names = ("2301.00001", "arxiv.org/abs/2301.00001v3", TOOL.lower())
        return [(await client.call_tool("get_paper", {"name": name})).structured_content for name in names]

    papers = with_client(agent, read)
    assert titles(papers) == [TOOL] * 3
    assert papers[0]["url"] == "https://arxiv.org/abs/2301.00001"


def test_references_come_by_section_with_the_ids_of_papers_that_are_known(agent: PaperAgent) -> None:
    async def read(client: Client) -> Any:
        asked = [{}, {"section": "Related Work"}, {"offset": 1, "limit": 2}]
        return [(await client.call_tool("get_references", {"name": TOOL} | one)).structured_content for one in asked]

    everything, section, part = with_client(agent, read)
    named = {one["title"]: one["arxiv_id"] for one in everything["references"]}
    assert named[ZURICH] == "2201.00003"
    assert named["A Book on Everything"] is None
    assert [one["name"] for one in everything["sections"]] == ["Introduction", "Related Work", "Experiments"]
    assert {one["section"] for one in section["references"]} == {"Related Work"}
    assert part["references"] == everything["references"][1:3]
    assert part["next_offset"] == 3


def test_a_paper_without_full_text_says_so(agent: PaperAgent) -> None:
    async def read(client: Client) -> Any:
        return (await client.call_tool("get_references", {"name": SURVEY})).structured_content

    answer = with_client(agent, read)
    assert (answer["has_full_text"], answer["references"]) == (False, [])


def test_the_library_is_searched_in_pages(agent: PaperAgent) -> None:
    direct = [paper.title for paper in agent.search("agents", 50)]

    async def read(client: Client) -> Any:
        first = (await client.call_tool("search_library", {"words": "agents", "limit": 1})).structured_content
        asked = {"words": "agents", "offset": first["next_offset"]}
        return first, (await client.call_tool("search_library", asked)).structured_content

    first, rest = with_client(agent, read)
    assert len(direct) > 1
    assert [*titles(first["papers"]), *titles(rest["papers"])] == direct
    assert rest["next_offset"] is None


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "asked", "reason"),
    [
        ("search_papers", {"question": " "}, "the query is empty"),
        ("search_papers", {"question": "q", "end_date": "tomorrow"}, "write YYYY-MM-DD"),
        ("search_papers", {"question": "q", "seeds": ["..."]}, "names no paper"),
        ("search_papers", {"question": "q", "limit": MAX_PAGE + 1}, "less than or equal"),
        ("search_papers", {"question": "q" * 3000}, "at most 2000 characters"),
        ("get_results", {"run_id": "none"}, "search again"),
        ("export", {"run_id": "none"}, "search again"),
        ("get_paper", {"name": "What nobody ever wrote about"}, "no paper"),
        ("get_references", {"name": TOOL, "section": "Nowhere"}, "leave `section` out"),
        ("search_library", {"words": "q", "offset": 1000}, "search more narrowly"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    agent: PaperAgent, tool: str, asked: dict[str, Any], reason: str
) -> None:
    async def call(client: Client) -> Any:
        return await client.call_tool(tool, asked)

    assert reason in refusal(with_client(agent, call))


def test_an_unknown_format_names_those_that_there_are(agent: PaperAgent) -> None:
    async def call(client: Client) -> Any:
        run = (await client.call_tool("search_papers", {"question": QUESTION})).structured_content
        return await client.call_tool("export", {"run_id": run["run_id"], "format": "word"})

    assert "bibtex" in refusal(with_client(agent, call))


def test_only_the_last_runs_are_kept(agent: PaperAgent) -> None:
    async def call(client: Client) -> Any:
        runs = [(await client.call_tool("search_papers", {"question": QUESTION})).structured_content for _ in range(3)]
        return [await client.call_tool("get_results", {"run_id": run["run_id"]}) for run in runs]

    oldest, *kept = with_client(agent, call, runs_kept=2, runs_at_once=1)
    assert "only the last 2" in refusal(oldest)
    assert not any(answer.is_error for answer in kept)


class WorldAgent:
    """An agent of a made-up world, as paper_server takes it."""

    def __init__(self, world: World) -> None:
        self.runtime = world.agent()

    async def astream(self, question: str, **_: Any) -> Any:
        async for event in self.runtime.astream(Query(question)):
            yield event

    def exported(self, result: Any) -> Any:
        raise AssertionError("no run of this world ends")


def long_world() -> World:
    world = World(3)
    world.slow = {f"page:{paper.title}": LONG for paper in world.papers}
    return world


def test_a_cancelled_call_ends_its_search() -> None:
    agent = WorldAgent(long_world())

    async def cancel(client: Client) -> None:
        call = asyncio.create_task(client.call_tool("search_papers", {"question": QUESTION}))
        while not agent.runtime._runs:
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(no_task_is_left, agent.runtime, LONG / 3)

    with agent.runtime:
        with_client(agent, cancel)


def test_searches_wait_their_turn_and_too_many_are_refused() -> None:
    agent = WorldAgent(long_world())

    async def crowd(client: Client) -> Any:
        calls = [asyncio.create_task(client.call_tool("search_papers", {"question": f"q {n}"})) for n in range(4)]
        done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        under_way = len(agent.runtime._runs)
        for call in waiting:
            call.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return [call.result() for call in done], under_way

    with agent.runtime:
        done, under_way = with_client(agent, crowd, runs_at_once=1, runs_waiting=2)
    assert ["too many searches" in refusal(answer) for answer in done] == [True]
    assert under_way == 1


def test_a_crash_tells_the_client_nothing_of_the_inside() -> None:
    class Broken:
        def paper(self, name: str) -> None:
            raise KeyError("SECRET_VALUE")

    async def call(client: Client) -> Any:
        return await client.call_tool("get_paper", {"name": "2301.00001"})

    assert "SECRET_VALUE" not in refusal(with_client(Broken(), call))


def test_a_service_that_fails_is_told_in_its_own_words() -> None:
    class Down:
        def paper(self, name: str) -> None:
            raise ServiceError("arXiv does not answer", 503)

    async def call(client: Client) -> Any:
        return await client.call_tool("get_paper", {"name": "2301.00001"})

    assert "arXiv does not answer" in refusal(with_client(Down(), call))


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_pages_join_to_the_whole_and_end() -> None:
    items = list(range(7))
    first, offset = page(items, 0, 3)
    second, more = page(items, offset or 0, 4)
    assert [*first, *second] == items
    assert (offset, more) == (3, None)
    assert page(items, 9, 3) == ([], None)


@pytest.mark.parametrize("characters", [1, 5, 400])
def test_a_text_is_cut_to_its_bound(characters: int) -> None:
    assert len(cut("word " * 200, characters)) <= characters
    assert cut("w", characters) == "w"

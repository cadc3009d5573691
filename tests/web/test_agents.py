"""The agents behind the page: which engines are offered, what is shared, what makes room."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pasa.errors import ConfigError
from pasa.web import agents as agents_module
from pasa.web.__main__ import build_parser
from pasa.web.agents import AGENTS_KEPT, AgentPool
from pasa.web.run_request import Limits, read_run_request
from tests.agent_world import SCHOLARLY_KEYS


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SERPER_API_KEY", *SCHOLARLY_KEYS):
        monkeypatch.delenv(name, raising=False)
    for module in ("pasa.tool_assembly", "pasa.web.agents"):
        monkeypatch.setattr(f"{module}.BUILT_LIBRARY", tmp_path / "none was built")


def pool(**flags: Any) -> AgentPool:
    return AgentPool(None, {"engine": "demo", "cache_dir": "", **flags}, lambda line: None)


def test_engines_that_cannot_be_had_are_told_with_the_reason() -> None:
    offers = {offer.name: offer for offer in pool().offers()}
    assert {name: offer.reason for name, offer in offers.items()} == {
        "demo": "",
        "arxiv": "",
        "semantic_scholar": "",
        "serper": "needs SERPER_API_KEY",
        "scholar": "needs SERPER_API_KEY",
        "openalex": "needs OPENALEX_API_KEY",
        "library": "no library was built",
    }
    assert offers["demo"].usual["expand_layers"] == 2
    assert next(iter(offers)) == "demo"


def test_a_checkpoint_in_memory_serves_the_engine_it_was_loaded_for_alone(tmp_path: Path) -> None:
    offers = {offer.name: offer.reason for offer in pool(crawler_path=str(tmp_path)).offers()}
    assert offers["demo"] == ""
    assert "checkpoint" in offers["arxiv"]
    served = {offer.name: offer.reason for offer in pool(crawler_path="openai:model").offers()}
    assert served["arxiv"] == ""


def test_one_agent_serves_all_who_ask_for_its_engines_and_idle_ones_make_room() -> None:
    async def lease_all() -> None:
        made = pool()
        try:
            async with made.lease("demo") as first, made.lease("auto") as again:
                assert first is again
                kept = [first]
                for engine in ("arxiv", "semantic_scholar", "arxiv,semantic_scholar", "semantic_scholar,demo"):
                    async with made.lease(engine) as assembly:
                        kept.append(assembly)
                async with made.lease("semantic_scholar,arxiv") as same:
                    assert same is kept[3]
                assert len(made._made) == AGENTS_KEPT
                async with made.lease("demo") as still:
                    assert still is first  # in use, so it did not make room
                async with made.lease("arxiv") as anew:
                    assert anew is not kept[1]
                    with pytest.raises(RuntimeError, match="closed"):
                        next(kept[1].agent.stream("anybody there?"))
        finally:
            await made.close()

    asyncio.run(lease_all())


def test_an_engine_without_its_key_is_refused_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents_module, "assemble", lambda *_: pytest.fail("assembled"))

    async def lease() -> None:
        async with pool().lease("serper"):
            pass

    with pytest.raises(ConfigError, match="needs SERPER_API_KEY"):
        asyncio.run(lease())


def test_every_setting_of_models_and_tools_is_a_flag_with_its_type() -> None:
    given = build_parser().parse_args(
        ["--timeout_seconds", "2.5", "--retries", "1", "--selector_api_base", "http://x/v1"]
    )
    assert (given.timeout_seconds, given.retries, given.selector_api_base) == (2.5, 1, "http://x/v1")
    assert given.engine is None


def test_a_request_read_back_from_what_is_kept_of_it_is_the_same() -> None:
    asked = {
        "question": "q?",
        "engine": "demo,arxiv",
        "seeds": ["2101.00001"],
        "end_date": "20240131",
        "max_seconds": 5,
    }
    request = read_run_request(asked, "demo", Limits())
    assert read_run_request(request.to_json(), "demo", Limits()) == request
    assert request.end_date == "2024-01-31"


def test_a_run_is_cut_to_the_limits_whatever_the_configuration_says() -> None:
    from pasa.config import AgentSettings

    limits = Limits(search_papers=50, max_seconds=60)
    usual = AgentSettings(search_papers=400, max_seconds=None)
    settings = read_run_request({"question": "q?"}, "demo", limits).settings(usual, limits)
    assert (settings.search_papers, settings.max_seconds, settings.max_papers_scored) == (50, 60, None)
    asked = read_run_request({"question": "q?", "max_seconds": 5}, "demo", limits).settings(usual, limits)
    assert asked.max_seconds == 5

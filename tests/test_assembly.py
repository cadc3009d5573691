"""What the agent is put together from, and why: engines in order, models by path, nothing secret in the record."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pasa import assembly, tool_assembly
from pasa.assembly import assemble, choose_config, choose_model
from pasa.config import ENGINES, ModelSettings, Settings, ToolSettings
from pasa.errors import ConfigError
from pasa.library import build_library
from pasa.models.second_reading import SecondReading
from pasa.tool_assembly import ENGINE_KINDS, Choice, choose_engine
from pasa.tools.local import LibrarySource
from pasa.tools.title_repair import TitleRepairSource
from tests.agent_world import (
    FOUND,
    MODEL_SECRET,
    QUESTION,
    SEARCHES,
    SECRET,
    SURVEY,
    TOOL,
    ModelServer,
    nodes,
    papers,
    prompt_of,
    read_prompt,
    read_tree,
    service_flags,
    write_jsonl,
)
from tests.services import CUT, FakeServices, Fault

AUTO = ToolSettings()


@pytest.fixture
def services() -> Iterator[FakeServices]:
    with FakeServices(papers(), serper_key=SECRET) as fake:
        yield fake


@pytest.fixture
def closed_url() -> str:
    """An address on loopback where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/api/query"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without key, built library and checkpoints; arXiv is where a test says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SERPER_API_KEY", "")
    monkeypatch.delenv("SERPER_API_KEY")
    monkeypatch.setattr(tool_assembly, "BUILT_LIBRARY", tmp_path / "built")
    return monkeypatch


def arxiv_at(url: str) -> ToolSettings:
    return ToolSettings(arxiv_api_base=url)


# -- engines -----------------------------------------------------------------------------------------------------------


def test_auto_takes_the_key_then_the_library_then_arxiv_then_the_demo(
    machine: pytest.MonkeyPatch, services: FakeServices, world_library: Path, closed_url: str, tmp_path: Path
) -> None:
    here, nowhere = arxiv_at(services.urls.arxiv_api), arxiv_at(closed_url)
    demo = choose_engine(nowhere)
    assert (demo.name, "arXiv cannot be reached" in demo.reason) == ("demo", True)
    arxiv = choose_engine(here)
    assert (arxiv.name, arxiv.reason) == ("arxiv", "no SERPER_API_KEY, no built library")
    build_library([world_library], tmp_path / "built")
    library = choose_engine(here)
    assert (library.name, "built is here" in library.reason) == ("library", True)
    machine.setenv("SERPER_API_KEY", SECRET)
    serper = choose_engine(here)
    assert (serper.name, serper.reason) == ("serper", "SERPER_API_KEY is set")
    assert len(services.requests_to("arxiv_api")) == 1  # only when nothing comes before it


@pytest.mark.parametrize("fault", [Fault.status(503), Fault.garbage(), CUT, Fault.hang(20.0)])
def test_an_arxiv_that_does_not_answer_usably_is_not_chosen(
    machine: pytest.MonkeyPatch, services: FakeServices, fault: Fault
) -> None:
    machine.setattr(tool_assembly, "PROBE_SECONDS", 0.5)
    services.always("arxiv_api", fault)
    assert choose_engine(arxiv_at(services.urls.arxiv_api)).name == "demo"


def test_a_named_library_is_the_engine_of_auto_even_with_a_key(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("SERPER_API_KEY", SECRET)
    assert choose_engine(ToolSettings(library="L")).name == "library"
    assert choose_engine(ToolSettings(library="L", engine="serper")).name == "serper"


def test_an_engine_that_is_asked_for_is_taken(machine: pytest.MonkeyPatch) -> None:
    for name in ("arxiv", "demo", "library"):
        assert choose_engine(ToolSettings(engine=name)).name == name
    with pytest.raises(ConfigError, match="SERPER_API_KEY"):
        choose_engine(ToolSettings(engine="serper"))
    machine.setenv("SERPER_API_KEY", "  ")
    assert choose_engine(ToolSettings(library=None, arxiv_api_base="http://127.0.0.1:9/q")).name == "demo"


def test_every_engine_that_a_setting_may_name_can_be_built() -> None:
    assert {*ENGINE_KINDS, "auto"} == set(ENGINES)


def test_several_engines_are_chosen_in_the_order_asked_each_once(machine: pytest.MonkeyPatch) -> None:
    chosen = choose_engine(ToolSettings(engine="library, arxiv,library"))
    assert (chosen.names, chosen.reason) == (("library", "arxiv"), "as asked, fused by reciprocal rank")
    with pytest.raises(ConfigError, match="SERPER_API_KEY"):
        choose_engine(ToolSettings(engine="arxiv,serper"))
    for engine in ("arxiv,bing", "arxiv,", "", "auto,arxiv"):
        with pytest.raises(ConfigError, match="serper,arxiv"):
            choose_engine(ToolSettings(engine=engine))


# -- what the command line says of it ----------------------------------------------------------------------------------


@pytest.fixture
def ask(cli: Any, model_server: ModelServer, services: FakeServices, tmp_path: Path) -> Any:
    """Asks QUESTION with the fake services in the services' places."""
    flags = [*service_flags(services, tmp_path, cache_dir="web"), *model_server.flags]
    return lambda *more: cli(QUESTION, "--expand_layers", "0", *flags, *more)


def test_the_engine_and_why_are_said(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "engine: arxiv (no SERPER_API_KEY, no built library)" in ask().err
    monkeypatch.setenv("SERPER_API_KEY", SECRET)
    assert "engine: serper (SERPER_API_KEY is set)" in ask().err


def test_what_one_engine_lacks_another_adds(cli: Any, model_server: ModelServer, tmp_path: Path) -> None:
    rows = [{"title": p.title, "abstract": p.abstract, "arxiv_id": p.arxiv_id} for p in papers() if p.title != SURVEY]
    library = write_jsonl(tmp_path / "some.jsonl", rows)
    with FakeServices([p for p in papers() if p.title != TOOL]) as services:
        flags = [*service_flags(services, tmp_path), *model_server.flags, "--expand_layers", "0", "--format", "tree"]
        found = {
            engine: cli(QUESTION, "--engine", engine, "--library", library, *flags)
            for engine in ("library", "arxiv", "library,arxiv")
        }
    assert "engine: library,arxiv (as asked, fused by reciprocal rank)" in found["library,arxiv"].err
    titles = {engine: set(nodes(json.loads(outcome.out))) for engine, outcome in found.items()}
    assert (TOOL in titles["library"], SURVEY in titles["library"]) == (True, False)
    assert (TOOL in titles["arxiv"], SURVEY in titles["arxiv"]) == (False, True)
    assert titles["library,arxiv"] == titles["library"] | titles["arxiv"]
    assert json.loads(found["library,arxiv"].out)["extra"]["run"]["engine"] == "library,arxiv"


def test_live_engines_together_find_and_expand_what_each_would(
    cli: Any, model_server: ModelServer, services: FakeServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERPER_API_KEY", SECRET)
    flags = [*service_flags(services, tmp_path), *model_server.flags, "--format", "tree"]
    tree = json.loads(cli(QUESTION, "--engine", "serper,arxiv", *flags).out)
    assert set(nodes(tree)) == FOUND
    asked = {service: len(services.requests_to(service)) for service in ("serper", "arxiv_html")}
    assert min(asked.values()) > 0
    assert tree["extra"]["run"]["engine"] == "serper,arxiv"


def test_an_engine_that_fails_costs_its_own_results_and_is_counted(
    ask: Any, world_library: Path, services: FakeServices
) -> None:
    services.always("arxiv_api", Fault.status(503))
    outcome = ask("--engine", "arxiv,library", "--library", world_library, "--format", "json")
    shown = json.loads(outcome.out)
    assert outcome.code == 0
    assert shown["papers"]
    assert shown["run"]["problems"]["search: arxiv: HTTP 503"] == len(SEARCHES)


def test_the_demo_says_why_it_answers_and_how_to_go_live(cli: Any, closed_url: str) -> None:
    flags = ["--crawler_path", "rules", "--selector_path", "rules", "--search_papers", "2", "--expand_layers", "0"]
    said = cli("bandits", "--arxiv_api_base", closed_url, *flags).err
    assert "engine: demo (no SERPER_API_KEY, no built library, arXiv cannot be reached)" in said
    for way in ("set SERPER_API_KEY", "--engine arxiv", "--library", "scripts/build_library.py"):
        assert way in said


def test_keys_are_sent_and_stand_nowhere(ask: Any, tmp_path: Path, services: FakeServices, monkeypatch: Any) -> None:
    monkeypatch.setenv("SERPER_API_KEY", SECRET)
    outcome = ask("--verbose", "--format", "tree")
    assert outcome.code == 0
    assert {r.headers["x-api-key"] for r in services.requests_to("serper")} == {SECRET}
    assert not [r for r in services.received if r.service != "serper" and SECRET in str(r)]
    kept = [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()]
    assert any(b"tools agents" in content for content in kept)  # the cache and the tree are among them
    for secret in (SECRET, MODEL_SECRET):
        assert secret not in outcome.out + outcome.err
        assert not [content for content in kept if secret.encode() in content]


# -- settings and models -----------------------------------------------------------------------------------------------


def test_many_results_are_asked_for_only_where_they_cost_nothing(
    machine: pytest.MonkeyPatch,
) -> None:
    machine.setattr(assembly, "CHECKPOINTS", {"crawler": "none", "selector": "none"})

    def config(engine: str, crawler: str = "auto") -> str:
        settings = Settings(models=ModelSettings(crawler_path=crawler), tools=ToolSettings(engine=engine))
        return choose_config(settings, Choice(engine, "")).name

    assert config("library") == "agent_rules.yaml"
    assert [config(engine) for engine in ("demo", "arxiv", "serper")] == ["agent.yaml"] * 3
    assert config("library", "openai:m") == "agent.yaml"


def test_arxiv_chosen_by_auto_is_asked_for_few_results(
    cli: Any, model_server: ModelServer, services: FakeServices, tmp_path: Path
) -> None:
    flags = ["--crawler_path", "rules", *model_server.flags[2:], "--cache_dir", "", "--max_model_calls", "0"]
    flags += ["--arxiv_api_base", services.urls.arxiv_api]  # no --config: it is chosen
    outcome = cli(QUESTION, *flags)
    assert "engine: arxiv" in outcome.err
    [tree] = (tmp_path / "results").iterdir()
    assert read_tree(tree)["extra"]["run"]["config"] == "agent.yaml"


def test_a_checkpoint_that_is_here_is_taken(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine.setattr(assembly, "ROOT", tmp_path)
    assert choose_model("auto", "crawler").name == "rules"
    (tmp_path / "checkpoints" / "pasa-7b-crawler").mkdir(parents=True)
    crawler = choose_model("auto", "crawler")
    assert (crawler.name, crawler.reason) == (
        str(tmp_path / "checkpoints" / "pasa-7b-crawler"),
        "the checkpoint is here",
    )
    assert choose_model("auto", "selector").name == "rules"
    assert choose_model("rules", "crawler").name == "rules"


def test_an_assembly_closes_what_it_opened(world_library: Path, model_server: ModelServer, monkeypatch: Any) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", MODEL_SECRET)
    models = ModelSettings("openai:m", "openai:m", api_base=model_server.base_url)
    said: list[str] = []
    with assemble(Settings(models=models, tools=ToolSettings(library=str(world_library))), said.append) as made:
        assert [line.split(":")[0] for line in said] == ["engine", "crawler", "selector"]
        assert made.record["engine"] == "library"
        assert MODEL_SECRET not in json.dumps(made.record)
        agent = made.agent
    assert agent._loop.is_closed()


def test_a_model_that_repairs_titles_is_behind_the_sources_only_where_asked(
    world_library: Path, model_server: ModelServer, monkeypatch: Any
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", MODEL_SECRET)
    tools = ToolSettings(library=str(world_library))
    for path, kind in ((None, LibrarySource), ("openai:m", TitleRepairSource)):
        models = ModelSettings("openai:m", "openai:m", api_base=model_server.base_url, title_repair_path=path)
        with assemble(Settings(models=models, tools=tools)) as made:
            assert isinstance(made.agent._workers._source, kind)
    with pytest.raises(ConfigError, match="title_repair_path takes a language model"):
        assemble(Settings(models=ModelSettings("rules", "rules", title_repair_path="rules"), tools=tools))


def test_what_rules_found_is_ranked_by_all_the_crawl_tells_unless_asked_otherwise(
    tmp_path: Path, machine: pytest.MonkeyPatch, world_library: Path
) -> None:
    build_library([world_library], tmp_path / "L", processes=1)
    ranked: dict[tuple[str, int], list[float]] = {}
    for rerank in ("auto", "citations", "none"):
        for large_from in (1, 10**6):
            machine.setattr(assembly, "RERANK_PAPERS", large_from)
            models = ModelSettings("rules", "rules", rerank=rerank)  # type: ignore[arg-type]
            tools = ToolSettings(library=str(tmp_path / "L"), cache_dir="")
            with assemble(Settings(models=models, tools=tools)) as made:
                expected = rerank == "auto" or (rerank == "citations" and large_from == 1)
                assert made.record["reranked"] == expected
                ranked[rerank, large_from] = [paper.score for paper in made.agent.run(QUESTION).papers]
    assert ranked["auto", 1] == ranked["auto", 10**6] != ranked["none", 1]
    assert ranked["citations", 10**6] == ranked["none", 1] == ranked["none", 10**6]


def test_a_second_selector_has_its_word_in_the_final_ranking(tmp_path: Path) -> None:
    said: list[str] = []
    tools = ToolSettings(engine="demo", cache_dir=str(tmp_path))
    settings = Settings(models=ModelSettings("rules", "rules", second_selector_path="rules"), tools=tools)
    with assemble(settings, said.append) as assembly:
        assert isinstance(assembly.agent._rerank, SecondReading)
        assert assembly.record["reranked"]
    assert any(line.startswith("second selector: ") for line in said)


def test_crawler_and_selector_may_be_on_two_servers(cli: Any, world_library: Path) -> None:
    with ModelServer() as crawler, ModelServer() as selector:
        flags = [*crawler.flags, "--selector_api_base", selector.base_url]
        assert cli(QUESTION, "--library", world_library, *flags).code == 0
        kinds = [{read_prompt(prompt_of(body))[0] for _, body, _ in server.requests} for server in (crawler, selector)]
    assert kinds == [{"search", "expand"}, {"select"}]

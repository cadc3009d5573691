"""The agent for Python programs, pasa/api.py: what it gives, when it opens what, how it fails; examples/."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import pasa
from pasa import PaperAgent, PasaError, Query, RunDone
from pasa.errors import ConfigError, LibraryError
from pasa.events import PaperScored
from tests.agent_world import LATE, QUESTION, ROOT, SURVEY, TOOL, ZURICH

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
HEAVY = ("torch", "numpy", "tantivy", "requests", "openai", "yaml", "asyncio")


@pytest.fixture
def empty_machine(tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No key, no built library, no .env file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SERPER_API_KEY", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    monkeypatch.setattr("pasa.tool_assembly.BUILT_LIBRARY", tmp_path / "none")
    return monkeypatch


@pytest.fixture
def closed_url() -> str:
    """Nothing listens there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def agent(empty_machine: pytest.MonkeyPatch, world_library: Path) -> PaperAgent:
    return PaperAgent(library=world_library, crawler="rules", selector="rules")


def titles(papers: object) -> list[str]:
    return [paper.title for paper in papers]  # type: ignore[attr-defined]


# -- what it gives ---------------------------------------------------------------------------------------------------


def test_without_arguments_and_network_it_answers_from_the_demo_library(
    empty_machine: pytest.MonkeyPatch, closed_url: str
) -> None:
    notes: list[str] = []
    with PaperAgent(arxiv_api_base=closed_url, on_note=notes.append) as agent:
        best = agent.run("which papers study dense retrieval for open-domain question answering?").papers[0]
    assert best.paper.title == "Dense Passage Retrieval for Open-Domain Question Answering"
    assert notes[0].startswith("engine: demo")


def test_stream_run_astream_and_arun_give_the_same(agent: PaperAgent) -> None:
    async def ask() -> tuple[object, object]:
        events = [event async for event in agent.astream(QUESTION)]
        return events[-1].result.papers, (await agent.arun(QUESTION)).papers  # type: ignore[union-attr]

    with agent:
        heard: list[object] = []
        papers = agent.run(QUESTION, on_event=heard.append).papers
        *scored, done = [e for e in agent.stream(QUESTION) if isinstance(e, PaperScored | RunDone)]
        assert isinstance(done, RunDone)
        assert papers == done.result.papers
        assert asyncio.run(ask()) == (papers, papers)
    assert {TOOL, SURVEY, ZURICH} <= {found.paper.title for found in papers}
    assert len(scored) == len([e for e in heard if isinstance(e, PaperScored)]) == len(papers)


def test_settings_by_name_reach_the_run(agent: PaperAgent, world_library: Path) -> None:
    with PaperAgent(library=world_library, crawler="rules", selector="rules", expand_layers=0) as flat:
        assert {found.depth for found in flat.run(QUESTION).papers} == {0}
        assert flat.record["settings"]["expand_layers"] == 0
    with agent:
        assert {found.depth for found in agent.run(QUESTION).papers} > {0}


def test_a_question_may_have_settings_of_its_own(agent: PaperAgent) -> None:
    with agent:
        result = agent.run(QUESTION, expand_layers=0)
        assert {found.depth for found in result.papers} == {0}
        assert {found.depth for found in agent.run(QUESTION).papers} > {0}
        assert agent.exported(result).run["settings"] == agent.record["settings"] | {"expand_layers": 0}
        with pytest.raises(ConfigError, match="did you mean 'expand_layers'"):
            agent.stream(QUESTION, expand_layer=0)
        with pytest.raises(ConfigError, match="give it to PaperAgent"):
            agent.stream(QUESTION, cited_by=3)


def test_a_result_is_exported_with_how_it_was_made(agent: PaperAgent) -> None:
    with agent:
        result = agent.run(QUESTION)
        rows = [json.loads(line) for line in agent.export(result, "jsonl").splitlines()]
        assert [row["title"] for row in rows] == [found.paper.title for found in result.papers]
        assert agent.export(result, "bibtex", result.papers[:1]).count("@") == 1
        assert agent.exported(result).run["selector"] == "rules"
        with pytest.raises(ConfigError, match="no format 'word'"):
            agent.export(result, "word")


def test_selected_papers_are_those_above_the_threshold(agent: PaperAgent) -> None:
    with agent:
        result = agent.run(QUESTION)
    assert result.selected == [found for found in result.papers if found.score > 0.5]


def test_what_is_given_wins_over_the_config_file(agent: PaperAgent, tmp_path: Path, world_library: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("agent: {expand_layers: 0, search_papers: 3}\ntools: {engine: library}\n")
    with PaperAgent(config=config, library=world_library, expand_layers=1) as mine:
        record = mine.record
    assert (record["config"], record["engine"]) == ("mine.yaml", "library")
    assert (record["settings"]["expand_layers"], record["settings"]["search_papers"]) == (1, 3)


@pytest.mark.parametrize("end_date", ["2024-01-31", dt.date(2024, 1, 31)])
def test_an_end_date_and_seeds_go_with_a_question(agent: PaperAgent, end_date: str | dt.date) -> None:
    with agent:
        found = {p.paper.title: p for p in agent.run(QUESTION, end_date=end_date, seeds=ZURICH).papers}
        assert LATE in {p.paper.title for p in agent.run(QUESTION).papers}
    assert LATE not in found
    assert found[ZURICH].is_seed


def test_a_query_holds_its_own_end_date(agent: PaperAgent) -> None:
    with agent:
        query = Query(QUESTION, end_date=dt.date(2024, 1, 31))
        assert agent.run(query).query is query
        with pytest.raises(ConfigError, match="give them there"):
            agent.run(query, end_date="2023-01-01")


def test_papers_are_looked_up_by_id_url_and_title(agent: PaperAgent) -> None:
    with agent:
        by = [agent.paper(name) for name in ("2301.00001v2", "https://arxiv.org/abs/2301.00001", TOOL.upper())]
        assert titles(by) == [TOOL, TOOL, TOOL]
        assert agent.paper("9999.99999") is None
        assert agent.paper("nobody wrote this") is None


def test_references_come_by_section_and_are_none_where_unknown(agent: PaperAgent) -> None:
    with agent:
        sections = agent.references(TOOL)
        assert sections is not None
        assert [section.name for section in sections] == ["Introduction", "Related Work", "Experiments"]
        assert sections[0].references[0].title == ZURICH
        assert agent.references("nobody wrote this") is None


def test_a_search_asks_the_engine_alone(agent: PaperAgent) -> None:
    with agent:
        assert {TOOL, SURVEY} >= set(titles(agent.search("tools agents", 2)))
        assert len(agent.search("agents", 1)) == 1
        assert titles(agent.search("late news", 1, end_date="2024-01-31")) != [LATE]


# -- when it opens what, and how it fails -----------------------------------------------------------------------------


def test_a_wrong_setting_is_told_before_anything_is_opened() -> None:
    with pytest.raises(ConfigError, match="did you mean 'expand_layers'"):
        PaperAgent(expand_layer=1)
    with pytest.raises(ConfigError, match="at least 0"):
        PaperAgent(expand_layers=-1)


def test_nothing_is_opened_before_the_first_question(empty_machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    agent = PaperAgent(library=tmp_path / "not there")
    assert agent.stop() is False
    with pytest.raises(LibraryError):
        agent.stream(QUESTION)


def test_a_failed_opening_can_be_tried_again(
    empty_machine: pytest.MonkeyPatch, tmp_path: Path, world_library: Path
) -> None:
    path = tmp_path / "late.jsonl"
    agent = PaperAgent(library=path)
    with pytest.raises(LibraryError):
        agent.open()
    path.write_bytes(world_library.read_bytes())
    with agent:
        assert agent.paper(TOOL)


def test_threads_that_come_at_once_open_it_once(agent: PaperAgent, world_library: Path) -> None:
    notes: list[str] = []
    noted = PaperAgent(library=world_library, on_note=notes.append)
    with noted, ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(noted.run, QUESTION) for _ in range(4)]
        assert len({str(run.result().papers) for run in runs}) == 1
    assert len([note for note in notes if note.startswith("engine: ")]) == 1


def test_a_closed_agent_says_so(agent: PaperAgent) -> None:
    with agent:
        pass
    agent.close()
    with pytest.raises(PasaError, match="make a new one"):
        agent.run(QUESTION)


def test_an_empty_question_is_refused(agent: PaperAgent) -> None:
    with agent, pytest.raises(ConfigError, match="empty"):
        agent.stream("   ")


# -- the package -------------------------------------------------------------------------------------------------------


def test_importing_pasa_brings_up_no_library() -> None:
    script = f"import sys, pasa; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_every_public_name_is_there_and_no_other() -> None:
    assert [name for name in pasa.__all__ if not hasattr(pasa, name)] == []
    assert set(pasa.__all__) == set(pasa._HOMES)
    assert set(pasa.__all__) <= set(dir(pasa))
    with pytest.raises(AttributeError, match="no attribute 'Papers'"):
        _ = pasa.Papers


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_runs(example: Path, tmp_path: Path, shared_cache: Path) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "XDG_CACHE_HOME": str(shared_cache),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, example], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") >= 3


def test_an_example_that_is_asked_nothing_says_so_in_a_line(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "examples" / "find_papers.py", " "]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: ")

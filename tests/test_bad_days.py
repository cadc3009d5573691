"""Whole runs while services misbehave: they end in time, keep what was found, and tell what failed and where."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pasa.config import AgentSettings
from pasa.errors import ResponseError
from pasa.events import RunResult
from pasa.library import Library
from pasa.models.scripted import ScriptedGenerator, ScriptedScorer
from pasa.paper import Paper, Reference, Section
from pasa.runtime import PaperAgent
from pasa.tools.arxiv import ArxivSource
from pasa.tools.http import HttpClient, HttpSettings, host_of
from pasa.tools.http_pace import Backoff, HostLimit
from pasa.tools.pages import HtmlSource
from pasa.tools.serper import SerperSearch
from tests.agent_world import FOUND, QUESTION, ROOT, SECRET, ModelServer, nodes, papers, read_tree, service_flags, start
from tests.raw_server import RawServer, answer, says
from tests.services import FakeServices, Fault, Received
from tests.tools.test_http_bad_days import BAD_DAYS, CLOUDFLARE

KEY = "test-key"
LETTERS = "abcdefghijkl"  # of which titles are told apart
HUBS = 12  # papers that a search finds, each of which cites one more
CALL_SECONDS = 0.5


def hub(n: int) -> Paper:
    cited = Reference(leaf(n).title, leaf(n).arxiv_id)
    return Paper(
        f"Hub {LETTERS[n]} of Research", "A hub.", f"2301.{n:05}", "2023-01-01", (), (Section("Data", (cited,)),)
    )


def leaf(n: int) -> Paper:
    return Paper(f"Leaf {LETTERS[n]} of the World", "A leaf.", f"2201.{n:05}", "2022-01-01")


def world() -> list[Paper]:
    return [paper for n in range(HUBS) for paper in (hub(n), leaf(n))]


def client_of(*urls: str, **changes: Any) -> HttpClient:
    defaults = {
        "max_retries": 0,
        "try_timeout_seconds": CALL_SECONDS,
        "max_body_bytes": 1 << 20,
        "default_limit": HostLimit(max_connections=16),
        "backoff": Backoff(base_seconds=0.01, max_seconds=0.02),
    }
    return HttpClient(HttpSettings(frozenset(map(host_of, urls)), **(defaults | changes)))


@contextmanager
def agent_on(services: FakeServices, *page_servers: str, hubs: int = HUBS, **changes: Any) -> Iterator[PaperAgent]:
    """An agent that searches for hubs, expands each and takes every paper; `changes` are settings of its client."""
    generator = ScriptedGenerator(lambda request, _: "[Expand] Data" if "Data" in request.prompt else "[Search] hub")
    urls, pages = services.urls, page_servers or (services.urls.arxiv_html, services.urls.ar5iv)
    with client_of(urls.serper, urls.arxiv_api, *pages, **changes) as client:
        agent = PaperAgent(
            generator,
            ScriptedScorer(lambda request: 0.9),
            SerperSearch(client, KEY, urls.serper),
            HtmlSource(client, ArxivSource(client, urls.arxiv_api), *pages),
            AgentSettings(search_papers=hubs, expand_layers=1),
            retries=client.retries,
        )
        with agent:
            yield agent


def titles(result: RunResult) -> set[str]:
    return {paper.paper.title for paper in result.papers}


# -- what was found stays ----------------------------------------------------------------------------------------------

WAYS_TO_FAIL = (
    ("HTTP 503", (503, "text/plain", b"no")),
    ("HTTP 403", (403, "text/plain", b"no")),
    ("captcha", (200, "text/html", CLOUDFLARE)),
    ("not a paper's page", (200, "text/html", b"<html><body><h1>Please try again later</h1></body></html>")),
    ("unreadable answer", (200, "text/html", b"<html><body><article class='ltx_document'> cut")),
    ("HTTP 429", (429, "text/plain", b"no")),
)


class EverySecondPageFails(FakeServices):
    """Pages of odd hubs, each in another way; ar5iv has none of these either."""

    def answer(self, request: Received) -> tuple[int, str, bytes]:
        if request.path.startswith("/html/2301."):
            n = int(request.path[-5:])
            if n % 2 and request.service == "ar5iv":
                return 500, "text/plain", b"no"
            if n % 2:
                return WAYS_TO_FAIL[n // 2 % len(WAYS_TO_FAIL)][1]
        return super().answer(request)


def test_when_every_second_page_fails_all_else_is_found_and_each_failure_counted() -> None:
    with EverySecondPageFails(world(), serper_key=KEY) as services, agent_on(services) as agent:
        result = agent.run("which hubs?")
    assert titles(result) == {hub(n).title for n in range(HUBS)} | {leaf(n).title for n in range(0, HUBS, 2)}
    first, second = host_of(services.urls.arxiv_html), host_of(services.urls.ar5iv)
    assert result.stats.problems == {
        **{f"page: failed ({first}: {kind})": 1 for kind, _ in WAYS_TO_FAIL},
        f"look-up: page of {second}: HTTP 500": HUBS // 2,
    }


def test_what_one_server_makes_up_for_is_counted_too() -> None:
    with FakeServices(world(), serper_key=KEY) as services, agent_on(services) as agent:
        services.always("arxiv_html", Fault.status(503))
        result = agent.run("which hubs?")
    assert titles(result) == {paper.title for paper in world()}
    assert result.stats.problems == {f"look-up: page of {host_of(services.urls.arxiv_html)}: HTTP 503": HUBS}


def test_what_was_asked_again_is_counted_and_costs_nothing() -> None:
    with FakeServices(world(), serper_key=KEY) as services, agent_on(services, max_retries=4) as agent:
        services.script("arxiv_html", Fault.status(503), Fault.status(429), Fault.status(503))
        services.script("serper", Fault.garbage())
        result = agent.run("which hubs?")
        again = agent.run("which hubs?")
    assert titles(result) == {paper.title for paper in world()}
    host = host_of(services.urls.arxiv_html)
    assert result.stats.problems == {
        f"asked again: {host}: HTTP 503": 2,
        f"asked again: {host}: HTTP 429": 1,
        f"asked again: {host_of(services.urls.serper)}: unreadable answer": 1,
    }
    assert again.stats.problems == {}


def test_no_bad_day_of_the_page_servers_holds_up_a_run_or_loses_what_it_found() -> None:
    """Every way in which a server may fail, as the two page servers of a run of its own."""
    with FakeServices(world(), serper_key=KEY) as services:

        def run(name: str) -> tuple[RunResult, float]:
            behave, _, _ = BAD_DAYS[name]
            with RawServer(behave) as one, RawServer(behave) as two:
                pages = f"{one.url}/html", f"{two.url}/html"
                with agent_on(services, *pages, hubs=2) as agent:
                    started = time.monotonic()
                    result = agent.run("which hubs?")
                    seconds = time.monotonic() - started
            kinds = Counter()
            for reason, times in result.stats.problems.items():
                kinds[reason.rpartition(": ")[2].rstrip(")")] += times
            assert kinds == {BAD_DAYS[name][2]: 2 * 2}, name
            return result, seconds

        with ThreadPoolExecutor(6) as pool:
            outcomes = dict(zip(BAD_DAYS, pool.map(run, BAD_DAYS), strict=True))
    assert {name for name, (r, _) in outcomes.items() if titles(r) != {hub(0).title, hub(1).title}} == set()
    assert {name: s for name, (_, s) in outcomes.items() if s > 2 * CALL_SECONDS + 3.0} == {}  # room: six at once


def test_a_captcha_in_place_of_search_results_is_a_failure_not_an_empty_result() -> None:
    with RawServer(says(answer(CLOUDFLARE))) as google, client_of(google.url) as client:
        engine = SerperSearch(client, KEY, google.url)
        with pytest.raises(ResponseError) as caught:
            engine.search("hub", 10)
    assert caught.value.reason == f"{host_of(google.url)}: captcha"


# -- what is told ------------------------------------------------------------------------------------------------------


def test_results_and_closing_line_tell_what_failed_where(
    cli: Any, tmp_path: Path, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERPER_API_KEY", SECRET)
    with FakeServices(papers(), serper_key=SECRET) as services:
        services.always("arxiv_html", Fault.status(503))
        services.always("ar5iv", Fault.garbage(CLOUDFLARE))
        flags = [*service_flags(services, tmp_path), *model_server.flags, "--retries", "0", "--format", "json"]
        outcome = cli(QUESTION, *flags)
    one, two = host_of(services.urls.arxiv_html), host_of(services.urls.ar5iv)
    told = {f"page: failed ({one}: HTTP 503)": 2, f"look-up: page of {two}: captcha": 2}
    assert json.loads(outcome.out)["run"]["problems"] == told
    [tree] = (tmp_path / "results").iterdir()
    assert read_tree(tree)["extra"]["run"]["problems"] == told
    [line] = [line for line in outcome.err.splitlines() if "what failed: " in line]
    assert all(f"{reason} ({times})" in line for reason, times in told.items())


# -- full disks --------------------------------------------------------------------------------------------------------


def on_a_full_disk() -> None:
    """No file of this process may grow beyond a kilobyte."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))


def test_a_full_disk_costs_neither_the_search_nor_the_answer(tmp_path: Path) -> None:
    environment = {"SERPER_API_KEY": SECRET, "OPENAI_API_KEY": "x", "TMPDIR": str(tmp_path)}
    with FakeServices(papers(), serper_key=SECRET) as services, ModelServer() as models:
        flags = [*service_flags(services, tmp_path, cache_dir=str(tmp_path / "kept")), *models.flags, "--quiet"]
        process = start([QUESTION, *flags, "--format", "json"], tmp_path, environment, limit=on_a_full_disk)
        out, err = map(bytes.decode, process.communicate(timeout=60))
    assert {paper["title"] for paper in json.loads(out)["papers"]} == FOUND
    assert process.returncode == 2
    cache, result = err.splitlines()
    assert "HTTP cache" in cache
    assert result.startswith("error: cannot write")
    assert not list((tmp_path / "results").iterdir())


def test_a_file_of_queries_shows_the_answer_that_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(json.dumps({"question": QUESTION}) + "\n")
    environment = {"SERPER_API_KEY": SECRET, "OPENAI_API_KEY": "x", "TMPDIR": str(tmp_path)}
    with FakeServices(papers(), serper_key=SECRET) as services, ModelServer() as models:
        flags = [*service_flags(services, tmp_path), *models.flags, "--quiet", "--format", "tree"]
        process = start(["--input_file", "q.jsonl", *flags], tmp_path, environment, limit=on_a_full_disk)
        out, err = process.communicate(timeout=60)
    assert set(nodes(json.loads(out))) == FOUND
    assert (process.returncode, len(err.splitlines())) == (2, 1)


def test_a_full_disk_leaves_a_library_as_it_was(tmp_path: Path) -> None:
    def build(rows: int, **popen: Any) -> subprocess.CompletedProcess[str]:
        titles = [chr(0x4E00 + n) for n in range(rows)]
        (path := tmp_path / "papers.jsonl").write_text("".join(f'{{"title": "{t}"}}\n' for t in titles))
        command = [sys.executable, "scripts/build_library.py", str(path), "--out", str(tmp_path / "L")]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, **popen)

    assert build(50).returncode == 0
    before = sorted(os.walk(tmp_path / "L"))
    full = build(3000, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)))
    assert full.returncode == 2
    assert "disk full" in full.stderr.splitlines()[-1]
    assert sorted(os.walk(tmp_path / "L")) == before
    with Library.open(tmp_path / "L") as library:
        assert len(library) == 50
        assert library.paper_by_title(chr(0x4E00))

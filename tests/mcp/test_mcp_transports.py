"""The MCP server as clients reach it, by the official client: stdin and stdout, HTTP; who may ask."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from httpx2 import AsyncClient
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from pasa.errors import ConfigError
from pasa.mcp.__main__ import build_parser, main
from pasa.mcp.http import TOKEN_VARIABLE, HttpSettings, http_app
from pasa.mcp.server import paper_server
from pasa.paper import Paper
from pasa.web.serving import listen, server_of, url_of
from tests.agent_world import QUESTION, ROOT, TOOL

TOKEN = "a-token-that-is-long-enough"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
START_SECONDS = 60


class OnePaper:
    """An agent that knows one paper."""

    def paper(self, name: str) -> Paper:
        return Paper(TOOL, arxiv_id="2301.00001")


@contextmanager
def served(token: str | None = None, names: tuple[str, ...] = ()) -> Iterator[str]:
    """The address of a server in this process."""
    settings = HttpSettings(names=names, token=token)
    ready, ends = threading.Event(), []
    with listen("127.0.0.1", 0) as listener:

        async def run() -> None:
            mcp = paper_server(OnePaper())  # type: ignore[arg-type]
            server = server_of(http_app(mcp, settings), ready.set)
            ends.append(server)
            async with mcp.session_manager.run():
                await server.serve(sockets=[listener])

        thread = threading.Thread(target=asyncio.run, args=(run(),))
        thread.start()
        try:
            assert ready.wait(START_SECONDS)
            yield f"{url_of(listener)}/mcp"
        finally:
            ends[0].should_exit = True
            thread.join()


def title_over_http(url: str, **headers: str) -> str:
    """The title that a client with these headers is told."""

    async def ask() -> str:
        async with (
            AsyncClient(headers=headers) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            answer = await client.call_tool("get_paper", {"name": "2301.00001"})
        return str((answer.structured_content or {})["title"])

    return asyncio.run(ask())


def post(url: str, **headers: str) -> requests.Response:
    accepts = {"accept": "application/json, text/event-stream"}
    return requests.post(url, json=HELLO, headers=accepts | headers, timeout=20)


def command(cwd: Path, library: Path, *args: str) -> list[str]:
    models = ["--crawler", "rules", "--selector", "rules", "--library", str(library)]
    return [sys.executable, "-m", "pasa.mcp", *models, *args]


# -- stdin and stdout --------------------------------------------------------------------------------------------------


def test_a_client_that_starts_the_server_searches_with_progress(world_library: Path, shared_cache: Path) -> None:
    environment = {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(shared_cache), "OMP_NUM_THREADS": "1"}
    program, *args = command(ROOT, world_library)
    heard: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    async def ask() -> Any:
        async with Client(StdioServerParameters(command=program, args=args, env=environment)) as client:
            return await client.call_tool("search_papers", {"question": QUESTION}, progress_callback=hear)

    answer = asyncio.run(ask())
    assert not answer.is_error, answer.content
    assert TOOL in [paper["title"] for paper in answer.structured_content["papers"]]
    assert heard


def test_what_the_agent_cannot_open_is_told_at_once_and_at_the_first_use(tmp_path: Path, shared_cache: Path) -> None:
    environment = {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(shared_cache)}
    program, *args = command(ROOT, tmp_path / "nowhere")

    async def ask() -> Any:
        async with Client(StdioServerParameters(command=program, args=args, env=environment)) as client:
            return await client.call_tool("get_paper", {"name": "2301.00001"})

    answer = asyncio.run(ask())
    assert answer.is_error
    assert "nowhere" in answer.content[0].text
    with subprocess.Popen(
        [program, *args], env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as alone:  # nobody has asked it anything
        assert alone.stderr is not None
        assert "nowhere" in next(line for line in alone.stderr if line.startswith("error: "))
        alone.kill()


# -- HTTP --------------------------------------------------------------------------------------------------------------


def test_clients_ask_over_http() -> None:
    with served() as url:
        assert title_over_http(url) == TOOL


def test_a_token_is_asked_for_where_there_is_one() -> None:
    with served(TOKEN) as url:
        assert post(url).status_code == 401
        assert post(url, authorization=f"Bearer {TOKEN}x").status_code == 401
        assert TOKEN not in post(url).text
        assert title_over_http(url, authorization=f"Bearer {TOKEN}") == TOOL


def test_a_page_of_another_name_or_origin_is_refused() -> None:
    with served(names=("papers.example.org",)) as url:
        assert post(url).status_code < 400
        assert post(url, host="papers.example.org").status_code < 400
        assert post(url, host="evil.example").status_code == 421
        assert post(url, origin="http://evil.example").status_code == 403


def test_a_request_that_is_too_large_is_refused() -> None:
    with served() as url:
        large = requests.post(url, data=b" " * (2 << 20), headers={"content-type": "application/json"}, timeout=20)
        assert large.status_code == 413


def test_a_server_that_others_can_reach_needs_a_long_token(monkeypatch: pytest.MonkeyPatch) -> None:
    options = build_parser().parse_args(["--http", "--host", "0.0.0.0"])
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=TOKEN_VARIABLE):
        HttpSettings.from_flags(options)
    monkeypatch.setenv(TOKEN_VARIABLE, "short")
    with pytest.raises(ConfigError, match="16 characters"):
        HttpSettings.from_flags(options)
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert HttpSettings.from_flags(options).token == TOKEN


def test_the_command_serves_until_a_signal(world_library: Path, shared_cache: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(tmp_path, world_library, "--http", "--port", "0"),
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(shared_cache)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        told = next(line for line in process.stderr if line.startswith("MCP server: "))
        assert title_over_http(told.split()[-1]) == TOOL
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert process.wait(START_SECONDS) == 0
        assert time.monotonic() - started < START_SECONDS / 2
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--http", "--library", "nowhere"], "nowhere"),
        (["--max_seconds", "0"], "--max_seconds"),
        (["--engine", "altavista"], "it may be"),
        (["--http", "--host", "0.0.0.0"], TOKEN_VARIABLE),
    ],
)
def test_what_is_wrong_in_the_call_is_said_and_ends_it(
    flags: list[str], reason: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert main(flags if "--engine" in flags or "--library" in flags else [*flags, "--engine", "demo"]) == 2
    said = capsys.readouterr()
    assert reason in said.err.splitlines()[-1]
    assert said.out == ""

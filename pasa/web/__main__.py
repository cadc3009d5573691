"""A page to search with: ask, watch the crawl, read, filter, export.

    python -m pasa.web                                    http://127.0.0.1:8080, for this machine alone
    python -m pasa.web --library data/library --port 9000
    PASA_WEB_TOKEN=... python -m pasa.web --host 0.0.0.0 --allow_host papers.example.org

Keys of engines and the token come from the environment or a .env file, as for run_paper_agent.py; every setting of
models and tools is a flag (--timeout_seconds 30), those of the crawl come from --config and the page. Beyond this
machine a token is needed, in PASA_WEB_TOKEN or a file, and TLS is a reverse proxy's work. Ctrl-C or SIGTERM ends it;
searches that wait are carried out after the next start, those under way are marked and keep what they found.

Exit codes: 0 ended by a signal · 2 something to mend in the call
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pasa.config import ModelSettings, ToolSettings
from pasa.display import note
from pasa.errors import ConfigError, PasaError
from pasa.flags import OneLineParser
from pasa.tool_assembly import read_env_file
from pasa.web.agents import AgentPool, Agents
from pasa.web.guard import Rates, Token
from pasa.web.page_app import page_app
from pasa.web.run_queue import QueueSettings, RunQueue
from pasa.web.run_request import Limits
from pasa.web.run_store import RunStore
from pasa.web.serving import listen, server_of, url_of

TOKEN_VARIABLE = "PASA_WEB_TOKEN"
TOKEN_CHARACTERS = 16  # at least: it is all that stands before a server that others can reach
# Settings that --help shows; the others of models and tools are flags too.
_SHOWN = ("engine", "library", "retrieval", "crawler_path", "selector_path", "prompts", "api_base", "selector_api_base")


def main(arguments: list[str] | None = None) -> int:
    """Serves until a signal; the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        read_env_file()
        token = read_token(options.token_file, os.environ.get(TOKEN_VARIABLE))
        check_reach(options.host, token)
        flags = {name: getattr(options, name) for name in _settings()}
        flags["queries_at_once"] = flags["queries_at_once"] or options.runs_at_once  # a model server's share for each
        limits = Limits(max_seconds=options.max_seconds, expand_layers=options.max_layers)
        queue_settings = QueueSettings(at_once=options.runs_at_once, keep=options.keep_runs)
        if min(options.runs_at_once, options.keep_runs, options.max_seconds) < 1 or options.max_layers < 0:
            raise ConfigError("--runs_at_once, --keep_runs and --max_seconds must be 1 or more, --max_layers 0 or more")
        with listen(options.host, options.port) as listener, RunStore(options.data_dir / "runs.db") as store:
            agents = AgentPool(options.config, flags, note)

            def tell() -> None:
                note(f"the page: {url_of(listener)}" + "  (asks for the token)" * token.is_needed)

            asyncio.run(
                serve(listener, store, agents, limits, queue_settings, token, options.allow_host, Rates(), tell)
            )
    except PasaError as error:
        print(f"pasa.web: {error}", file=sys.stderr)
        return error.exit_code
    return 0


async def serve(
    listener: socket.socket,
    store: RunStore,
    agents: Agents,
    limits: Limits,
    settings: QueueSettings,
    token: Token,
    hosts: list[str],
    rates: Rates,
    ready: Callable[[], None],
    until: asyncio.Event | None = None,
) -> None:
    """Answers until SIGINT or SIGTERM, or until `until` is set; `ready` is called once it does. Raises UserErrors."""
    queue = RunQueue(store, agents, limits, settings)
    async with agents.lease(agents.usual_engine):  # what cannot work is told at once, not to the first user
        pass
    server = server_of(page_app(queue, token, hosts, rates), ready)
    queue.start()

    async def end() -> None:
        """Ends the open streams first: the server waits for them."""
        while not (server.should_exit or (until and until.is_set())):
            await asyncio.sleep(_LOOK_SECONDS)
        server.should_exit = True
        await queue.close()

    try:
        await asyncio.gather(server.serve(sockets=[listener]), end())
    finally:
        await agents.close()


_LOOK_SECONDS = 0.1


def read_token(file: Path | None, variable: str | None) -> Token:
    """The token, of the file where one is named. Raises ConfigError where it cannot be used."""
    try:
        text = file.read_text(encoding="utf-8") if file else variable or ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the token in {file} ({error})") from error
    if file and not text.strip():
        raise ConfigError(f"{file} holds no token; write one line into it, such as `openssl rand -hex 16` gives")
    if text.strip() and len(text.strip()) < TOKEN_CHARACTERS:
        raise ConfigError(
            f"the token is short: {TOKEN_CHARACTERS} characters at least; `openssl rand -hex 16` gives one"
        )
    return Token(text.strip() or None)


def check_reach(host: str, token: Token) -> None:
    """Raises ConfigError where others could reach a server without a token."""
    if token.is_needed or host == "localhost":
        return
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ConfigError(
            f"--host {host} can be reached by others: set {TOKEN_VARIABLE} or --token_file, or leave --host out"
        )


def data_folder() -> Path:
    """Where runs are kept unless told otherwise: the user's data folder."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "pasa" / "web"


def build_parser() -> argparse.ArgumentParser:
    usual = {one.name: one.default for kind in (Limits, QueueSettings) for one in fields(kind)}
    parser = OneLineParser(
        prog="python -m pasa.web", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add: Callable[..., Any] = parser.add_argument
    add("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1: this machine only)")
    add("--port", type=int, default=8080, help="the port to listen on; 0 takes a free one (8080)")
    add("--allow_host", action="append", default=[], metavar="NAME", help="a name that the server goes by; repeatable")
    add("--token_file", type=Path, metavar="FILE", help=f"holds the token (default: ${TOKEN_VARIABLE})")
    add("--data_dir", type=Path, default=data_folder(), metavar="DIR", help="runs are kept here (%(default)s)")
    add("--runs_at_once", type=int, default=usual["at_once"], metavar="N", help="searches side by side (%(default)s)")
    add("--keep_runs", type=int, default=usual["keep"], metavar="N", help="searches in the history (%(default)s)")
    add(
        "--max_seconds", type=float, default=usual["max_seconds"], metavar="X", help="that a search takes (%(default)g)"
    )
    add("--max_layers", type=int, default=usual["expand_layers"], metavar="N", help="of citations (%(default)s)")
    add("--config", type=Path, metavar="FILE", help="a YAML file of settings, see configs/agent.yaml")
    for name, kind in _settings().items():
        help_text = "as for run_paper_agent.py" if name in _SHOWN else argparse.SUPPRESS
        add(f"--{name}", type=kind, metavar="X", help=help_text)
    return parser


def _settings() -> dict[str, type[int] | type[float] | type[str]]:
    """The settings of models and tools that a flag can give, each with its type."""
    found: dict[str, type[int] | type[float] | type[str]] = {}
    for record in (ModelSettings, ToolSettings):
        for name, hint in get_type_hints(record).items():
            kinds = get_args(hint) or (hint,)
            if bool not in kinds:
                found[name] = int if int in kinds else float if float in kinds else str
    return found


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread that waits for a slow service would hold the process until the service answers

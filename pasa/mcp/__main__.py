"""The agent for chat clients and editors, over the Model Context Protocol.

    python -m pasa.mcp                                    a client starts this and speaks on stdin and stdout
    python -m pasa.mcp --http --port 8765                 http://127.0.0.1:8765/mcp, for this machine alone
    PASA_MCP_TOKEN=... python -m pasa.mcp --http --host 0.0.0.0 --allow_host papers.example.org

A client that starts it is told so in its own settings, such as
    {"mcpServers": {"pasa": {"command": "PATH/.venv/bin/python", "args": ["-m", "pasa.mcp"], "cwd": "PATH"}}}

Tools: search_papers (tells its progress), get_results, export, get_paper, get_references, search_library. Keys of
engines come from the environment or a .env file, as for run_paper_agent.py. Beyond this machine a token is needed,
which clients send as `Authorization: Bearer TOKEN`, and TLS is a reverse proxy's work.

Exit codes: 0 ended by its client or a signal · 2 something to mend in the call
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from pasa.api import PaperAgent
from pasa.display import note
from pasa.errors import ConfigError, PasaError
from pasa.flags import OneLineParser
from pasa.mcp.http import HttpSettings, serve_http
from pasa.mcp.server import ServerLimits, paper_server
from pasa.tool_assembly import read_env_file

_FLAGS = ("engine", "library", "crawler", "selector", "retrieval", "prompts", "api_base", "selector_api_base", "device")
_PORT = 8765


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until the client or a signal ends it; the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        read_env_file()
        limits, http = _limits(options), HttpSettings.from_flags(options) if options.http else None
        flags = {name: getattr(options, name) for name in _FLAGS if getattr(options, name) is not None}
        agent = PaperAgent(config=options.config, on_note=note, **flags)
        try:
            if http:
                serve_http(paper_server(agent.open(), limits), http, note)
            else:
                _open_meanwhile(agent)
                paper_server(agent, limits).run("stdio")
        finally:
            agent.close()
    except PasaError as error:
        note(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        pass
    return 0


def _open_meanwhile(agent: PaperAgent) -> None:
    """Opens the agent beside the client's first words, which do not wait long; failures are told now and at use."""

    def open_it() -> None:
        try:
            agent.open()
        except PasaError as error:
            note(f"error: {error}")

    threading.Thread(target=open_it, name="open", daemon=True).start()


def _limits(options: argparse.Namespace) -> ServerLimits:
    if min(options.max_seconds, options.runs_at_once) < 1 or options.max_layers < 0:
        raise ConfigError("--max_seconds and --runs_at_once must be 1 or more, --max_layers 0 or more")
    return ServerLimits(options.max_seconds, options.max_layers, options.runs_at_once)


def build_parser() -> argparse.ArgumentParser:
    usual = ServerLimits()
    parser = OneLineParser(
        prog="python -m pasa.mcp", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--http", action="store_true", help="serve over HTTP instead of stdin and stdout")
    add("--host", default="127.0.0.1", help="address to listen on with --http (127.0.0.1: this machine alone)")
    add("--port", type=int, default=_PORT, help=f"with --http; 0 takes a free one ({_PORT})")
    add("--allow_host", action="append", default=[], metavar="NAME", help="a name clients may reach it by; repeatable")
    add("--engine", metavar="ENGINE", help="as run_paper_agent.py --engine")
    add("--library", metavar="PATH", help="as run_paper_agent.py --library")
    add("--crawler", "--crawler_path", metavar="MODEL", help="as run_paper_agent.py --crawler_path")
    add("--selector", "--selector_path", metavar="MODEL", help="as run_paper_agent.py --selector_path")
    for name in ("retrieval", "prompts", "api_base", "selector_api_base", "device"):
        add(f"--{name}", help=f"as run_paper_agent.py --{name}")
    add("--config", type=Path, metavar="FILE", help="settings as YAML")
    add("--max_seconds", type=float, default=usual.max_seconds, help=f"of one search, at most ({usual.max_seconds:g})")
    add("--max_layers", type=int, default=usual.max_layers, help=f"of citations, at most ({usual.max_layers})")
    add("--runs_at_once", type=int, default=usual.runs_at_once, help=f"searches under way ({usual.runs_at_once})")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""The server over streamable HTTP: who may reach it, and its life on a port."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

import orjson
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from pasa.errors import ConfigError
from pasa.web.guard import Token
from pasa.web.serving import listen, server_of, url_of

PATH = "/mcp"
TOKEN_VARIABLE = "PASA_MCP_TOKEN"
TOKEN_CHARACTERS = 16  # at least: it is all that stands before a server that others can reach
MAX_BODY_BYTES = 1 << 20
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class HttpSettings:
    """Where the server listens and who may ask."""

    host: str = "127.0.0.1"
    port: int = 0  # 0 = a free one
    names: tuple[str, ...] = ()  # that clients may reach it by, beside loopback's
    token: str | None = None  # None lets everybody in that reaches it

    @classmethod
    def from_flags(cls, options: argparse.Namespace) -> HttpSettings:
        """With the token of the environment. Raises ConfigError where others could reach a server without one."""
        token = os.environ.get(TOKEN_VARIABLE, "").strip() or None
        if token and len(token) < TOKEN_CHARACTERS:
            raise ConfigError(
                f"{TOKEN_VARIABLE} is short: {TOKEN_CHARACTERS} characters at least (openssl rand -hex 16)"
            )
        if token is None and not _is_loopback(options.host):
            raise ConfigError(
                f"--host {options.host} can be reached by others: set {TOKEN_VARIABLE}, or leave --host out"
            )
        return cls(options.host, options.port, tuple(options.allow_host), token)


def serve_http(server: MCPServer, settings: HttpSettings, tell: Callable[[str], None]) -> None:
    """Answers until SIGINT or SIGTERM; `tell` hears the address once requests are answered. Raises ConfigError."""
    with listen(settings.host, settings.port) as listener:
        asyncio.run(_serve(server, settings, listener, tell))


async def _serve(
    server: MCPServer, settings: HttpSettings, listener: socket.socket, tell: Callable[[str], None]
) -> None:
    app = http_app(server, settings)
    async with server.session_manager.run():  # ends the sessions before the server waits for their streams
        await server_of(app, lambda: tell(f"MCP server: {url_of(listener)}{PATH}")).serve(sockets=[listener])


def http_app(server: MCPServer, settings: HttpSettings) -> ASGIApp:
    """The application; `server.session_manager.run()` must be open around it."""
    names = [*_LOOPBACK, *settings.names]
    security = TransportSecuritySettings(  # against pages of other names that resolve to this machine
        allowed_hosts=[*names, *(f"{name}:*" for name in names)],
        allowed_origins=[
            f"{scheme}://{name}{port}" for scheme in ("http", "https") for name in names for port in ("", ":*")
        ],
    )
    app = server.streamable_http_app(
        streamable_http_path=PATH, transport_security=security, max_request_body_size=MAX_BODY_BYTES
    )
    return _TokenGate(app, Token(settings.token))


class _TokenGate:
    """Lets requests through that bear the token."""

    def __init__(self, app: ASGIApp, token: Token) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        kind, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        if not self._token.is_needed or (kind.lower() == "bearer" and self._token.accepts(given.strip())):
            await self._app(scope, receive, send)
            return
        body = orjson.dumps({"error": "this server asks for its token: Authorization: Bearer TOKEN"})
        headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

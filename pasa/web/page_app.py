"""The page and what it asks for.

    GET    /, /runs/ID, /history     the page
    GET    /static/NAME              its parts
    GET    /api/config               engines, usual settings, limits, export formats
    POST   /api/runs                 {"question", "engine", "end_date", "seeds", ...} -> 201 the run
    GET    /api/runs                 ?words=&mine=1&before=  -> {"runs": [...]}, newest first
    GET    /api/runs/ID              the run: what was asked, state, totals, how it was made
    GET    /api/runs/ID/papers       {"papers": [...]}, best first; ?key= gives that one
    GET    /api/runs/ID/events       server-sent events; Last-Event-ID (or ?after=N) goes on behind event N
    GET    /api/runs/ID/tree         the result tree, as run_paper_agent.py writes it
    POST   /api/runs/ID/stop         ends it, keeps what was found
    POST   /api/runs/ID/export       {"format", "keys"} -> a file; GET ?format= gives the format's default choice
    DELETE /api/runs/ID              forgets it
    POST   /login, /logout           {"token"} -> a session cookie
    GET    /health                   {"status": "ok", "running", "waiting"}

Errors are {"error": one line}. Runs are stopped and deleted by the browser that asked for them (a cookie says which),
or by a client that sends no cookie where the run was asked without one.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import sqlite3
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from pasa.errors import ConfigError, UserError
from pasa.results import slug
from pasa.web.guard import MAX_BODY_BYTES, SESSION_COOKIE, SESSION_SECONDS, Guard, Rates, Token
from pasa.web.run_events import partial_tree
from pasa.web.run_queue import QueueFull, RunQueue
from pasa.web.run_request import NUMBERS, read_run_request
from pasa.web.run_store import ENDED, StoredRun

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
OWNER_COOKIE = "pasa_browser"
_OWNER_SECONDS = 365 * 24 * 3600
HEARTBEAT_SECONDS = 15.0  # without an event, after which a comment tells that the connection lives
RETRY_MILLISECONDS = 1500  # that a browser waits before it connects again
STREAMS = 512  # open at once, of all users
_EXPORT_KEYS = 5000
# An exported report is a page of its own making: it may style itself, and nothing else.
_EXPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"


def page_app(queue: RunQueue, token: Token, hosts: list[str], rates: Rates | None = None) -> ASGIApp:
    """The server's application; `hosts`: names it goes by beside addresses and localhost."""
    server = _PageServer(queue, token)
    app = Starlette(
        routes=[
            Route("/", server.page),
            Route("/history", server.page),
            Route("/runs/{run_id}", server.page),
            Route("/health", server.health),
            Route("/login", server.login, methods=["POST"]),
            Route("/logout", server.logout, methods=["POST"]),
            Route("/api/config", server.config),
            Route("/api/runs", server.runs),
            Route("/api/runs", server.ask, methods=["POST"]),
            Route("/api/runs/{run_id}", server.run),
            Route("/api/runs/{run_id}", server.delete, methods=["DELETE"]),
            Route("/api/runs/{run_id}/papers", server.papers),
            Route("/api/runs/{run_id}/tree", server.tree),
            Route("/api/runs/{run_id}/events", server.events),
            Route("/api/runs/{run_id}/stop", server.stop, methods=["POST"]),
            Route("/api/runs/{run_id}/export", server.export, methods=["GET", "POST"]),
            Mount("/static", _Static(directory=STATIC)),
        ],
        exception_handlers={
            HTTPException: _refuse,
            UserError: _unusable,
            QueueFull: _full,
            sqlite3.Error: _not_kept,
            ClientDisconnect: _gone,
        },
    )
    return Guard(app, token, hosts, rates or Rates())


class _Static(StaticFiles):
    """The page's parts; a browser asks each time whether they are new."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


class _PageServer:
    def __init__(self, queue: RunQueue, token: Token) -> None:
        self._queue = queue
        self._store = queue.store
        self._token = token
        self._streams = 0

    async def page(self, request: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    async def health(self, request: Request) -> Response:
        return _json({"status": "ok", **self._queue.counts()})

    # -- who asks ------------------------------------------------------------------------------------------------------

    async def login(self, request: Request) -> Response:
        given = (await _object(request)).get("token")
        if not isinstance(given, str) or not self._token.accepts(given):
            raise HTTPException(403, "that is not this server's token")
        response = _json({"status": "ok"})
        _set_cookie(request, response, SESSION_COOKIE, self._token.new_session(), SESSION_SECONDS)
        return response

    async def logout(self, request: Request) -> Response:
        response = _json({"status": "ok"})
        response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")
        return response

    async def config(self, request: Request) -> Response:
        from pasa.export.formats import FORMATS

        offers = await asyncio.to_thread(self._queue.agents.offers)
        wanted = (*NUMBERS, "expand_layers")
        engines = [
            {**asdict(offer), "usual": {n: v for n, v in offer.usual.items() if n in wanted}} for offer in offers
        ]
        formats = [{"name": one.name, "label": one.label, "suffix": one.suffix} for one in FORMATS.values()]
        response = _json(
            {
                "engines": engines,
                "usual_engine": self._queue.agents.usual_engine.split(","),
                "limits": asdict(self._queue.limits),
                "formats": formats,
                "has_token": self._token.is_needed,
            }
        )
        if OWNER_COOKIE not in request.cookies:
            _set_cookie(request, response, OWNER_COOKIE, secrets.token_urlsafe(16), _OWNER_SECONDS)
        return response

    # -- runs ----------------------------------------------------------------------------------------------------------

    async def ask(self, request: Request) -> Response:
        asked = read_run_request(await _object(request), self._queue.agents.usual_engine, self._queue.limits)
        run = self._queue.submit(asked, _owner(request))
        return _json(self._shown(run, request), 201)

    async def runs(self, request: Request) -> Response:
        asked = request.query_params
        before = _number(asked.get("before"), "before")
        owner = _owner(request) if asked.get("mine") == "1" else None
        runs = await asyncio.to_thread(self._store.newest, asked.get("words", "")[:200], owner, before)
        return _json({"runs": [self._shown(run, request) for run in runs]})

    async def run(self, request: Request) -> Response:
        run = self._found(request)
        outcome = await asyncio.to_thread(self._store.outcome, run.id)
        return _json({**self._shown(run, request), **(outcome or {})})

    async def papers(self, request: Request) -> Response:
        run = self._found(request)
        self._queue.write_now(run.id)
        key = request.query_params.get("key")
        if key is not None:
            paper = await asyncio.to_thread(self._store.paper, run.id, key)
            if paper is None:
                raise HTTPException(404, "this search has no such paper")
            return Response(paper, media_type="application/json", headers=_NOT_KEPT)
        papers = await asyncio.to_thread(self._store.papers, run.id)
        return Response(b'{"papers":[' + b",".join(papers) + b"]}", media_type="application/json", headers=_NOT_KEPT)

    async def tree(self, request: Request) -> Response:
        run = self._found(request)
        self._queue.write_now(run.id)
        return _json(await asyncio.to_thread(self._tree, run))

    async def stop(self, request: Request) -> Response:
        run = self._own(request)
        return _json({"stopping": self._queue.stop(run.id)}, 202)

    async def delete(self, request: Request) -> Response:
        run = self._own(request)
        if not self._queue.delete(run.id):
            raise HTTPException(409, "this search is still under way; stop it first")
        return _json({"status": "ok"})

    def _shown(self, run: StoredRun, request: Request) -> dict[str, Any]:
        """What the page is told of a run: all but who asked."""
        shown = {name: value for name, value in asdict(run).items() if name != "owner"}
        return {**shown, "mine": run.owner == _owner(request), "position": self._queue.position(run.id)}

    def _found(self, request: Request) -> StoredRun:
        run = self._store.get(request.path_params["run_id"])
        if run is None:
            raise HTTPException(404, "there is no such search here; it may have been deleted")
        return run

    def _own(self, request: Request) -> StoredRun:
        run = self._found(request)
        if run.owner != _owner(request):
            raise HTTPException(403, "only the browser that asked this question may do that")
        return run

    # -- what a run tells ----------------------------------------------------------------------------------------------

    async def events(self, request: Request) -> Response:
        run = self._found(request)
        after = int(
            max(
                _number(request.headers.get("last-event-id"), "Last-Event-ID") or 0,
                _number(request.query_params.get("after"), "after") or 0,
            )
        )
        if run.state in ENDED and after and not await asyncio.to_thread(self._store.events, run.id, after):
            return Response(status_code=204)  # all is told: a browser does not connect again
        if self._streams >= STREAMS:
            raise HTTPException(503, "too many pages are open; try again in a minute", {"retry-after": "30"})
        return StreamingResponse(
            self._stream(run.id, after),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def _stream(self, run_id: str, after: int) -> AsyncIterator[bytes]:
        """The events as server-sent ones, each with its number as id; "place" ones, of the queue, have none."""
        self._streams += 1
        told = self._queue.follow(run_id, after)
        upcoming: asyncio.Future[bytes | int] | None = None
        try:
            yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
            while True:
                upcoming = upcoming or asyncio.ensure_future(anext(told))
                done, _ = await asyncio.wait([upcoming], timeout=HEARTBEAT_SECONDS)
                if not done:
                    yield b": alive\n\n"
                    continue
                try:
                    event, upcoming = upcoming.result(), None
                except StopAsyncIteration:
                    return
                yield _sse(event)
        finally:
            self._streams -= 1
            if upcoming is not None:
                upcoming.cancel()

    # -- export --------------------------------------------------------------------------------------------------------

    async def export(self, request: Request) -> Response:
        run = self._found(request)
        asked: Mapping[str, Any] = await _object(request) if request.method == "POST" else request.query_params
        keys = asked.get("keys")
        if keys is not None and not (
            isinstance(keys, list) and len(keys) <= _EXPORT_KEYS and all(isinstance(key, str) for key in keys)
        ):
            raise ConfigError(f"keys must be a list of at most {_EXPORT_KEYS:,} papers' keys")
        name = str(asked.get("format", ""))
        self._queue.write_now(run.id)
        text, suffix, media_type = await asyncio.to_thread(self._exported, run, name, keys)
        file_name = f"{slug(run.question)}{suffix}"
        headers = {
            "content-disposition": f'attachment; filename="{file_name}"',
            "content-security-policy": _EXPORT_POLICY,
            **_NOT_KEPT,
        }
        return Response(text.encode("utf-8", "replace"), media_type=f"{media_type}; charset=utf-8", headers=headers)

    def _exported(self, run: StoredRun, name: str, keys: list[str] | None) -> tuple[str, str, str]:
        """(text, suffix, media type); raises ConfigError for an unknown format."""
        from pasa.export.formats import FORMATS, export
        from pasa.export.run_view import of_tree

        if name not in FORMATS:
            raise ConfigError(f"format is {name[:40]!r}; it may be {', '.join(FORMATS)}")
        view = of_tree(self._tree(run))
        wanted = set(keys or ())
        chosen = tuple(paper for paper in view.papers if paper.paper.key in wanted) if keys is not None else None
        if keys is not None and not chosen:
            raise ConfigError("keys names no paper of this run")
        text = export(view, name, chosen)
        return ("\ufeff" * (name == "csv")) + text, FORMATS[name].suffix, FORMATS[name].media_type

    def _tree(self, run: StoredRun) -> dict[str, Any]:
        """The run's result tree; of a run without one, as far as it came."""
        tree = self._store.tree(run.id)
        if tree is not None:
            return dict(orjson.loads(zlib.decompress(tree)))
        papers = [orjson.loads(paper) for paper in self._store.papers(run.id)]
        events = [orjson.loads(data) for _, data in self._store.events(run.id)]
        return partial_tree(run.question, papers, [event for event in events if event["type"] == "branch"])


def _sse(event: bytes | int) -> bytes:
    if isinstance(event, int):
        return b'event: place\ndata: {"place":%d}\n\n' % event
    number = orjson.loads(event)["n"]
    return b"id: %d\ndata: %s\n\n" % (number, event)


_NOT_KEPT = {"cache-control": "no-store"}


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, {**_NOT_KEPT, **(headers or {})}, media_type="application/json")


async def _object(request: Request) -> dict[str, Any]:
    """The body's JSON object; raises ConfigError where it is none, HTTPException where it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the request is too large: {MAX_BODY_BYTES:,} bytes are the most")
    try:
        asked = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"the request is not JSON: {error}") from error
    if not isinstance(asked, dict):
        raise ConfigError("send a JSON object")
    return asked


def _number(text: str | None, name: str) -> float | None:
    try:
        number = float(text) if text else None
    except ValueError:
        number = -1.0
    if number is not None and not 0 <= number < 1e15:
        raise ConfigError(f"{name} must be a number, 0 or more")
    return number


def _owner(request: Request) -> str:
    """Which browser asks, told by a cookie of its own; "" for a client without it. Kept as a digest."""
    given = request.cookies.get(OWNER_COOKIE, "")
    return hashlib.sha256(given.encode()).hexdigest()[:32] if given else ""


def _set_cookie(request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    """Sets a cookie that scripts cannot read and other sites' pages do not send; only over TLS where TLS is used."""
    is_tls = request.headers.get("origin", "").startswith("https:")
    response.set_cookie(name, value, max_age=seconds, path="/", httponly=True, samesite="strict", secure=is_tls)


# -- what goes wrong -------------------------------------------------------------------------------------------------


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {"Not Found": "there is no such address here", "Method Not Allowed": "that cannot be done with this address"}
    return _json({"error": said.get(error.detail, error.detail)}, error.status_code, error.headers)


async def _unusable(request: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 400)


async def _full(request: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 503, {"retry-after": "30"})


async def _not_kept(request: Request, error: Exception) -> Response:
    log.error("%s %s: %s", request.method, request.url.path, error)
    return _json({"error": "the server cannot read or write its runs now; its log says why"}, 503)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it

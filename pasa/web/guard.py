"""What stands before the page's server: who may ask, how often, how much, and what browsers are told to forbid.

A browser on this machine may run pages of any site, so loopback alone keeps nobody out: a page of another name that
resolves to 127.0.0.1 (DNS rebinding) is refused by its Host header, a page of another origin that sends requests here
(CSRF) by Origin and Sec-Fetch-Site.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SESSION_COOKIE = "pasa_session"
SESSION_SECONDS = 30 * 24 * 3600
MAX_BODY_BYTES = 64 << 10
_CLIENTS_KNOWN = 4096  # whose rates are remembered

# Nothing but this server's own files; no inline script or style, no eval, no text that becomes markup.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests of one address a minute, and how many may come at once."""

    requests: float = 600.0
    requests_burst: int = 200
    runs: float = 30.0
    runs_burst: int = 20
    logins: float = 6.0
    logins_burst: int = 6


class Rate:
    """Token buckets, one an address."""

    def __init__(self, a_minute: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._a_second = a_minute / 60
        self._burst = float(burst)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> (tokens left, at)

    def wait_seconds(self, address: str) -> float:
        """0 where one more request may pass, which is counted; else the seconds until one may."""
        now = self._clock()
        tokens, at = self._buckets.pop(address, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._a_second)
        passes = tokens >= 1
        self._buckets[address] = (tokens - passes, now)
        if len(self._buckets) > _CLIENTS_KNOWN:
            self._buckets.popitem(last=False)
        return 0.0 if passes else (1 - tokens) / self._a_second


class Token:
    """The server's token and the sessions that are opened with it; None lets everybody in.

    A session is "EXPIRY.MAC", made from the token: it outlives a restart, tells nothing of the token, and ends when
    the token is changed.
    """

    def __init__(self, token: str | None, now: Callable[[], float] = time.time) -> None:
        self._token = token.encode() if token else None
        self._now = now

    @property
    def is_needed(self) -> bool:
        return self._token is not None

    def accepts(self, given: str) -> bool:
        return self._token is None or hmac.compare_digest(_digest(given.encode()), _digest(self._token))

    def new_session(self) -> str:
        expiry = str(int(self._now()) + SESSION_SECONDS)
        return f"{expiry}.{self._mac(expiry)}"

    def knows(self, session: str) -> bool:
        expiry, _, mac = session.partition(".")
        is_ours = hmac.compare_digest(mac.encode(), self._mac(expiry).encode())
        return is_ours and expiry.isascii() and expiry.isdigit() and int(expiry) > self._now()

    def _mac(self, expiry: str) -> str:
        return hmac.new(self._token or b"", b"pasa session until " + expiry.encode(), hashlib.sha256).hexdigest()


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()  # of one length, so that comparing tells nothing of the token's


class Guard:
    """Wraps the application; refuses in JSON, {"error": reason}, and adds HEADERS to every answer."""

    def __init__(self, app: ASGIApp, token: Token, hosts: Iterable[str], rates: Rates) -> None:
        self._app = app
        self._token = token
        self._hosts = {"localhost", *(host.lower() for host in hosts)}
        self._requests = Rate(rates.requests, rates.requests_burst)
        self._runs = Rate(rates.runs, rates.runs_burst)
        self._logins = Rate(rates.logins, rates.logins_burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                ours = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in given]
                message = {**message, "headers": [*message["headers"], *ours]}
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_with_headers)
        else:
            await _refuse(refusal, send_with_headers)

    def _refusal(self, scope: Scope) -> _Refusal | None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        if not self._is_ours(host):
            return _Refusal(421, "this server does not go by that name; start it with --allow_host NAME")
        if reason := _foreign(headers, host, scope["method"], scope["path"]):
            return _Refusal(403, reason)
        stated = headers.get("content-length", "0")
        if not stated.isdigit() or int(stated[:20]) > MAX_BODY_BYTES:
            return _Refusal(413, f"the request is too large: {MAX_BODY_BYTES:,} bytes are the most")
        if wait := self._too_often(scope):
            return _Refusal(429, f"too many requests; try again in {wait:.0f} s", int(wait) + 1)
        if scope["path"].startswith("/api/") and not self._is_known(headers):
            return _Refusal(401, "this server asks for its token")
        return None

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this server: a name it was told, or an address, which nobody can rebind."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._hosts or _is_address(name)

    def _too_often(self, scope: Scope) -> float:
        address = (scope.get("client") or ("",))[0]
        wait = self._requests.wait_seconds(address)
        if not wait and scope["method"] == "POST":
            rate = {"/login": self._logins, "/api/runs": self._runs}.get(scope["path"])
            wait = rate.wait_seconds(address) if rate else 0.0
        return wait

    def _is_known(self, headers: dict[str, str]) -> bool:
        if not self._token.is_needed:
            return True
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._token.accepts(given.strip()):
            return True
        return self._token.knows(cookie(headers.get("cookie", ""), SESSION_COOKIE))


def cookie(header: str, name: str) -> str:
    """The value of a cookie, "" where there is none."""
    try:
        morsel = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _foreign(headers: dict[str, str], host: str, method: str, path: str) -> str:
    """Why a request comes from another site's page; "" where it does not."""
    site = headers.get("sec-fetch-site", "none")
    is_page = method == "GET" and headers.get("sec-fetch-mode") == "navigate" and not path.startswith("/api/")
    if site not in ("same-origin", "none") and not is_page:
        return "requests from pages of other sites are refused"
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return "requests from pages of other origins are refused"
    if method == "POST" and not headers.get("content-type", "").startswith("application/json"):
        return "send JSON, with content-type: application/json"
    return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Refusal:
    status: int
    reason: str
    retry_after: int | None = None  # seconds


async def _refuse(refusal: _Refusal, send: Send) -> None:
    body = orjson.dumps({"error": refusal.reason})
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    headers.append((b"content-length", str(len(body)).encode()))
    if refusal.retry_after is not None:
        headers.append((b"retry-after", str(refusal.retry_after).encode()))
    if refusal.status in (413, 421):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

#!/usr/bin/env python
"""Users who ask the page's server side by side while engines fail, pages hang, connections drop and the server dies.

The server runs in a process of its own on the demo library with `rules`. Some searches fail, some papers' pages take
long or fail; users drop their event streams and connect again, stop runs, read papers, export. Once, in the middle, the
server is killed (SIGKILL) and started anew. Checked of every run: it ends; its events are numbered without gap or
repetition, whatever was dropped; every paper told as scored is among its papers. Measured: memory, open files, threads
and times to answer.

    python benchmarks/soak_web.py --queries 200 --users 8
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import requests

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.assembly import build_generator, build_scorer
from pasa.config import load_settings
from pasa.errors import ServiceError
from pasa.paper import Paper, Section
from pasa.runtime import PaperAgent
from pasa.tool_assembly import Choice, build_tools
from pasa.web.__main__ import serve
from pasa.web.agents import EngineOffer
from pasa.web.guard import Rates, Token
from pasa.web.run_queue import QueueSettings
from pasa.web.run_request import Limits
from pasa.web.run_store import RunStore
from pasa.web.serving import listen, url_of

QUESTIONS = Path(__file__).parents[1] / "data" / "demo" / "questions.jsonl"
SEARCHES_FAILING, PAGES_FAILING, PAGES_SLOW = 0.15, 0.05, 0.10  # shares
SLOW_SECONDS = 1.5
SEARCH_SECONDS = 0.05
STOPPED, DROPPED = 0.15, 0.5  # shares of runs
RUNS_AT_ONCE = 4
NO_LIMIT = Rates(1e9, 10**9, 1e9, 10**9, 1e9, 10**9)  # all users come from one address here
PATIENCE_SECONDS = 240.0  # that a run may take, waiting included


# -- the server --------------------------------------------------------------------------------------------------------


class Faults:
    """Search engine and paper source of the demo library, with faults drawn by what is asked for."""

    def __init__(self, engine: Any, source: Any) -> None:
        self._engine, self._source = engine, source
        self.name = source.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def search(self, query: str, limit: int, end_date: Any = None) -> Any:
        time.sleep(SEARCH_SECONDS)
        if _chance("search", query) < SEARCHES_FAILING:
            raise ServiceError("engine.example: HTTP 503", 503, service="engine.example")
        return self._engine.search(query, limit, end_date)

    def sections(self, paper: Paper) -> tuple[Section, ...] | None:
        chance = _chance("page", paper.key)
        if chance < PAGES_FAILING:
            raise ServiceError("pages.example: timeout", None, service="pages.example")
        if chance < PAGES_FAILING + PAGES_SLOW:
            time.sleep(SLOW_SECONDS)
        return self._source.sections(paper)


def _chance(*what: str) -> float:
    return int(hashlib.sha256("|".join(what).encode()).hexdigest()[:8], 16) / 2**32


class FaultyAgents:
    usual_engine = "demo"

    def __init__(self) -> None:
        self._parts = ExitStack()
        settings = load_settings(None, {"engine": "demo", "cache_dir": ""})
        tools = build_tools(settings, Choice("demo", "soak"), self._parts)
        faults = Faults(tools.engine, tools.source)
        models = (
            build_generator("rules", settings.models, tools.library),
            build_scorer("rules", settings, tools.library),
        )
        self.agent = PaperAgent(*models, faults, faults, settings.agent)
        self.agent.run("warm up: which papers study bandits?")

    def offers(self) -> list[EngineOffer]:
        return [EngineOffer("demo", "Demo library", "", {})]

    @asynccontextmanager
    async def lease(self, engine: str) -> AsyncIterator[SimpleNamespace]:
        record = {"engine": "demo", "source": "local", "retrieval": None, "crawler": "rules", "selector": "rules"}
        yield SimpleNamespace(agent=self.agent, record={**record, "reranked": False, "config": None})

    async def close(self) -> None:
        await asyncio.to_thread(self.agent.close)
        self._parts.close()


def serve_forever(folder: Path, port: int) -> None:
    """The server's process; prints its address once it answers."""
    with listen("127.0.0.1", port) as listener, RunStore(folder / "runs.db") as store:
        settings = QueueSettings(at_once=RUNS_AT_ONCE, waiting=1000, waiting_each=1000, keep=10_000)

        def tell() -> None:
            print(url_of(listener), flush=True)

        asyncio.run(
            serve(listener, store, FaultyAgents(), Limits(max_seconds=60), settings, Token(None), [], NO_LIMIT, tell)
        )


class Server:
    """Starts the server's process, kills it, starts it again on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = 0
        self.address = ""
        self.start()

    def start(self) -> None:
        command = [sys.executable, __file__, "--serve", str(self._folder), "--port", str(self._port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.address = self._process.stdout.readline().strip() or self.address
        self._port = int(self.address.rsplit(":", 1)[1])

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    def sample(self) -> dict[str, float]:
        """Memory in MB, open files and threads."""
        proc = Path(f"/proc/{self._process.pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        return {
            "mb": int(status["VmRSS"].split()[0]) / 1024,
            "threads": int(status["Threads"]),
            "files": len(list((proc / "fd").iterdir())),
        }


# -- the users ---------------------------------------------------------------------------------------------------------


@dataclass
class Seen:
    """What one user's reader saw of one run."""

    run_id: str
    question: str
    numbers: list[int] = field(default_factory=list)
    scored: dict[str, str] = field(default_factory=dict)  # key -> title
    drops: int = 0
    state: str = ""
    first_event_seconds: float | None = None
    seconds: float = 0.0


@dataclass
class Outcome:
    """What all users saw."""

    runs: list[Seen] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    answers_seconds: list[float] = field(default_factory=list)  # of small requests
    exports: int = 0
    unwritten: int = 0  # papers that were told less than a write before the server was killed, and are gone
    lock: threading.Lock = field(default_factory=threading.Lock)


class User:
    """A browser: asks, watches, drops its connection, stops, reads, exports."""

    def __init__(self, address: Callable[[], str], outcome: Outcome, seed: int) -> None:
        self._address, self._outcome = address, outcome
        self._random = random.Random(seed)
        self._session = requests.Session()
        self._call("GET", "/api/config")

    def search(self, question: str) -> None:
        """One run from asking to its papers."""
        run = self._call("POST", "/api/runs", json={"question": question}).json()
        seen, began = Seen(run["id"], question), time.monotonic()
        stop_after = self._random.randrange(1, 60) if self._random.random() < STOPPED else None
        drops = self._random.randrange(1, 4) if self._random.random() < DROPPED else 0
        while not seen.state:
            if time.monotonic() - began > PATIENCE_SECONDS:
                self._outcome.wrong.append(f"{seen.run_id} did not end")
                break
            cut = self._random.randrange(1, 25) if seen.drops < drops else None
            self._watch(seen, began, cut, stop_after)
        seen.seconds = time.monotonic() - began
        self._check(seen)
        with self._outcome.lock:
            self._outcome.runs.append(seen)

    def _watch(self, seen: Seen, began: float, cut: int | None, stop_after: int | None) -> None:
        """Reads the stream until the end, or until `cut` events more, or a failure."""
        last = seen.numbers[-1] if seen.numbers else 0
        url = f"{self._address()}/api/runs/{seen.run_id}/events"
        try:
            with self._session.get(url, headers={"last-event-id": str(last)}, stream=True, timeout=(5, 40)) as answer:
                if answer.status_code == 204:
                    seen.state = self._call("GET", f"/api/runs/{seen.run_id}").json()["state"]
                    return
                for line in answer.iter_lines():
                    if not line.startswith(b'data: {"n"'):
                        continue
                    event = json.loads(line[6:])
                    self._hear(seen, event, began)
                    if event["type"] == "end":
                        seen.state = event["state"]
                        return
                    if stop_after is not None and len(seen.numbers) == stop_after:
                        self._call("POST", f"/api/runs/{seen.run_id}/stop", json={})
                    if cut is not None and (cut := cut - 1) == 0:
                        seen.drops += 1
                        return
        except requests.RequestException:  # the server is away
            time.sleep(0.3)
            return
        state = self._call("GET", f"/api/runs/{seen.run_id}").json()["state"]
        if state not in ("queued", "running"):
            seen.state = state

    def _hear(self, seen: Seen, event: dict[str, Any], began: float) -> None:
        if seen.first_event_seconds is None:
            seen.first_event_seconds = time.monotonic() - began
        seen.numbers.append(event["n"])
        if event["type"] == "paper":
            seen.scored[event["key"]] = event["title"]

    def _check(self, seen: Seen) -> None:
        wrong = self._outcome.wrong
        if seen.numbers != list(range(1, len(seen.numbers) + 1)):
            wrong.append(f"{seen.run_id}: events {seen.numbers[:5]} ... {seen.numbers[-5:]}")
        papers = self._call("GET", f"/api/runs/{seen.run_id}/papers").json()["papers"]
        lost = set(seen.scored.values()) - {paper["title"] for paper in papers}
        if lost and seen.state == "interrupted":
            self._outcome.unwritten += len(lost)
        elif lost:
            wrong.append(f"{seen.run_id} ({seen.state}): {len(lost)} papers that were told are not kept: {min(lost)!r}")
        if papers and self._random.random() < 0.3:
            form = self._random.choice(["bibtex", "ris", "csv", "html", "json"])
            keys = [paper["key"] for paper in papers[:5]]
            text = self._call("POST", f"/api/runs/{seen.run_id}/export", json={"format": form, "keys": keys}).text
            self._outcome.exports += 1
            if form == "bibtex" and text.count("\n@") + text.startswith("@") != len(keys):
                wrong.append(f"{seen.run_id}: the export holds other papers")

    def _call(self, method: str, path: str, **rest: Any) -> requests.Response:
        """The answer to a small request; waits for a server that is away."""
        for _ in range(200):
            began = time.monotonic()
            try:
                answer = self._session.request(method, self._address() + path, timeout=30, **rest)
            except requests.RequestException:
                time.sleep(0.3)
                continue
            self._outcome.answers_seconds.append(time.monotonic() - began)
            if answer.status_code < 300:
                return answer
            self._outcome.wrong.append(f"{method} {path}: {answer.status_code} {answer.text[:100]}")
            answer.raise_for_status()
        raise RuntimeError("the server did not come back")


# -- the whole ---------------------------------------------------------------------------------------------------------


def soak(queries: int, users: int, folder: Path) -> tuple[Outcome, list[tuple[int, dict[str, float]]], int, float]:
    """(what was seen, samples by runs ended, the server's exit code, seconds)."""
    server, outcome = Server(folder), Outcome()
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    questions = iter([f"{rows[n % len(rows)]['question'].rstrip('?')} (case {n})?" for n in range(queries)])
    taking = threading.Lock()

    def work(seed: int) -> None:
        user = User(lambda: server.address, outcome, seed)
        while True:
            with taking:
                question = next(questions, None)
            if question is None:
                return
            user.search(question)

    began = time.monotonic()
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(users)]
    for thread in threads:
        thread.start()
    samples = [(0, server.sample())]
    is_killed = False
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.2)
        ended = len(outcome.runs)
        if not is_killed and ended >= queries // 2:
            is_killed = True
            samples.append((ended, server.sample()))
            server.kill()
            server.start()
            samples.append((ended, server.sample()))
        elif ended >= samples[-1][0] + max(1, queries // 20):
            samples.append((ended, server.sample()))
    seconds = time.monotonic() - began
    samples.append((len(outcome.runs), server.sample()))
    return outcome, samples, server.end(), seconds


def tell(outcome: Outcome, samples: Sequence[tuple[int, dict[str, float]]], code: int, seconds: float) -> None:
    """Prints what was measured."""
    runs = outcome.runs
    states = Counter(run.state for run in runs)
    print(f"{len(runs)} runs in {seconds:.0f} s: " + ", ".join(f"{n} {state}" for state, n in states.most_common()))
    print(f"{sum(len(r.numbers) for r in runs):,} events, {sum(r.drops for r in runs)} streams dropped by their reader")
    print(f"{sum(len(r.scored) for r in runs):,} papers told, {outcome.exports} exports")
    print(f"papers told in the last moment before the kill and not written: {outcome.unwritten}")
    _times("first event", [r.first_event_seconds for r in runs if r.first_event_seconds is not None])
    _times("whole run, waiting included", [r.seconds for r in runs])
    _times("small request", outcome.answers_seconds)
    for ended, sample in samples:
        print(f"  after {ended:>4} runs: {sample['mb']:.0f} MB, {sample['threads']} threads, {sample['files']} files")
    print(f"the server's exit code: {code}")
    print(f"wrong: {len(outcome.wrong)}")
    for line in outcome.wrong[:20]:
        print(f"  {line}")


def _times(what: str, seconds: Sequence[float]) -> None:
    cuts = statistics.quantiles(seconds, n=20)
    print(f"{what}: median {statistics.median(seconds):.3f} s, 95% {cuts[18]:.3f} s, longest {max(seconds):.3f} s")


def main() -> int:
    """Runs the soak; 1 where something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve_forever(options.serve, options.port)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        outcome, samples, code, seconds = soak(options.queries, options.users, Path(folder))
    tell(outcome, samples, code, seconds)
    return int(bool(outcome.wrong) or code != 0 or len(outcome.runs) != options.queries)


if __name__ == "__main__":
    sys.exit(main())

"""The runs of the page: a fair queue, each run carried out on the event loop, what it tells kept and handed on."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sqlite3
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import orjson

from pasa.errors import ConfigError, PasaError
from pasa.events import RunDone, RunResult
from pasa.export.missing import told_of_missing
from pasa.export.run_view import of_result
from pasa.query import Query
from pasa.results import stats_json, tree_json
from pasa.web.agents import Agents
from pasa.web.run_events import RunTeller, Told
from pasa.web.run_request import Limits, RunRequest, read_run_request
from pasa.web.run_store import INTERRUPTED, RunStore, State, StoredRun, writable

log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.25  # after which what a run told is on disk: what the loss of the machine costs
_ID_BYTES = 12  # of a run's id: who has the address may read the run, so it must not be guessed
UNEXPECTED = "Something unexpected went wrong; the server's log says what. What was found until then is kept."


class QueueFull(PasaError):
    """No more runs can be taken now; the message says what to do."""


@dataclass
class LiveRun:
    """A run that has not ended: what it told so far, and what ends it."""

    run: StoredRun
    request: RunRequest
    query: Query
    told: list[bytes] = field(default_factory=list)  # event n (from 1) is at n - 1
    written: int = 0  # events that are on disk
    unwritten: dict[str, Told] = field(default_factory=dict)  # papers that are not, by key
    is_stopping: bool = False
    assembly: Any = None  # while it runs
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # replaced each time it is set

    def tell(self, event: Mapping[str, Any]) -> None:
        """Appends an event and wakes whoever follows."""
        number = len(self.told) + 1
        try:
            data = orjson.dumps({"n": number, **event})
        except TypeError:  # half of a surrogate pair in a text
            data = orjson.dumps(writable({"n": number, **event}))
        self.told.append(data)
        self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass(frozen=True)
class QueueSettings:
    at_once: int = 2  # runs side by side
    waiting: int = 100  # runs that may wait, of all users
    waiting_each: int = 20  # of one user
    keep: int = 2000  # runs in the history


class RunQueue:
    """Takes runs, carries them out in turn, and lets any number of readers follow. Used from one event loop."""

    def __init__(self, store: RunStore, agents: Agents, limits: Limits, settings: QueueSettings | None = None) -> None:
        self.store = store
        self.agents = agents
        self.limits = limits
        self._settings = settings or QueueSettings()
        self._live: dict[str, LiveRun] = {}  # waiting or running, by id, in the order asked
        self._tasks: dict[str, asyncio.Task[None]] = {}  # of those running
        self._closing = False

    # -- beginning and end ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Takes up what an earlier process left: runs that were waiting wait again, those under way are marked."""
        self.store.mark_interrupted(time.time())
        for run in self.store.waiting():
            try:
                request = read_run_request(run.asked, self.agents.usual_engine, self.limits)
                self._live[run.id] = LiveRun(run, request, request.query())
            except ConfigError as error:  # limits were changed in between
                self.store.end(run.id, "failed", time.time(), str(error))
        self._begin_next()

    async def close(self) -> None:
        """Ends what runs, as interrupted; what waits stays in the queue for the next start."""
        self._closing = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for live in self._live.values():
            live.wake()

    # -- what users do -------------------------------------------------------------------------------------------------

    def submit(self, request: RunRequest, owner: str) -> StoredRun:
        """A new run at the end of the queue. Raises QueueFull."""
        waiting = [live.run.owner for live in self._waiting()]
        if len(waiting) >= self._settings.waiting:
            raise QueueFull("too many searches are waiting; try again in a minute")
        if waiting.count(owner) >= self._settings.waiting_each:
            raise QueueFull(f"{self._settings.waiting_each} searches of yours are waiting; let one end first")
        run_id = secrets.token_urlsafe(_ID_BYTES)
        run = StoredRun(run_id, owner, request.question, request.to_json(), "queued", time.time(), *_NOTHING_YET)
        self.store.add(run)
        self._live[run_id] = LiveRun(run, request, request.query())
        self.store.keep_newest(self._settings.keep)
        self._begin_next()
        return run

    def stop(self, run_id: str) -> bool:
        """Ends a run and keeps what it found; False where it has ended already."""
        live = self._live.get(run_id)
        if live is None:
            return False
        live.is_stopping = True
        if run_id not in self._tasks:
            self._finish(live, "stopped", None, None)
        elif live.assembly is not None:
            live.assembly.agent.stop(live.query)
        return True

    def delete(self, run_id: str) -> bool:
        """Forgets a run that has ended; False where it has not."""
        if run_id in self._live:
            return False
        self.store.delete(run_id)
        return True

    def write_now(self, run_id: str) -> None:
        """Puts on disk what a run under way has told and found so far."""
        live = self._live.get(run_id)
        if live is not None:
            self._write(live)

    def position(self, run_id: str) -> int:
        """How many runs are waiting before this one, and itself; 0 for one that waits no more."""
        waiting = [live.run.id for live in self._waiting()]
        return waiting.index(run_id) + 1 if run_id in waiting else 0

    def counts(self) -> dict[str, int]:
        """Runs under way and waiting."""
        return {"running": len(self._tasks), "waiting": len(self._waiting())}

    def _waiting(self) -> list[LiveRun]:
        return [live for run_id, live in self._live.items() if run_id not in self._tasks]

    async def follow(self, run_id: str, after: int) -> AsyncIterator[bytes | int]:
        """Each event of a run behind number `after` as it comes, until the run has ended.

        An int is the run's place in the queue, told anew when it has changed.
        """
        live, place = self._live.get(run_id), 0
        if live is None:
            for _, data in await asyncio.to_thread(self.store.events, run_id, after):
                yield data
            return
        while not self._closing:
            changed = live.changed
            while after < len(live.told):
                after += 1
                yield live.told[after - 1]
            if run_id not in self._live:
                return
            now = self.position(run_id)
            if now and now != place:
                yield now
            place = now
            if not changed.is_set():
                await changed.wait()

    # -- carrying out --------------------------------------------------------------------------------------------------

    def _begin_next(self) -> None:
        """Starts runs while there is room: of the users with the fewest under way, the one that waits longest."""
        while not self._closing and len(self._tasks) < self._settings.at_once:
            running = Counter(live.run.owner for run_id, live in self._live.items() if run_id in self._tasks)
            waiting = self._waiting()
            if not waiting:
                break
            chosen = min(waiting, key=lambda live: running[live.run.owner])
            task = asyncio.create_task(self._carry_out(chosen))
            self._tasks[chosen.run.id] = task
            task.add_done_callback(partial(self._ended, chosen))
        for live in self._waiting():
            live.wake()  # its place may have changed

    def _ended(self, live: LiveRun, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self._finish(live, "interrupted", INTERRUPTED, None)
        elif error := task.exception():
            log.error("run %s failed", live.run.id, exc_info=error)
            self._finish(live, "failed", UNEXPECTED, None)
        self._tasks.pop(live.run.id, None)
        self._begin_next()

    async def _carry_out(self, live: LiveRun) -> None:
        self.store.begin(live.run.id, time.time())
        live.tell({"type": "started", "at": time.time()})
        writing = asyncio.create_task(self._keep_writing(live))
        try:
            async with self.agents.lease(live.request.engine) as assembly:
                live.assembly = assembly
                await self._run(live, assembly)
        except PasaError as error:
            self._finish(live, "failed", str(error), None)
        finally:
            live.assembly = None
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing

    async def _run(self, live: LiveRun, assembly: Any) -> None:
        teller = RunTeller()
        usual = assembly.agent.settings
        settings = live.request.settings(usual, self.limits)
        record = {**assembly.record, "settings": asdict(settings)}
        live.tell({"type": "made_of", **{name: record[name] for name in _TOLD_OF_RECORD}, "settings": asdict(settings)})
        if live.is_stopping:
            self._finish(live, "stopped", None, None)
            return
        async with aclosing(assembly.agent.astream(live.query, settings)) as events:
            async for event in events:
                if isinstance(event, RunDone) and event.result.stats.budget_reached in _ENDED_EARLY:
                    event = RunDone(teller.with_unfiled(event.result, settings.select_threshold))
                is_last = isinstance(event, RunDone)  # and takes as long as many others: others' streams go on
                told, papers = await asyncio.to_thread(teller.tell, event) if is_last else teller.tell(event)
                live.unwritten.update((paper["key"], paper) for paper in papers)
                for one in told:
                    live.tell(one)
                if isinstance(event, RunDone):
                    outcome = await asyncio.to_thread(_outcome, event.result, record)
                    is_stopped = event.result.stats.budget_reached == "stopped"
                    self._finish(live, "stopped" if is_stopped else "done", None, outcome)

    async def _keep_writing(self, live: LiveRun) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self._write(live)

    def _write(self, live: LiveRun) -> None:
        """Puts on disk what is not there yet."""
        events = list(enumerate(live.told[live.written :], live.written + 1))
        papers = list(live.unwritten.values())
        if events or papers:
            self.store.write(live.run.id, events, papers)
            live.written, live.unwritten = len(live.told), {}

    def _finish(self, live: LiveRun, state: State, error: str | None, outcome: _Outcome | None) -> None:
        """Closes a run that has not been closed yet, on disk first."""
        if live.run.id not in self._live:
            return
        stats = outcome.shown["stats"] if outcome else None
        live.tell({"type": "end", "state": state, "error": error, "stats": stats})
        try:
            self._write(live)
            if outcome:
                self.store.drop_unranked(live.run.id)
            shown = outcome.shown if outcome else None
            self.store.end(live.run.id, state, time.time(), error, shown, outcome.tree if outcome else None)
        except sqlite3.Error as failure:
            log.error("run %s cannot be kept: %s", live.run.id, failure)
        del self._live[live.run.id]
        live.wake()


_NOTHING_YET = (None, None, None, 0, 0)  # started, ended, error, found, selected
_ENDED_EARLY = ("stopped", "seconds")  # budgets that do not wait for what is under way
_TOLD_OF_RECORD = ("engine", "source", "retrieval", "crawler", "selector", "reranked", "config")


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What is kept of a run's end beside its papers."""

    shown: dict[str, Any]  # totals, how it was made, and what share of the papers was likely found, in words
    tree: bytes  # the result tree, as tree_json has it, compressed


def _outcome(result: RunResult, record: dict[str, Any]) -> _Outcome:
    tree = writable(tree_json(result, record))
    missing = told_of_missing(of_result(result, record))
    return _Outcome(
        {"stats": stats_json(result.stats), "record": record, "missing": missing}, zlib.compress(orjson.dumps(tree), 3)
    )

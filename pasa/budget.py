"""What a run may spend, and the moment it must end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from pasa.config import AgentSettings
from pasa.events import RunStats


class Budget:
    """Counts a run's model calls into its stats and says when there may be no more."""

    def __init__(self, settings: AgentSettings, stats: RunStats) -> None:
        self._settings = settings
        self._stats = stats
        self._started = time.monotonic()
        self.interrupted = asyncio.Event()  # set: what is under way is given up now
        self._not_selected = 0  # new papers in a row
        self._timer: asyncio.TimerHandle | None = None
        if settings.max_seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(settings.max_seconds, self.interrupt, "seconds")

    @property
    def counts(self) -> bool:
        """Whether calls are limited, so that they must be made in the defined order."""
        return self._settings.max_papers_scored is not None or self._settings.max_model_calls is not None

    @property
    def over(self) -> bool:
        """Whether the run must begin nothing more."""
        return self._stats.budget_reached is not None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def interrupt(self, reason: str) -> None:
        """Ends the run now; the first reason stays."""
        self.exhaust(reason)
        self.interrupted.set()

    def close(self) -> None:
        """The run has ended: its time is not counted further."""
        if self._timer:
            self._timer.cancel()

    def sessions_at_once(self) -> int | None:
        """How many expand sessions may be held next: half of the calls left, the others are for what they find."""
        limit = self._settings.max_model_calls
        return None if limit is None else (limit - self._stats.model_calls + 1) // 2

    def take_crawler_call(self) -> bool:
        """Whether the Crawler may be asked once more; counts it if so."""
        limit = self._settings.max_model_calls
        if limit is not None and self._stats.model_calls >= limit:
            return self.exhaust("model_calls")
        self._stats.crawler_calls += 1
        return True

    def take_score(self, needs_call: bool) -> bool:
        """Whether one more paper may have a score; one scored before (`needs_call` false) costs nothing."""
        if not needs_call:
            return True
        papers, calls = self._settings.max_papers_scored, self._settings.max_model_calls
        if papers is not None and self._stats.papers_scored >= papers:
            return self.exhaust("papers_scored")
        if calls is not None and self._stats.model_calls >= calls:
            return self.exhaust("model_calls")
        self._stats.papers_scored += 1
        self._stats.selector_calls += 1
        return True

    def note_selected(self, selected: Iterable[bool]) -> None:
        """Hears of each new paper that reading led to, in order, and ends a run to which nothing selected comes.

        By the rule of three, n papers in a row that are not selected leave the share of selected ones among those to
        come below 3/n, with 95 % confidence (Hanley and Lippman-Hand, JAMA 249, 1983).
        """
        for is_selected in selected:
            self._not_selected = 0 if is_selected else self._not_selected + 1
        limit = self._settings.stop_when_saturated
        if limit is not None and self._not_selected >= limit:
            self.exhaust("saturated")

    def exhaust(self, reason: str) -> bool:
        """Lets what is under way end but nothing more begin; the first reason stays. Always False."""
        self._stats.budget_reached = self._stats.budget_reached or reason
        return False

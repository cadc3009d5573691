"""Ends a process that gives no sign of life: where one of several stopped, the others would wait for it for ever."""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

STUCK = 75  # exit code; sysexits.h's EX_TEMPFAIL: the same command may be tried again
_STDERR = 2  # a file number: sys.stderr may be gone by then
_LOOKS_A_PERIOD = 20
_MOST_SECONDS_BETWEEN_LOOKS = 5.0


class Watchdog:
    """`beat` says what is being done now; `seconds` without a beat or a pulse end the process with a line."""

    def __init__(
        self,
        seconds: float,
        rank: int,
        tell: Callable[[str], None],
        end: Callable[[int], None] = os._exit,
    ) -> None:
        self._seconds = seconds
        self._rank = rank
        self._tell = tell
        self._end = end
        self._doing = "starting"
        self._since = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="ppo-watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._since = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def beat(self, doing: str) -> None:
        """A sign of life: what begins now."""
        self._doing, self._since = doing, time.monotonic()

    def pulse(self) -> None:
        """A sign of life: what began goes on."""
        self._since = time.monotonic()

    def _look(self) -> None:
        pause = min(self._seconds / _LOOKS_A_PERIOD, _MOST_SECONDS_BETWEEN_LOOKS)
        while not self._over.wait(pause):
            if time.monotonic() - self._since > self._seconds:
                self._tell(
                    f"process {self._rank} gave no sign of life for {self._seconds:.0f} s ({self._doing}); another "
                    "process may have stopped, see its last line. Ending; the same command goes on from the last "
                    "checkpoint (watchdog_seconds sets how long is waited)"
                )
                faulthandler.dump_traceback(_STDERR, all_threads=True)
                self._end(STUCK)
                return

"""The Selector: scores papers for one query, each (title, abstract) once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from pasa.errors import ModelError, PasaError
from pasa.models.base import Score, SelectRequest
from pasa.paper import Paper
from pasa.prompts import PromptSet, select_request
from pasa.waiting import give_up

Outcome = float | PasaError  # a score in [0, 1], or why there is none


class Selector:
    """Starts scores as soon as a paper is known and keeps them for whoever asks later.

    `on_score(paper, score)` hears of each score once, as it comes.
    """

    def __init__(
        self,
        query: str,
        score: Callable[[SelectRequest], Awaitable[float]],
        on_score: Callable[[Paper, float], None],
        prompts: PromptSet = "pasa",
    ) -> None:
        self._query = query
        self._prompts = prompts
        self._score = score
        self._on_score = on_score
        self._outcomes: dict[tuple[str, str], asyncio.Task[Outcome]] = {}
        self._charged: set[tuple[str, str]] = set()
        self.ever_answered = False  # whether the model has given any score

    def charge(self, paper: Paper, title: str) -> bool:
        """Whether this pair is counted as a call for the first time."""
        key = (title, paper.abstract)
        new = key not in self._charged
        self._charged.add(key)
        return new

    def start(self, paper: Paper, title: str) -> asyncio.Task[Outcome]:
        """The task that gives the paper's score under `title`, started once. It never raises a PasaError."""
        key = (title, paper.abstract)
        if key not in self._outcomes:
            self._outcomes[key] = asyncio.create_task(self._ask(paper, title))
        return self._outcomes[key]

    async def _ask(self, paper: Paper, title: str) -> Outcome:
        try:
            request = select_request(self._query, title, paper.abstract, self._prompts)
            score = await self._score(request)
        except PasaError as error:
            return error
        if not math.isfinite(score):  # it would have no place in the ranking
            return ModelError(f"the selector gave {score} as a score")
        self.ever_answered = True
        self._on_score(paper, score)  # as the model gave it: a Score may say more than its number
        return score if isinstance(score, Score) else float(score)

    def cancel(self) -> None:
        """Gives up the scores still under way."""
        give_up(self._outcomes.values())

"""The agent's models on an OpenAI-compatible server (OpenAI, vLLM, llama.cpp): OpenAIGenerator, OpenAIScorer."""

from __future__ import annotations

import logging
import math
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Unpack

from openai.types import Completion
from openai.types.chat import ChatCompletion

from pasa.models.base import CrawlRequest, ModelUsage, Reply, Sampling, Score, SelectRequest
from pasa.models.openai_client import ApiServer, Connection, NotOffered
from pasa.models.reasons import REASON_TOKENS, reason_prompt, with_reason

log = logging.getLogger(__name__)

Endpoint = Literal["completions", "chat"]
# Most log-probabilities that completions give: 5 at OpenAI, 20 at vLLM by default, any number at llama.cpp; chat: 20.
TOP_LOGPROBS: dict[Endpoint, tuple[int, ...]] = {"completions": (20, 5), "chat": (20, 5)}
# Tokens to read a decision in where no log-probabilities are given: "Decision: True" and some words before it.
DECISION_TOKENS = 16
_DECISION = re.compile(r"\b(true|false)\b", re.IGNORECASE)


class OpenAIGenerator:
    """Writes replies through chat completions: the prompt as one user message, the server's chat template."""

    def __init__(self, model: str, **connection: Unpack[Connection]) -> None:
        """`model` as the server names it; raises ConfigError where a key is needed and not set."""
        self._server = ApiServer(model, **connection)
        self.name = model
        self.description = f"{model} at {self._server.where}, chat completions"
        self.requests_at_once = self._server.concurrency

    @property
    def usage(self) -> ModelUsage:
        return self._server.usage

    def generate(self, requests: Sequence[CrawlRequest], sampling: Sampling) -> list[Reply]:
        """One reply a request, in order, asked for side by side; token counts are the server's. From any thread.

        A prompt asked for several times in one call gets a seed of its own each time. Raises ModelError, and
        ConfigError for a refused key.
        """
        seen: Counter[str] = Counter()
        jobs = []
        for request in requests:
            jobs.append((request.prompt, seen[request.prompt]))
            seen[request.prompt] += 1
        answers = self._server.each(lambda job: self._ask(*job, sampling), jobs)
        self._server.count(answers)
        return [_reply(answer, self._server.tokens(answer)) for answer in answers]

    def _ask(self, prompt: str, occurrence: int, sampling: Sampling) -> ChatCompletion:
        seed = {} if sampling.seed is None else {"seed": sampling.seed + occurrence}
        return self._server.chat(
            prompt, sampling.max_new_tokens, temperature=sampling.temperature, top_p=sampling.top_p, **seed
        )


def _reply(answer: Completion | ChatCompletion, tokens: ModelUsage) -> Reply:
    return Reply(
        text=_text(answer),
        finish_reason="length" if answer.choices[0].finish_reason == "length" else "stop",
        prompt_tokens=tokens.prompt_tokens,
        reply_tokens=tokens.reply_tokens,
        dollars=tokens.dollars,
    )


@dataclass(frozen=True, slots=True)
class ScoreRoute:
    """A way to ask a server for a score: where, and how many log-probabilities (0: read the decision's text)."""

    endpoint: Endpoint
    top_logprobs: int


# Tried in this order at the first score; the first that the server offers is kept.
ROUTES = (
    *(ScoreRoute("completions", n) for n in TOP_LOGPROBS["completions"]),
    *(ScoreRoute("chat", n) for n in TOP_LOGPROBS["chat"]),
    ScoreRoute("completions", 0),
    ScoreRoute("chat", 0),
)


class OpenAIScorer:
    """Scores from the log-probabilities of the first token after the raw prompt, read at `True` (PAPER.md).

    A server without log-probabilities of raw completions is asked through chat, and one without any by the decision
    it writes (True 1.0, False 0.0, neither 0.0 and counted in `unreadable`), with one warning. A prompt for a chat
    model goes through chat only, and its score is the share of True among True and False, however they are spelled.
    """

    def __init__(
        self,
        model: str,
        true_tokens: Sequence[str] = ("True",),
        routes: Sequence[ScoreRoute] = ROUTES,
        **connection: Unpack[Connection],
    ) -> None:
        """`true_tokens`: the tokens whose probabilities make the score, told apart by their blanks.

        The released selector writes "True"; models that were not trained on the prompt mostly write " True" after
        "Decision:", and ("True", " True") counts both.
        """
        self._server = ApiServer(model, **connection)
        self.name = model
        self.unreadable = 0  # answers whose text held no decision
        self._true_tokens = tuple(true_tokens)
        self._routes = tuple(routes)
        self._route_of: dict[bool, ScoreRoute] = {}  # by `as_chat`; known once a score was had
        self._choosing = threading.Lock()
        self.requests_at_once = self._server.concurrency

    @property
    def usage(self) -> ModelUsage:
        return self._server.usage

    @property
    def description(self) -> str:
        route = next(iter(self._route_of.values()), self._routes[0])
        how = f"log-probabilities ({route.endpoint})" if route.top_logprobs else f"written decisions ({route.endpoint})"
        return f"{self.name} at {self._server.where}, {how}"

    def score(self, requests: Sequence[SelectRequest]) -> list[float]:
        """One score in [0, 1] a request, in order, asked for side by side once the route is known. From any thread.

        Where `True` is not among the tokens the server lists, the score is the most it can have: the smallest listed
        probability, or what the listed ones leave. Raises ModelError, and ConfigError for a refused key.
        """
        scores = [0.0] * len(requests)
        for as_chat in (False, True):
            group = [i for i, request in enumerate(requests) if request.as_chat is as_chat]
            for i, score in zip(group, self._score([requests[i].prompt for i in group], as_chat), strict=True):
                scores[i] = score
        return scores

    def explain(self, requests: Sequence[SelectRequest]) -> list[Reply]:
        """Why each paper answers its query, a reply a request, in order; where scores were had, there. ModelError."""

        def ask(request: SelectRequest) -> Completion | ChatCompletion:
            route = self._route_of.get(request.as_chat) or self._routes[0]
            if request.as_chat or route.endpoint == "chat":
                chat = replace(request, as_chat=True)
                return self._server.chat(reason_prompt(chat), REASON_TOKENS, temperature=0.0)
            return self._server.completion(reason_prompt(request), REASON_TOKENS, temperature=0.0)

        answers = self._server.each(ask, requests)
        self._server.count(answers)
        return [with_reason(_reply(answer, self._server.tokens(answer))) for answer in answers]

    def _score(self, prompts: list[str], as_chat: bool) -> list[float]:
        if not prompts:
            return []
        answers = []
        with self._choosing:  # whoever comes meanwhile waits for the route rather than looking for it too
            if as_chat not in self._route_of:
                self._route_of[as_chat], first = self._find_route(prompts.pop(0), as_chat)
                answers.append(first)
            route = self._route_of[as_chat]
        answers += self._server.each(lambda prompt: self._ask(route, prompt), prompts)
        self._server.count(answers)
        return [self._with_tokens(self._read(route, answer, as_chat), answer) for answer in answers]

    def _with_tokens(self, score: float, answer: Completion | ChatCompletion) -> Score:
        tokens = self._server.tokens(answer)
        return Score(score, tokens.prompt_tokens, tokens.reply_tokens, tokens.dollars)

    def _find_route(self, prompt: str, as_chat: bool) -> tuple[ScoreRoute, Completion | ChatCompletion]:
        """The first route that the server offers, and its answer to `prompt`."""
        refusal = NotOffered(f"{self._server.where} offers no way to score")
        for route in self._routes:
            if as_chat and route.endpoint != "chat":
                continue
            try:
                answer = self._ask(route, prompt)
            except NotOffered as error:
                refusal = error
                continue
            if route.top_logprobs == 0:
                log.warning("%s gives no log-probabilities: scores are its decisions, 0 or 1", self._server.where)
                return route, answer
            if first_token_logprobs(answer) is not None:
                return route, answer
            self._server.count([answer])
        raise refusal

    def _ask(self, route: ScoreRoute, prompt: str) -> Completion | ChatCompletion:
        n = route.top_logprobs
        tokens = 1 if n else DECISION_TOKENS
        if route.endpoint == "completions":
            return self._server.completion(prompt, tokens, temperature=0.0, **({"logprobs": n} if n else {}))
        logprobs = {"logprobs": True, "top_logprobs": n} if n else {}
        return self._server.chat(prompt, tokens, temperature=0.0, **logprobs)

    def _read(self, route: ScoreRoute, answer: Completion | ChatCompletion, as_chat: bool) -> float:
        """The score in an answer; one that lacks log-probabilities for once is read by its text."""
        logprobs = first_token_logprobs(answer) if route.top_logprobs else None
        if logprobs is not None and as_chat:
            share = share_of_true(logprobs)
            self.unreadable += share is None
            return share or 0.0
        if logprobs is not None:
            return probability_of(self._true_tokens, logprobs)
        decision = written_decision(_text(answer))
        self.unreadable += decision is None
        return float(decision or False)


def first_token_logprobs(answer: Completion | ChatCompletion) -> dict[str, float] | None:
    """Token -> log-probability of the likeliest first tokens; None where the server gave none."""
    if isinstance(answer, ChatCompletion):
        content = answer.choices[0].logprobs.content if answer.choices[0].logprobs else None
        return {top.token: top.logprob for top in content[0].top_logprobs} or None if content else None
    logprobs = answer.choices[0].logprobs
    listed = logprobs.top_logprobs if logprobs else None
    return dict(listed[0]) if listed and listed[0] else None


def probability_of(tokens: Sequence[str], logprobs: Mapping[str, float]) -> float:
    """The summed probability of `tokens`; where none is listed, the most that one of them can have."""
    listed = [math.exp(logprobs[token]) for token in tokens if token in logprobs]
    if listed:
        return min(1.0, math.fsum(listed))
    probabilities = [math.exp(value) for value in logprobs.values()]
    return max(0.0, min(min(probabilities), 1.0 - math.fsum(probabilities)))


def share_of_true(logprobs: Mapping[str, float]) -> float | None:
    """The probability of True among True and False, in whatever case and blanks; None where neither is listed."""
    sums = dict.fromkeys(("true", "false"), 0.0)
    for token, logprob in logprobs.items():
        if (word := token.strip().lower()) in sums:
            sums[word] += math.exp(logprob)
    total = sum(sums.values())
    return sums["true"] / total if total else None


def written_decision(text: str) -> bool | None:
    """The first True or False in `text`; None without one."""
    match = _DECISION.search(text)
    return match.group(1).lower() == "true" if match else None


def _text(answer: Completion | ChatCompletion) -> str:
    if isinstance(answer, ChatCompletion):
        return answer.choices[0].message.content or ""
    return answer.choices[0].text or ""

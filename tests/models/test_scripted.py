"""Scripted models answer from their script and say so when they cannot."""

from __future__ import annotations

import time

import pytest

from pasa.errors import ModelError
from pasa.models.base import Generator, Sampling, Scorer
from pasa.models.scripted import ScriptedCall, ScriptedGenerator, ScriptedScorer
from pasa.prompts import search_request, select_request

FIRST, SECOND = search_request("agents"), search_request("rewards")
PAIR = select_request("agents", "Title", "Abstract")


def test_replies_and_scores_come_from_the_script_in_order() -> None:
    generator = ScriptedGenerator({FIRST.prompt: "[Search] a", SECOND.prompt: "[Stop]"})
    scorer = ScriptedScorer({PAIR.prompt: 0.25})
    assert [r.text for r in generator.generate([SECOND, FIRST], Sampling())] == ["[Stop]", "[Search] a"]
    assert scorer.score([PAIR, PAIR]) == [0.25, 0.25]
    assert isinstance(generator, Generator)
    assert isinstance(scorer, Scorer)


def test_a_function_may_be_the_script() -> None:
    generator = ScriptedGenerator(lambda request, sampling: f"{request.query} {sampling.temperature}")
    assert generator.generate([FIRST], Sampling(temperature=2.0))[0].text == "agents 2.0"
    assert ScriptedScorer(lambda request: len(request.title) / 10).score([PAIR]) == [0.5]


def test_an_unknown_prompt_is_named() -> None:
    with pytest.raises(ModelError, match="no reply for the prompt that begins 'Please generate some"):
        ScriptedGenerator({}).generate([FIRST], Sampling())
    with pytest.raises(ModelError, match="no score for the prompt that begins 'You are an elite"):
        ScriptedScorer({}).score([PAIR])


def test_calls_are_recorded() -> None:
    scorer = ScriptedScorer(lambda request: 0.0)
    scorer.score([PAIR, PAIR])
    assert scorer.calls == [ScriptedCall((PAIR.prompt, PAIR.prompt))]
    assert scorer.calls[0].batch_size == 2
    assert scorer.usage.requests == 2


def test_latency_is_once_a_call() -> None:
    scorer = ScriptedScorer(lambda request: 0.0, seconds_per_call=0.05)
    start = time.monotonic()
    scorer.score([PAIR] * 5)
    assert 0.05 <= time.monotonic() - start < 0.2

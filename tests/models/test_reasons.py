"""Why a paper was selected: what Selectors are asked for it, and how their replies are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasa.models.base import Explainer, SelectRequest
from pasa.models.hf_loading import load_checkpoint
from pasa.models.huggingface import HuggingFaceScorer
from pasa.models.openai_api import OpenAIScorer
from pasa.models.reasons import REASON_TOKENS, read_reason, reason_prompt
from pasa.models.rules_selector import RulesScorer
from pasa.prompts import select_request
from tests.models.openai_server import Answer, OpenAIServer, chat_answer, completion_answer

RAW = select_request("which papers study agents", "Title", "rewards search")
CHAT = select_request("which papers study agents", "Title", "rewards search", "chat")


@pytest.mark.parametrize(
    ("text", "whole", "reason"),
    [
        (" It studies agents.", True, "It studies agents."),
        ("True\nReason: It studies\nagents.", True, "It studies agents."),
        ("Reasoning: it does.\n\nUser Query: another", True, "it does."),
        ("It studies agents. It also", False, "It studies agents."),
        ("It studies agents.", False, "It studies agents."),
        ("It studies agents that", False, "It studies agents that…"),
        (
            "Reasoning abilities of language models are tested.",
            True,
            "Reasoning abilities of language models are tested.",
        ),
        ("Reasonable baselines.", True, "Reasonable baselines."),
        ("Truetype fonts.", True, "Truetype fonts."),
        ("\n\nIt studies agents.", True, "It studies agents."),
        ("True.\n\nIt studies agents.", True, "It studies agents."),
        ("", False, ""),
        ("  \n", True, ""),
    ],
)
def test_a_reason_is_one_line_of_whole_sentences(text: str, whole: bool, reason: str) -> None:
    assert read_reason(text, whole) == reason


@given(st.text(max_size=80), st.booleans())
@settings(max_examples=100)
def test_no_reply_breaks_the_line(text: str, whole: bool) -> None:
    reason = read_reason(text, whole)
    assert reason == " ".join(reason.split())


def test_the_raw_prompt_goes_on_behind_the_decision_as_selectors_are_trained() -> None:
    assert reason_prompt(RAW) == f"{RAW.prompt}True\nReason:"
    assert reason_prompt(CHAT).startswith(f"{CHAT.prompt} True.")


@pytest.mark.parametrize("architecture", ["qwen2", "gemma2"])  # packed and padded
def test_reasons_are_what_generate_writes_one_by_one(architecture: str, checkpoint: Callable[[str], str]) -> None:
    path = checkpoint(architecture)
    asked = [RAW, select_request("agents", "Other", "we train " * 9), RAW]
    scorer = HuggingFaceScorer.load(path, device="cpu")
    assert isinstance(scorer, Explainer)
    loaded = load_checkpoint(path, device="cpu")
    for request, reply in zip(asked, scorer.explain(asked), strict=True):
        ids = loaded.tokenizer(reason_prompt(request), return_tensors="pt")
        output: Any = loaded.model.generate(**ids, max_new_tokens=REASON_TOKENS, do_sample=False)
        new = output[0, ids["input_ids"].shape[1] :]
        ended = len(new) < REASON_TOKENS or new[-1] == loaded.tokenizer.eos_token_id
        assert reply.text == read_reason(loaded.tokenizer.decode(new, skip_special_tokens=True), ended)
        assert reply.prompt_tokens == ids["input_ids"].shape[1]
        assert 0 < reply.reply_tokens <= REASON_TOKENS
    assert scorer.explain([]) == []


def test_a_server_is_asked_where_it_gave_the_score() -> None:
    def script(path: str, body: dict[str, Any]) -> Answer:
        if "chat" in path:
            return Answer(chat_answer("It is on agents.", logprobs={"True": -0.1}))
        return Answer(completion_answer(" It studies agents.", {"True": -0.1}))

    def reasons(server: OpenAIServer, *requests: SelectRequest) -> list[str]:
        scorer = OpenAIScorer("m", base_url=server.base_url)
        scorer.score(requests)
        assert isinstance(scorer, Explainer)
        return [reply.text for reply in scorer.explain(requests)]

    with OpenAIServer(script) as server:
        assert reasons(server, RAW, CHAT) == ["It studies agents.", "It is on agents."]
        asked = [body.get("prompt") or body["messages"][0]["content"] for _, body, _ in server.requests[-2:]]
        assert sorted(asked) == sorted(map(reason_prompt, (RAW, CHAT)))


def test_rules_cannot_say_why() -> None:
    assert not isinstance(RulesScorer(), Explainer)

"""What a Selector is asked and read for its reason: why it holds that a paper answers.

PaSa's Selector was trained to write "True" or "False" and then "Reason: ..." (PAPER.md); the score is read at the first
token, so that the rest is written only where somebody wants to read it. A chat model is asked for a sentence.
"""

from __future__ import annotations

import re
from dataclasses import replace

from pasa.models.base import Reply, SelectRequest

REASON_TOKENS = 128  # of a reply at most
AFTER_DECISION = "True\nReason:"  # stands behind the raw prompt; the model goes on from there
CHAT_QUESTION = (
    "True.\n\nNow say in one sentence, for whoever asked, what in this paper answers the question. Write nothing else."
)
_LABEL = re.compile(r"(?:(?:true|false)\b[\s.:]*)?(?:reason(?:ing)?\s*:\s*)?", re.IGNORECASE)
_WHOLE_SENTENCES = re.compile(r"^(.*[.!?])(?:\s|$)")


def reason_prompt(request: SelectRequest) -> str:
    """The prompt whose reply is the reason: raw, or a user message for a chat model."""
    return f"{request.prompt} {CHAT_QUESTION}" if request.as_chat else f"{request.prompt}{AFTER_DECISION}"


def with_reason(reply: Reply) -> Reply:
    """The reply with its reason as the text."""
    return replace(reply, text=read_reason(reply.text, reply.finish_reason == "stop"))


def read_reason(text: str, is_whole: bool = True) -> str:
    """The reason in a reply, on one line; one that was cut off (`is_whole` False) ends with its last whole sentence."""
    said = text.strip()
    said = said[_LABEL.match(said).end() :]  # type: ignore[union-attr]  # matches nothing, too
    reason = " ".join(said.split("\n\n")[0].split())
    cut = None if is_whole else _WHOLE_SENTENCES.match(reason)
    return cut[1] if cut else reason + "…" * (not is_whole and bool(reason))

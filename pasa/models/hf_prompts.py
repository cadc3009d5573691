"""Prompts -> token ids, shortened where they are too long without losing the instruction.

A prompt over the limit loses the end of its paper's abstract first, since the instruction stands before and after it;
what is still too long loses its middle. "right" cuts the end off instead, as the public code does, and with it the
words after which the model is to answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Truncation = Literal["abstract", "right"]

# The public code's limit: longest prompt it feeds either model, in tokens (bytedance/pasa at 2aaa6a9, models.py).
MAX_PROMPT_TOKENS = 992


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    abstracts: Sequence[str],
    limit: int,
    truncation: Truncation = "abstract",
    add_special_tokens: bool = True,
) -> list[list[int]]:
    """The token ids of each text, at most `limit` of them; `abstracts[i]` is the part of `texts[i]` to cut first."""
    encoded = tokenizer(list(texts), add_special_tokens=add_special_tokens)["input_ids"] if texts else []
    result = []
    for ids, text, abstract in zip(encoded, texts, abstracts, strict=True):
        if len(ids) <= limit:
            result.append(list(ids))
        elif truncation == "right":
            result.append(list(ids[:limit]))
        else:
            span = token_span(tokenizer, text, abstract.strip(), add_special_tokens)
            result.append(shorten(ids, limit, span))
    return result


def token_span(
    tokenizer: PreTrainedTokenizerBase, text: str, part: str, add_special_tokens: bool
) -> tuple[int, int] | None:
    """Which tokens of `text` lie wholly inside `part`, [start, end); None where that cannot be told."""
    start = text.find(part) if part else -1
    if start < 0 or not tokenizer.is_fast:
        return None
    end = start + len(part)
    offsets = tokenizer(text, add_special_tokens=add_special_tokens, return_offsets_mapping=True)["offset_mapping"]
    inside = [i for i, (a, b) in enumerate(offsets) if start <= a < b <= end]
    return (inside[0], inside[-1] + 1) if inside else None


def shorten(ids: Sequence[int], limit: int, cut_first: tuple[int, int] | None = None) -> list[int]:
    """`ids` cut to `limit`: first the end of the stretch `cut_first`, then the middle of what is left."""
    ids = list(ids)
    excess = len(ids) - limit
    if excess > 0 and cut_first is not None:
        start, end = cut_first
        cut = min(excess, end - start)
        ids = ids[: end - cut] + ids[end:]
    if len(ids) > limit:
        head = limit // 2
        ids = ids[:head] + ids[len(ids) - (limit - head) :]
    return ids


def chat_text(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str | None:
    """`prompt` as one user message in the checkpoint's chat template, ready for the reply; None without a template."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    message = [{"role": "user", "content": prompt}]
    return str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))

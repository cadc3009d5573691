"""Which token of a reply gets an action's reward.

An action is over only with the token behind it: after `[Search] tree kernels` the reply may go on with a line end,
which runs that search, or with ` for parsing`, which makes it another one. The choice is that token's, so the reward
is put there. On the last word it would not reach the line end, while that of ` for parsing` would reach its own words:
longer queries would look better for nothing. Where one token holds the end of an argument and the next `[` (Qwen's
`)[` and `?[`), it is that token.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]  # the text of a reply's first tokens, special tokens left out


def ending_tokens(reply_ids: Sequence[int], reply: str, ends: Sequence[int], decode: Decode) -> list[int]:
    """For each place in `ends`, where an action's span in `reply` ends, the token of `reply_ids` that ended the action.

    That is the first token with a character at or behind the place; at the end of the text the token behind it (the
    end token), else the last. Nothing is asked of the tokenizer but to decode: a token's characters are those by which
    its prefix of the reply decodes to more of `reply`, so bytes of one character over two tokens count for the second.
    Empty replies raise ValueError where there is an end to place.
    """
    if ends and not reply_ids:
        raise ValueError("a reply without tokens holds no action")
    tokens = range(len(reply_ids))
    return [bisect_left(tokens, True, key=lambda k: _reaches(reply_ids, k, reply, end, decode)) for end in ends]


def _reaches(reply_ids: Sequence[int], k: int, reply: str, end: int, decode: Decode) -> bool:
    """Whether the tokens up to `k`, itself included, hold a character behind `end`; always so of the last token."""
    if k == len(reply_ids) - 1:
        return True
    if end >= len(reply):  # no character behind it: the token after those that hold the whole text
        return _length_of(reply_ids[:k], reply, decode) == len(reply)
    return _length_of(reply_ids[: k + 1], reply, decode) > end


def _length_of(ids: Sequence[int], reply: str, decode: Decode) -> int:
    """How many characters of `reply` the tokens `ids`, its first, hold."""
    text = decode(ids) if ids else ""
    if reply.startswith(text):
        return len(text)
    return next(i for i, (a, b) in enumerate(zip(text + "\0", reply + "\1", strict=False)) if a != b)

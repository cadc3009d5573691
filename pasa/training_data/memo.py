"""A function's values for words, kept: for what is asked of every word of every abstract."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")

MOST_WORDS = 400_000


class Memo(dict[str, Value]):
    """Word -> `make(word)`, made when first asked for: three quarters of lru_cache's time, by `memo.__getitem__`.

    Forgets all once it holds MOST_WORDS, which bounds its memory.
    """

    def __init__(self, make: Callable[[str], Value]) -> None:
        self._make = make

    def __missing__(self, word: str) -> Value:
        if len(self) >= MOST_WORDS:
            self.clear()
        self[word] = value = self._make(word)
        return value

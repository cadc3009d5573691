"""A function's values for words, kept."""

from __future__ import annotations

import pytest

from pasa.training_data import memo
from pasa.training_data.memo import Memo


def test_a_value_is_made_once() -> None:
    asked: list[str] = []
    lengths = Memo(lambda word: asked.append(word) or len(word))
    assert list(map(lengths.__getitem__, ["a", "bc", "a", "bc"])) == [1, 2, 1, 2]
    assert asked == ["a", "bc"]


def test_memory_is_bounded_and_values_stay_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo, "MOST_WORDS", 3)
    lengths = Memo(len)
    for word in ["a", "bc", "def", "ghij", "a", "klmno", "bc"]:
        assert lengths[word] == len(word)
        assert len(lengths) <= 3

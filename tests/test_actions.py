"""The Crawler's actions: pasa/actions.py."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasa.actions import StopReason, parse_actions, read_reply, render_actions

QUICK = settings(max_examples=80, deadline=None)
arguments = st.text(st.characters(blacklist_characters="[]", blacklist_categories=["Cs", "Cc", "Z"]), min_size=1)
argument_lists = st.lists(arguments, max_size=6, unique=True)
TAGS = ["[Search]", "[Expand]", "[Stop]", "[StopSearch]", "[StopExpand]", "[ search ]", "[ſearch]", "[Stop Search]"]
PIECES = ["[", "]", "\n", " ", "some words", "[Sea", "[1]", "Search]", "é", "\u2028"]
replies = st.lists(st.sampled_from(TAGS + PIECES) | st.text(max_size=4), max_size=20).map("".join)
both_ends = st.sampled_from(["tag", "bracket"])


@QUICK
@given(st.sampled_from(["search", "expand"]), argument_lists, st.booleans())
def test_what_is_rendered_is_read_back(kind, wanted, stop):
    read = read_reply(render_actions(kind, wanted, stop), kind, section_names=wanted)
    assert [a.argument for a in read.moves] == wanted
    assert (read.stop is StopReason.STOPPED) == stop
    assert not read.problems or (not wanted and not stop)


@QUICK
@given(replies, both_ends)
def test_a_span_is_its_action(text, argument_end):
    found, _ = parse_actions(text, argument_end)
    for action in found:
        tag, _, argument = text[action.start : action.end].partition("]")
        word = tag.strip("[ ").lower()
        assert word.startswith("stop") if action.kind == "stop" else word == action.kind
        assert argument.strip() == action.argument
        assert text[action.start : action.end] == text[action.start : action.end].rstrip()
    starts_ends = [position for action in found for position in (action.start, action.end)]
    assert starts_ends == sorted(starts_ends)


@QUICK
@given(replies, st.sampled_from(["search", "expand"]), both_ends, st.sampled_from(["stop", "length"]))
def test_any_reply_is_read_and_what_is_lost_is_counted(text, kind, argument_end, finish):
    read = read_reply(text, kind, 3, ["some words", "é"], finish, argument_end)
    kept = len(read.moves)
    assert kept <= 3
    assert all(a.argument for a in read.moves)
    if text.strip() and not read.actions:
        assert read.problems
    if not kept and read.stop is not StopReason.STOPPED:
        assert read.problems["no_action"] == 1
    assert all(times > 0 for times in read.problems.values())


@pytest.mark.parametrize(
    ("text", "arguments", "stop", "problems"),
    [
        ("", [], StopReason.NO_ACTION, {"no_action": 1}),
        ("I would search for agents.", [], StopReason.NO_ACTION, {"prose": 1, "no_action": 1}),
        ("Sure!\n[Search] a\n[StopSearch]", ["a"], StopReason.STOPPED, {"prose": 1}),
        ("[Search] a\nbecause it fits\n[Stop] bye", ["a"], StopReason.STOPPED, {"prose": 2}),
        ("[Search] a [Search] b[Sea", ["a", "b"], StopReason.NO_STOP, {"unclosed_action": 1}),
        ("[Search] a [", ["a"], StopReason.NO_STOP, {"unclosed_action": 1}),
        ("[Search]\n[Search] b [StopSearch]", ["b"], StopReason.STOPPED, {"empty_argument": 1}),
        ("[Search] a [Expand] b", ["a"], StopReason.NO_STOP, {"wrong_kind": 1}),
        ("[Search] a [Search] a [StopSearch]", ["a"], StopReason.STOPPED, {"repeated": 1}),
        ("[StopSearch][Search] a", [], StopReason.STOPPED, {"after_stop": 1}),
        ("[Search] a [Search] b [Search] c [Search] d", ["a", "b", "c"], StopReason.OVER_LIMIT, {"over_limit": 1}),
        ("[Search] papers [1] and [2]\n[StopSearch]", ["papers [1] and [2]"], StopReason.STOPPED, {}),
        ("[search]a[ SEARCH ]b[stop]", ["a", "b"], StopReason.STOPPED, {}),
        ("[ſearch] a", [], StopReason.NO_ACTION, {"prose": 1, "no_action": 1}),
    ],
)
def test_malformed_search_replies_are_counted(text, arguments, stop, problems):
    read = read_reply(text, "search", max_actions=3)
    assert ([a.argument for a in read.moves], read.stop, dict(read.problems)) == (arguments, stop, problems)


def test_a_reply_cut_by_the_token_limit_says_so():
    assert read_reply("[Search] a", "search", finish_reason="length").stop is StopReason.LENGTH
    assert read_reply("[Search] a [StopSearch]", "search", finish_reason="length").stop is StopReason.STOPPED


def test_a_section_is_found_by_its_letters_and_digits_unless_exact():
    names = ["2.1 Related Work", "3. Méthode", "§"]
    text = "[Expand] related work\n[Expand] 2.1  RELATED WORK:\n[Expand] 3 méthode\n[Expand] Limits\n[Expand] *"
    read = read_reply(text, "expand", section_names=names)
    assert [a.argument for a in read.moves] == ["2.1 Related Work", "3. Méthode"]
    assert read.problems["unknown_section"] == 3
    exact = read_reply(text + "\n[Expand] 3. Méthode", "expand", section_names=names, exact_sections=True)
    assert [a.argument for a in exact.moves] == ["3. Méthode"]


@pytest.mark.parametrize("argument_end", ["tag", "bracket"])
def test_ten_thousand_actions_are_read_in_time_that_grows_with_them(argument_end):
    text = "".join(f"[Search] query {n} " for n in range(10_000)) + "[StopSearch]"
    started = time.perf_counter()
    read = read_reply(text, "search", max_actions=5, argument_end=argument_end)
    assert time.perf_counter() - started < 2
    assert len(read.moves) == 5
    assert read.problems["over_limit"] == 9_995


@pytest.mark.parametrize("filler", [" ", "[", "[ ", "[s", "\n", "[ \n"])
def test_a_degenerate_reply_takes_no_quadratic_time(filler):
    text = "[Search] a [" + filler * 30_000 + "!"
    started = time.perf_counter()
    for argument_end in ("tag", "bracket"):
        read_reply(text, "search", argument_end=argument_end)
        read_reply(text[:-1], "search", argument_end=argument_end)
    assert time.perf_counter() - started < 2


# What the public agent does with a reply (PAPER.md): everything between the tag's end and the next "[".
PUBLIC_SEARCH = re.compile(r"Search\](.*?)\[", re.DOTALL)


@QUICK
@given(st.lists(st.text("ab \n].-é", max_size=8), max_size=6), st.sampled_from(["[StopSearch]", "", "[Stop"]))
def test_bracket_mode_reads_what_the_public_expression_reads(arguments, end):
    text = "".join(f"[Search]{argument}" for argument in arguments) + end
    found, problems = parse_actions(text, "bracket")
    public = [argument.strip() for argument in PUBLIC_SEARCH.findall(text)]
    assert [a.argument for a in found if a.kind == "search"] == [argument for argument in public if argument]
    assert problems["argument_not_followed_by_bracket"] == bool(arguments and not end)


def test_bracket_mode_on_a_reply_of_the_released_checkpoints():
    read = read_reply("[Search] a[Search] b[StopSearch]", "search", argument_end="bracket")
    assert [a.argument for a in read.moves] == ["a", "b"]
    assert read.stop is StopReason.STOPPED
    cut = read_reply("[Search] a[Search] multi-agent [survey] c", "search", argument_end="bracket")
    assert [a.argument for a in cut.moves] == ["a", "multi-agent"]

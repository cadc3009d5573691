"""The Crawler's actions: text -> actions with character spans, and back.

    [Search] one query      [Expand] Section Name      [Stop] / [StopSearch] / [StopExpand]

Pure. What cannot be read is counted by kind in `ParsedReply.problems`, never dropped in silence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

Kind = Literal["search", "expand"]
ActionKind = Literal["search", "expand", "stop"]
# "tag": an argument runs to the next action or the end of its line. "bracket": to the next "[" whatever it opens, over
# line ends, and one that no "[" follows is lost, as in the public agent (PAPER.md).
ArgumentEnd = Literal["tag", "bracket"]

_TAG = re.compile(r"\[\s*(search|expand|stop(?:search|expand)?)\s*\]", re.IGNORECASE | re.ASCII)
_TAG_HEADS = ("search", "expand", "stopsearch", "stopexpand")
_STOP_TEXT: dict[Kind, str] = {"search": "[StopSearch]", "expand": "[StopExpand]"}


class StopReason(Enum):
    """Why a session ended."""

    STOPPED = "stopped"  # the model wrote a stop action
    LENGTH = "length"  # the reply ran into the token limit
    NO_STOP = "no_stop"  # the reply ended, with actions but without a stop
    NO_ACTION = "no_action"  # the reply holds no action at all
    OVER_LIMIT = "over_limit"  # the session's limit of actions was reached


@dataclass(frozen=True, slots=True)
class Action:
    """One action; `text[start:end]` of the reply is its tag and argument without trailing blanks."""

    kind: ActionKind
    argument: str  # search query or section name; "" for stop
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class ParsedReply:
    """A reply's usable actions in order, the stop last if there is one ("bracket" reads on behind it)."""

    actions: tuple[Action, ...]
    stop: StopReason
    problems: Counter[str] = field(default_factory=Counter)  # kind of malformation -> how often
    dropped: tuple[Action, ...] = ()  # written, and not carried out: repeated, too many, of no such section or kind

    @property
    def moves(self) -> tuple[Action, ...]:
        """The actions without the stop."""
        return tuple(a for a in self.actions if a.kind != "stop")


def parse_actions(text: str, argument_end: ArgumentEnd = "tag") -> tuple[list[Action], Counter[str]]:
    """Every action in `text`, in order, and what could not be read.

    Problems: `prose` (other text between actions), `unclosed_action` (a tag the reply broke off in),
    `empty_argument`, and for `bracket` `argument_not_followed_by_bracket`.
    """
    actions: list[Action] = []
    problems: Counter[str] = Counter()
    tags = list(_TAG.finditer(text))
    if text[: tags[0].start() if tags else len(text)].strip():
        problems["prose"] += 1
    for i, tag in enumerate(tags):
        limit = tags[i + 1].start() if i + 1 < len(tags) else len(text)
        word = tag.group(1).lower()
        if word.startswith("stop"):
            actions.append(Action("stop", "", tag.start(), tag.end()))
            problems["prose"] += bool(text[tag.end() : limit].strip())
            continue
        end, lost = _argument_end(text, tag.end(), limit, argument_end, problems)
        argument = text[tag.end() : end].strip()
        if lost:
            problems["argument_not_followed_by_bracket"] += 1
        elif not argument:
            problems["empty_argument"] += 1
        else:
            kind: ActionKind = "search" if word == "search" else "expand"
            actions.append(Action(kind, argument, tag.start(), tag.end() + len(text[tag.end() : end].rstrip())))
    return actions, +problems


def _argument_end(
    text: str, start: int, limit: int, argument_end: ArgumentEnd, problems: Counter[str]
) -> tuple[int, bool]:
    """Where the argument that begins at `start` ends, and whether it is lost."""
    if argument_end == "bracket":
        bracket = text.find("[", start)
        return (bracket, False) if bracket >= 0 else (limit, True)
    stretch = text[start:limit]
    bracket = stretch.rfind("[") if limit == len(text) else -1
    if bracket >= 0 and _is_tag_head(stretch[bracket + 1 :]):
        problems["unclosed_action"] += 1
        stretch = stretch[:bracket]
    lead = len(stretch) - len(stretch.lstrip())
    first_line = stretch[lead:].split("\n", 1)
    if len(first_line) == 2 and first_line[1].strip():
        problems["prose"] += 1
    return start + lead + len(first_line[0]), False


def _is_tag_head(after_bracket: str) -> bool:
    """Whether what follows the last "[" of a reply can be the beginning of an action's tag."""
    return any(tag.startswith(after_bracket.strip().lower()) for tag in _TAG_HEADS)


def read_reply(
    text: str,
    kind: Kind,
    max_actions: int | None = None,
    section_names: Sequence[str] = (),
    finish_reason: str = "stop",
    argument_end: ArgumentEnd = "tag",
    exact_sections: bool = False,
) -> ParsedReply:
    """The actions of one session's reply that can be carried out.

    `kind` says which actions count; `section_names` are those an expand session may name (matched exactly, else by
    letters and digits unless `exact_sections`, and given back as the paper writes them). Repeated arguments count
    once. Problems beside `parse_actions`': `wrong_kind`, `repeated`, `unknown_section`, `over_limit`, `no_action`.
    """
    found, problems = parse_actions(text, argument_end)
    sections = _SectionNames(section_names, exact_sections)
    kept: list[Action] = []
    dropped: list[Action] = []
    seen: set[str] = set()
    stop: StopReason | None = None
    for action in found:
        if action.kind == "stop":
            kept.append(action)
            stop = StopReason.STOPPED
            if argument_end == "tag":
                problems["after_stop"] += sum(a.start > action.start for a in found)
                break
            continue
        if action.kind != kind:
            problems["wrong_kind"] += 1
            dropped.append(action)
            continue
        argument = sections.find(action.argument) if kind == "expand" else action.argument
        if argument is None:
            problems["unknown_section"] += 1
        elif argument in seen:
            problems["repeated"] += 1
        elif max_actions is not None and len(seen) >= max_actions:
            problems["over_limit"] += 1
            stop = StopReason.OVER_LIMIT
        else:
            seen.add(argument)
            kept.append(Action(kind, argument, action.start, action.end))
            continue
        dropped.append(action)
    if stop is None:
        stop = _reason_without_stop(bool(seen), finish_reason)
    if not seen and stop is not StopReason.STOPPED:
        problems["no_action"] += 1
    return ParsedReply(tuple(kept), stop, +problems, tuple(dropped))


def _reason_without_stop(any_action: bool, finish_reason: str) -> StopReason:
    if finish_reason == "length":
        return StopReason.LENGTH
    return StopReason.NO_STOP if any_action else StopReason.NO_ACTION


class _SectionNames:
    """Finds the section a model named."""

    def __init__(self, names: Sequence[str], exact: bool) -> None:
        self._exact = set(names)
        self._loose = {} if exact else {self._letters(n): n for n in reversed(names)}
        self._loose.pop("", None)

    def find(self, name: str) -> str | None:
        if name in self._exact:
            return name
        return self._loose.get(self._letters(name))

    @staticmethod
    def _letters(name: str) -> str:
        return "".join(filter(str.isalnum, name)).casefold()


def render_actions(kind: Kind, arguments: Iterable[str], stop: bool = True) -> str:
    """The text of a session: one action a line, then the stop; what `read_reply` reads back."""
    tag = "[Search]" if kind == "search" else "[Expand]"
    lines = [f"{tag} {argument}" for argument in arguments]
    return "\n".join([*lines, _STOP_TEXT[kind]] if stop else lines)

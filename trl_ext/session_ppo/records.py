"""What rollouts hand to the maths: the sessions of one step on one device, as text and tokens, then as tensors.

Letters in shapes: S sessions, L tokens of the longest prompt with its reply, R tokens of the longest reply, N starts of
expand sessions, K pairs of an action and a start.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import torch

from pasa.actions import ActionKind, StopReason


@dataclass(frozen=True, slots=True)
class ActionReward:
    """One action of a session and what it earned; `reply[start:end]` is its tag and argument.

    `reward` is r(s, a) = alpha * matched - cost; 0 for a stop (PAPER.md, "Reward and return").
    """

    kind: ActionKind
    start: int
    end: int
    reward: float
    starts: tuple[int, ...] = ()  # places in StepSessions.starts: of each paper it put in the queue that has sections
    # for the log
    found: int = 0  # papers it led to, met before or not
    new: int = 0  # ... that entered the queue because of it
    matched: int = 0  # ... of the new, those that are an answer or that the Selector selects
    cost: float = 0.0
    is_carried_out: bool = True  # False: it repeats another, or is one too many; costs and leads to nothing


@dataclass(frozen=True, slots=True)
class PaperStart:
    """The state S_{q+p} in which an expand session on a paper begins; its value stands in for that session."""

    query_id: str
    paper_key: str
    prompt_ids: tuple[int, ...]  # as the policy reads them, chat template included


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One session as it was sampled."""

    kind: Literal["search", "expand"]
    query_id: str
    layer: int  # 0 = search, then 1, 2, ...
    prompt_ids: tuple[int, ...]
    reply_ids: tuple[int, ...]  # as sampled, with the end token where one was
    reply: str  # what the actions' spans count in: reply_ids without special tokens
    actions: tuple[ActionReward, ...]  # as written, in order; a stop included
    stop: StopReason
    start: int | None = None  # expand: its place in StepSessions.starts, whose value need not be computed again
    problems: Counter[str] = field(default_factory=Counter)  # ParsedReply.problems
    prompt: str = ""  # for reading only


@dataclass(frozen=True, slots=True)
class StepSessions:
    """One device's share of a step.

    `size` is the number of sessions that every device counts on, 4 + 6 + 6 in the paper; where fewer were had, the
    batch is filled with rows that count nowhere.
    """

    sessions: tuple[SessionRecord, ...]
    starts: tuple[PaperStart, ...]
    size: int


@dataclass(frozen=True, slots=True)
class SessionBatch:
    """The same as tensors. Rows are padded on the right: prompt, reply, padding.

    A row without a session (`is_session` False) holds one token, no reply, and changes nothing.
    """

    input_ids: torch.Tensor  # [S, L] int64
    attention_mask: torch.Tensor  # [S, L] int64, 1 = prompt or reply
    prompt_lengths: torch.Tensor  # [S] int64; the reply begins at this column
    reply_ids: torch.Tensor  # [S, R] int64, padded on the right
    reply_mask: torch.Tensor  # [S, R] bool, True = a token that was sampled
    is_session: torch.Tensor  # [S] bool
    rewards: torch.Tensor  # [S, R] float32, each action's r at the token that ended it
    later_session: torch.Tensor  # [K] int64, row of an action that found a paper ...
    later_token: torch.Tensor  # [K] int64, ... the column in the reply of the token that ended it ...
    later_start: torch.Tensor  # [K] int64, ... and the paper's place among the starts
    layer: torch.Tensor  # [S] int64, SessionRecord.layer; 0 without a session
    own_start: torch.Tensor  # [S] int64, the start that the row's session began in; -1 = none

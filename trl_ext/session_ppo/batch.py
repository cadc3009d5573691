"""Sessions -> tensors; and the stretches of a batch that go through a model together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

import torch
from torch.nn.utils.rnn import pad_sequence

from trl_ext.session_ppo.credit import Decode, ending_tokens
from trl_ext.session_ppo.records import SessionBatch, SessionRecord, StepSessions


def batch_of(step: StepSessions, decode: Decode, pad_id: int) -> SessionBatch:
    """The tensors of a device's sessions, `step.size` rows, those without a session last.

    `decode` gives the text of reply tokens without special ones. Raises ValueError for more sessions than rows, for a
    session without prompt or reply, for an action or a session that names a start which is not there, and for a start
    that is expanded before it is found.
    """
    sessions, missing = step.sessions, step.size - len(step.sessions)
    if missing < 0:
        raise ValueError(f"{len(sessions)} sessions in a step of {step.size}")
    for session in sessions:
        _check(session, len(step.starts))
    _check_layers(sessions)
    prompts = [list(s.prompt_ids) for s in sessions] + [[pad_id]] * missing
    replies = [list(s.reply_ids) for s in sessions] + [[]] * missing
    whole = [p + r for p, r in zip(prompts, replies, strict=True)]
    reply_ids = _padded(replies, pad_id)
    rewards, later = _credited(sessions, reply_ids.shape, decode)
    return SessionBatch(
        input_ids=_padded(whole, pad_id),
        attention_mask=_padded([[1] * len(row) for row in whole], 0),
        prompt_lengths=torch.tensor([len(p) for p in prompts], dtype=torch.long),
        reply_ids=reply_ids,
        reply_mask=_padded([[1] * len(r) for r in replies], 0).bool(),
        is_session=torch.tensor([True] * len(sessions) + [False] * missing, dtype=torch.bool),
        rewards=rewards,
        later_session=later[0],
        later_token=later[1],
        later_start=later[2],
        layer=torch.tensor([s.layer for s in sessions] + [0] * missing, dtype=torch.long),
        own_start=torch.tensor([-1 if s.start is None else s.start for s in sessions] + [-1] * missing),
    )


def _credited(
    sessions: Sequence[SessionRecord], shape: torch.Size, decode: Decode
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Rewards [S, R] at the tokens that ended their actions; row, token and start of each paper found, [K] each."""
    rewards = torch.zeros(shape)
    found: list[tuple[int, int, int]] = []
    for row, session in enumerate(sessions):
        ends = [action.end for action in session.actions]
        tokens = ending_tokens(session.reply_ids, session.reply, ends, decode)
        for action, token in zip(session.actions, tokens, strict=True):
            rewards[row, token] += action.reward
            found += [(row, token, start) for start in action.starts]
    return rewards, torch.tensor(found, dtype=torch.long).reshape(-1, 3).unbind(1)


def _check(session: SessionRecord, starts: int) -> None:
    where = f"{session.kind} session of query {session.query_id!r}"
    if not session.prompt_ids or not session.reply_ids:
        raise ValueError(f"{where} has no tokens of {'a reply' if session.prompt_ids else 'a prompt'}")
    named = [
        *(s for action in session.actions for s in action.starts),
        *([] if session.start is None else [session.start]),
    ]
    if any(not 0 <= start < starts for start in named):
        raise ValueError(f"{where} names a start that is not among {starts}")


def _check_layers(sessions: Sequence[SessionRecord]) -> None:
    """A paper is expanded in a later layer than it was found in: what is learnt of its finder waits for its value."""
    layer_of = {session.start: session.layer for session in sessions if session.start is not None}
    for session in sessions:
        for start in (start for action in session.actions for start in action.starts):
            if layer_of.get(start, session.layer + 1) <= session.layer:
                raise ValueError(f"start {start} is expanded in layer {layer_of[start]}, but found in {session.layer}")


def _padded(rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
    """[rows, longest] int64, `fill` behind the shorter ones; one column at least."""
    if not rows:
        return torch.zeros(0, 1, dtype=torch.long)
    padded = pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], batch_first=True, padding_value=fill)
    return padded if padded.shape[1] else torch.full((len(rows), 1), fill)


def starts_batch(starts: Sequence[Sequence[int]], pad_id: int) -> SessionBatch:
    """Prompts alone as rows whose one reply column stands for "the state before a reply": its value is the start's."""
    rows = [list(ids) for ids in starts]
    ids = _padded(rows, pad_id)
    one = torch.ones(len(rows), 1, dtype=torch.long)
    none = torch.zeros(0, dtype=torch.long)
    return SessionBatch(
        input_ids=ids,
        attention_mask=_padded([[1] * len(row) for row in rows], 0),
        prompt_lengths=torch.tensor([len(row) for row in rows], dtype=torch.long),
        reply_ids=one * pad_id,
        reply_mask=one.bool(),
        is_session=torch.ones(len(rows), dtype=torch.bool),
        rewards=torch.zeros(len(rows), 1),
        later_session=none,
        later_token=none,
        later_start=none,
        layer=torch.zeros(len(rows), dtype=torch.long),
        own_start=torch.full((len(rows),), -1),
    )


def to_device(batch: SessionBatch, device: torch.device | str) -> SessionBatch:
    """The batch with its tensors on `device`."""
    moved = {f.name: getattr(batch, f.name).to(device) for f in fields(SessionBatch)}
    return replace(batch, **moved)


def select_rows(batch: SessionBatch, rows: torch.Tensor) -> SessionBatch:
    """The given rows, without the columns that are padding in all of them; for going through a model.

    What is said of papers found is left out: it numbers the rows of the whole batch.
    """
    length = max(1, int(batch.attention_mask[rows].sum(1).max()))
    reply = max(1, int(batch.reply_mask[rows].sum(1).max()))
    none = batch.later_session[:0]
    return replace(
        batch,
        input_ids=batch.input_ids[rows, :length],
        attention_mask=batch.attention_mask[rows, :length],
        prompt_lengths=batch.prompt_lengths[rows],
        reply_ids=batch.reply_ids[rows, :reply],
        reply_mask=batch.reply_mask[rows, :reply],
        is_session=batch.is_session[rows],
        rewards=batch.rewards[rows, :reply],
        later_session=none,
        later_token=none,
        later_start=none,
        layer=batch.layer[rows],
        own_start=batch.own_start[rows],
    )


def without_sessions(batch: SessionBatch, rows: torch.Tensor) -> SessionBatch:
    """The batch without the sessions that [S] bool `rows` marks, and without what they earned and found."""
    if not bool(rows.any()):
        return batch
    one_token = torch.arange(batch.attention_mask.shape[1], device=rows.device) == 0
    kept = ~rows[batch.later_session]
    return replace(
        batch,
        attention_mask=torch.where(rows[:, None], one_token.long(), batch.attention_mask),
        prompt_lengths=batch.prompt_lengths.masked_fill(rows, 1),
        reply_mask=batch.reply_mask & ~rows[:, None],
        is_session=batch.is_session & ~rows,
        rewards=batch.rewards.masked_fill(rows[:, None], 0.0),
        later_session=batch.later_session[kept],
        later_token=batch.later_token[kept],
        later_start=batch.later_start[kept],
        layer=batch.layer.masked_fill(rows, 0),
        own_start=batch.own_start.masked_fill(rows, -1),
    )


def like_length_rows(batch: SessionBatch, size: int, among: torch.Tensor | None = None) -> Iterator[torch.Tensor]:
    """Row numbers, `size` at a time, longest first: little padding, and what does not fit fails at once.

    How many times it yields depends on the number of rows alone, so that devices which must pass through a model
    together do.
    """
    rows = torch.arange(len(batch.input_ids), device=batch.input_ids.device) if among is None else among
    lengths = batch.attention_mask[rows].sum(1)
    yield from rows[lengths.argsort(descending=True, stable=True)].split(size)


def deepest_first_rows(batch: SessionBatch, size: int) -> Iterator[torch.Tensor]:
    """Row numbers, `size` at a time: deep layers before those that led to them, in a layer the longest first.

    It yields as often as like_length_rows does.
    """
    lengths = batch.attention_mask.sum(1)
    order = (batch.layer * (lengths.max() + 1) + lengths) if len(lengths) else lengths
    yield from order.argsort(descending=True, stable=True).split(size)

"""What the models say of a step's sessions, and what is to be learnt from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trl_ext.session_ppo.advantages import whitened
from trl_ext.session_ppo.batch import like_length_rows, select_rows, starts_batch, to_device, without_sessions
from trl_ext.session_ppo.fitting import TOO_LARGE
from trl_ext.session_ppo.policy import EVERY_PART, Model, Part, arguments_of
from trl_ext.session_ppo.processes import Processes
from trl_ext.session_ppo.records import SessionBatch
from trl_ext.session_ppo.returns import advantages_and_returns, later_values, token_rewards
from trl_ext.session_ppo.settings import PpoSettings


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the models say of sessions before anything is learnt from them; [S, R] float32, no gradient.

    `too_large` [S] bool: sessions that did not fit into memory, so that nothing is known of them (fitting.py).
    """

    log_probs: torch.Tensor
    entropy: torch.Tensor
    reference_log_probs: torch.Tensor
    values: torch.Tensor
    too_large: torch.Tensor


@dataclass(frozen=True, slots=True)
class Targets:
    """What is learnt; [S, R]."""

    advantages: torch.Tensor
    returns: torch.Tensor


def evaluate_alone(
    model: Model,
    batch: SessionBatch,
    starts: Sequence[Sequence[int]],
    settings: PpoSettings,
    kl_coefficient: float,
    processes: Processes,
) -> tuple[Evaluation, Targets, torch.Tensor]:
    """All that is learnt from, before anything is: evaluation, targets, and the starts' values [N].

    What is too large is learnt nothing of: its targets are zeros. Epochs.first says the same while it learns, where
    that can be.
    """
    before = evaluate(model, batch, settings.evaluation_batch)
    batch = without_sessions(batch, before.too_large)
    found = before.values.new_zeros(len(starts))
    if settings.gamma1:
        known = known_start_values(batch, before.values, len(starts))
        found = start_values(model, starts, known, settings.evaluation_batch)
    return before, targets_of(batch, before, found, settings, kl_coefficient, processes), found


@torch.no_grad()
def evaluate(model: Model, batch: SessionBatch, rows_at_once: int, parts: tuple[Part, ...] = EVERY_PART) -> Evaluation:
    """What `parts` say of every row of `batch`; zeros for what the others would."""
    empty = torch.zeros(batch.reply_mask.shape, device=batch.input_ids.device)
    said = {name: empty.clone() for name in ("log_probs", "entropy", "reference_log_probs", "values")}
    too_large = torch.zeros_like(batch.is_session)
    for together in model.passes(parts):
        fits = without_sessions(batch, too_large)
        with model.whole(together):
            for rows in like_length_rows(fits, rows_at_once):
                told = model(**arguments_of(select_rows(fits, rows)), parts=together)
                too_large[rows] |= told.pop(TOO_LARGE, too_large[rows])
                for name, values in told.items():
                    said[name][rows, : values.shape[1]] = values
    return Evaluation(**said, too_large=too_large)


def known_start_values(batch: SessionBatch, values: torch.Tensor, count: int) -> torch.Tensor:
    """[count]: the starts' values where one of the batch's own sessions began there, nan elsewhere.

    A session's value before its first token is that of the state it begins in.
    """
    return with_own_starts(batch, values, values.new_full((count,), torch.nan))


def with_own_starts(batch: SessionBatch, values: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """`found` [N], the starts' values, with those that sessions of the batch began in taken from `values` [S, R]."""
    own = (batch.own_start >= 0) & batch.reply_mask[:, 0]
    filled = found.clone()
    filled[batch.own_start[own]] = values[own, 0]
    return filled


@torch.no_grad()
def start_values(model: Model, starts: Sequence[Sequence[int]], known: torch.Tensor, rows_at_once: int) -> torch.Tensor:
    """[N]: the value of each of `starts`; computed where `known` [N] is nan, 0 where that does not fit into memory."""
    values = known.clone()
    missing = known.isnan().nonzero().flatten().tolist()
    missing.sort(key=lambda i: (-len(starts[i]), i))
    with model.whole(("value",)):
        for chosen in (missing[at : at + rows_at_once] for at in range(0, len(missing), rows_at_once)):
            some = to_device(starts_batch([starts[i] for i in chosen], 0), known.device)
            values[chosen] = model(**arguments_of(some), parts=("value",))["values"][:, 0].to(values.dtype)
    return values


def targets_of(
    batch: SessionBatch,
    before: Evaluation,
    found: torch.Tensor,
    settings: PpoSettings,
    kl_coefficient: float,
    processes: Processes,
) -> Targets:
    """Advantages and returns of every token; `found` [N]: the values of the starts."""
    earned = token_rewards(
        batch.rewards,
        later_values(batch, found),
        before.log_probs - before.reference_log_probs,
        batch.reply_mask,
        settings.gamma1,
        kl_coefficient,
    )
    advantages, returns = advantages_and_returns(earned, before.values, batch.reply_mask, settings.gamma0, settings.lam)
    if settings.whiten:
        advantages = whitened(advantages, batch.reply_mask, processes)
    return Targets(advantages, returns)

"""One PPO step: sessions with rewards -> the policy a little better, and the numbers to log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trl_ext.session_ppo.batch import to_device
from trl_ext.session_ppo.epochs import Epochs, can_evaluate_as_it_learns
from trl_ext.session_ppo.evaluation import evaluate_alone
from trl_ext.session_ppo.kl import next_kl_coefficient
from trl_ext.session_ppo.learner import Learner
from trl_ext.session_ppo.metrics import spread_metrics
from trl_ext.session_ppo.policy import Model
from trl_ext.session_ppo.processes import Processes
from trl_ext.session_ppo.records import SessionBatch
from trl_ext.session_ppo.settings import PpoSettings


@dataclass(frozen=True, slots=True)
class PpoState:
    """What one step leaves to the next; part of a checkpoint."""

    step: int
    kl_coefficient: float


def first_state(settings: PpoSettings) -> PpoState:
    return PpoState(0, settings.kl_coefficient)


def ppo_step(
    batch: SessionBatch,
    starts: Sequence[Sequence[int]],
    model: Model,
    learner: Learner,
    settings: PpoSettings,
    state: PpoState,
    processes: Processes,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> tuple[dict[str, float], PpoState]:
    """Learns from one device's sessions; metrics over all processes (metrics.py) and the following step's state.

    `starts`: the prompts of the papers found, as `batch` numbers them. Every process keeps gradients in the same number
    of passes through `model`, whatever its sessions, if all have as many rows. `seed` decides which sessions share a
    mini-batch.
    """
    batch = to_device(batch, device)
    epochs = Epochs(batch, model, learner, settings, _is_frozen(state, settings), processes, seed + state.step)
    # 1. what policy, reference and value say of the sessions as they were sampled, the value of the expand session of
    # each paper found, returns and advantages; while the first epoch learns from them, where it can
    if can_evaluate_as_it_learns(settings) and epochs.has_session():
        before, targets, found = epochs.first(starts, state.kl_coefficient)
    else:
        before, targets, found = evaluate_alone(model, batch, starts, settings, state.kl_coefficient, processes)
        epochs.leave_out(before.too_large)
    metrics = spread_metrics(epochs.batch, before, targets, found, processes)
    metrics["kl_coefficient"] = state.kl_coefficient
    # 2. the epochs that are left
    if epochs.has_session():
        metrics |= epochs.rest(before, targets)
    # 3. where the next step begins
    coefficient = state.kl_coefficient
    if not _is_frozen(state, settings):  # a policy that does not learn says nothing about its penalty
        coefficient = next_kl_coefficient(coefficient, metrics["kl_reference"], int(metrics["sessions"]), settings)
    return metrics, PpoState(state.step + 1, coefficient)


def _is_frozen(state: PpoState, settings: PpoSettings) -> bool:
    """Whether the value alone learns in the step that follows `state`."""
    return state.step < settings.value_warmup_steps

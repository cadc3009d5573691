"""One PPO step: sessions with rewards -> the policy a little better, and the numbers to log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from trl_ext.session_ppo.advantages import whitened
from trl_ext.session_ppo.batch import like_length_rows, select_rows, starts_batch, to_device
from trl_ext.session_ppo.kl import moved_too_far, next_kl_coefficient
from trl_ext.session_ppo.learner import Learner
from trl_ext.session_ppo.losses import approximate_kl, policy_loss, token_weights, value_loss
from trl_ext.session_ppo.metrics import spread_metrics
from trl_ext.session_ppo.policy import Part, arguments_of
from trl_ext.session_ppo.processes import Processes
from trl_ext.session_ppo.records import SessionBatch
from trl_ext.session_ppo.returns import advantages_and_returns, later_values, token_rewards
from trl_ext.session_ppo.settings import PpoSettings

Model = Callable[..., dict[str, torch.Tensor]]  # SessionPolicy, or what an engine wraps it in


@dataclass(frozen=True, slots=True)
class PpoState:
    """What one step leaves to the next; part of a checkpoint."""

    step: int
    kl_coefficient: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the models say of sessions before anything is learnt from them; [S, R] float32, no gradient."""

    log_probs: torch.Tensor
    entropy: torch.Tensor
    reference_log_probs: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True, slots=True)
class Targets:
    """What is learnt; [S, R]."""

    advantages: torch.Tensor
    returns: torch.Tensor


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

    `starts`: the prompts of the papers found, as `batch` numbers them. Every process passes through `model` the same
    number of times, whatever its sessions, if all have as many rows. `seed` decides which sessions share a mini-batch.
    """
    batch = to_device(batch, device)
    # 1. what policy, reference and value say of the sessions as they were sampled
    before = evaluate(model, batch, settings.evaluation_batch)
    # 2. the value of the expand session of each paper found; passes of its own, so only where it counts
    found = before.values.new_zeros(len(starts))
    if settings.gamma1:
        known = known_start_values(batch, before.values, len(starts))
        found = start_values(model, starts, known, settings.evaluation_batch, processes)
    # 3. returns and advantages
    targets = targets_of(batch, before, found, settings, state.kl_coefficient, processes)
    metrics = spread_metrics(batch, before, targets, found, processes)
    metrics["kl_coefficient"] = state.kl_coefficient
    # 4. epochs over the sessions, if any process has one: an optimizer moves weights even where gradients are 0
    if metrics["sessions"]:
        metrics |= _learn(batch, before, targets, model, learner, settings, state, processes, seed)
    # 5. where the next step begins
    coefficient = state.kl_coefficient
    if not _is_frozen(state, settings):  # a policy that does not learn says nothing about its penalty
        coefficient = next_kl_coefficient(coefficient, metrics["kl_reference"], int(metrics["sessions"]), settings)
    return metrics, PpoState(state.step + 1, coefficient)


def _is_frozen(state: PpoState, settings: PpoSettings) -> bool:
    """Whether the value alone learns in the step that follows `state`."""
    return state.step < settings.value_warmup_steps


@torch.no_grad()
def evaluate(model: Model, batch: SessionBatch, rows_at_once: int) -> Evaluation:
    """What the models say of every row of `batch`."""
    parts: tuple[Part, ...] = ("policy", "reference", "value")
    empty = torch.zeros(batch.reply_mask.shape, device=batch.input_ids.device)
    said = {name: empty.clone() for name in ("log_probs", "entropy", "reference_log_probs", "values")}
    for rows in like_length_rows(batch, rows_at_once):
        some = select_rows(batch, rows)
        for name, values in model(**arguments_of(some), parts=parts).items():
            said[name][rows, : values.shape[1]] = values
    return Evaluation(**said)


def known_start_values(batch: SessionBatch, values: torch.Tensor, count: int) -> torch.Tensor:
    """[count]: the starts' values where one of the batch's own sessions began there, nan elsewhere.

    A session's value before its first token is that of the state it begins in.
    """
    known = values.new_full((count,), torch.nan)
    own = (batch.own_start >= 0) & batch.reply_mask[:, 0]
    known[batch.own_start[own]] = values[own, 0]
    return known


@torch.no_grad()
def start_values(
    model: Model, starts: Sequence[Sequence[int]], known: torch.Tensor, rows_at_once: int, processes: Processes
) -> torch.Tensor:
    """[N]: the value of each of `starts`; computed where `known` [N] is nan."""
    values = known.clone()
    missing = known.isnan().nonzero().flatten().tolist()
    missing.sort(key=lambda i: (-len(starts[i]), i))
    passes = processes.most(-(-len(missing) // rows_at_once))
    for turn in range(passes):
        chosen = missing[turn * rows_at_once : (turn + 1) * rows_at_once]
        prompts = [starts[i] for i in chosen] or [[0]]  # others are not done yet: pass through with them
        some = to_device(starts_batch(prompts, 0), known.device)
        said = model(**arguments_of(some), parts=("value",))["values"][:, 0]
        if chosen:
            values[chosen] = said.to(values.dtype)
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


def _learn(
    batch: SessionBatch,
    before: Evaluation,
    targets: Targets,
    model: Model,
    learner: Learner,
    settings: PpoSettings,
    state: PpoState,
    processes: Processes,
    seed: int,
) -> dict[str, float]:
    """The epochs; the losses' parts, means over the optimizer steps taken."""
    generator = torch.Generator().manual_seed(seed + state.step)
    frozen = _is_frozen(state, settings)
    sums: list[torch.Tensor] = []
    norms: list[float] = []
    epochs = 0
    for _ in range(settings.epochs):
        if epochs and _moved_too_far(batch, before, model, settings, processes):
            break
        epochs += 1
        for rows in _mini_batches(len(batch.input_ids), settings.mini_batches, generator, batch.input_ids.device):
            parts = _mini_batch(batch, before, targets, rows, model, learner, settings, frozen, processes)
            sums.append(processes.sum(parts))
            norms.append(learner.step())
    means = torch.stack(sums).mean(0).tolist()
    logged = dict(zip(_PARTS, means, strict=True))
    loss = (0.0 if frozen else logged["policy_loss"]) + settings.value_weight * logged["value_loss"]
    return logged | {"loss": loss, "gradient_norm": sum(norms) / len(norms), "epochs": epochs}


@torch.no_grad()
def _moved_too_far(
    batch: SessionBatch, before: Evaluation, model: Model, settings: PpoSettings, processes: Processes
) -> bool:
    """Whether the sessions have taught what they can: the policy has left the one that sampled them (`stop_kl`)."""
    if settings.stop_kl is None:
        return False
    weights = token_weights(batch.reply_mask, settings.normalization, processes)
    kl = weights.new_zeros(1)
    for rows in like_length_rows(batch, settings.evaluation_batch):
        some = select_rows(batch, rows)
        log_probs = model(**arguments_of(some), parts=("policy",))["log_probs"]
        width = log_probs.shape[1]
        kl += approximate_kl(log_probs - before.log_probs[rows, :width], weights[rows, :width])
    return moved_too_far(float(processes.sum(kl)), settings)


_PARTS = ("policy_loss", "value_loss", "clip_fraction", "value_clip_fraction", "kl_step")


def _mini_batches(rows: int, count: int, generator: torch.Generator, device: torch.device) -> Sequence[torch.Tensor]:
    """Row numbers of each mini-batch, a random split of all rows into `count` (fewer where there are not so many)."""
    order = torch.randperm(rows, generator=generator) if count > 1 else torch.arange(rows)
    return order.to(device).tensor_split(min(count, rows))


def _mini_batch(
    batch: SessionBatch,
    before: Evaluation,
    targets: Targets,
    rows: torch.Tensor,
    model: Model,
    learner: Learner,
    settings: PpoSettings,
    frozen: bool,
    processes: Processes,
) -> torch.Tensor:
    """Gathers the gradient of the mini-batch of `rows`; this process's part of _PARTS."""
    weights = torch.zeros_like(before.values)
    weights[rows] = token_weights(batch.reply_mask[rows], settings.normalization, processes)
    stretches = list(like_length_rows(batch, settings.forward_batch, rows))
    # One process need compute nothing for a frozen policy; of several, sharded engines want every weight's gradient.
    parts: tuple[Part, ...] = ("value",) if frozen and processes.count == 1 else ("policy", "value")
    total = weights.new_zeros(len(_PARTS))
    for i, some_rows in enumerate(stretches):
        some = select_rows(batch, some_rows)
        width = some.reply_mask.shape[1]

        def cut(values: torch.Tensor, rows: torch.Tensor = some_rows, width: int = width) -> torch.Tensor:
            return values[rows, :width]

        said = model(**arguments_of(some), parts=parts, detach_value=frozen)
        v = value_loss(
            said["values"], cut(before.values), cut(targets.returns), cut(weights), settings.value_clip_range
        )
        p = policy_loss(
            said.get("log_probs", cut(before.log_probs)),
            cut(before.log_probs),
            cut(targets.advantages),
            cut(weights),
            settings.clip_range,
        )
        loss = (0.0 if frozen else 1.0) * p.loss + settings.value_weight * v.loss
        learner.backward(loss * processes.count, last=i == len(stretches) - 1)  # engines average over processes
        logged = torch.stack([p.loss, v.loss, p.clip_fraction, v.clip_fraction, p.kl]).detach()
        total += logged
    return total

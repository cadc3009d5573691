"""The epochs of a step: gradients of what its sessions teach, and the moves of the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch

from trl_ext.session_ppo.batch import deepest_first_rows, like_length_rows, select_rows, without_sessions
from trl_ext.session_ppo.evaluation import (
    Evaluation,
    Targets,
    evaluate,
    known_start_values,
    start_values,
    targets_of,
    with_own_starts,
)
from trl_ext.session_ppo.kl import moved_too_far
from trl_ext.session_ppo.learner import Learner
from trl_ext.session_ppo.losses import approximate_kl, policy_loss, token_weights, value_loss
from trl_ext.session_ppo.policy import EVERY_PART, Model, Part, arguments_of
from trl_ext.session_ppo.processes import Processes
from trl_ext.session_ppo.records import SessionBatch
from trl_ext.session_ppo.settings import PpoSettings

_LOGGED = ("policy_loss", "value_loss", "clip_fraction", "value_clip_fraction", "kl_step")
Lesson = Callable[[torch.Tensor, dict[str, torch.Tensor]], tuple[Evaluation, Targets]]


def can_evaluate_as_it_learns(settings: PpoSettings) -> bool:
    """Whether Epochs.first may begin a step: an epoch is one mini-batch, and no advantage waits for every session."""
    return settings.mini_batches == 1 and not settings.whiten


class Epochs:
    """The epochs over one device's sessions. Every process goes through the same methods in the same order."""

    def __init__(
        self,
        batch: SessionBatch,
        model: Model,
        learner: Learner,
        settings: PpoSettings,
        is_frozen: bool,
        processes: Processes,
        seed: int,
    ) -> None:
        """`is_frozen`: the value alone learns. `seed` decides which sessions share a mini-batch."""
        self.batch = batch  # what is learnt from
        self._model, self._learner, self._settings = model, learner, settings
        self._is_frozen, self._processes = is_frozen, processes
        self._generator = torch.Generator().manual_seed(seed)
        self._sums: list[torch.Tensor] = []
        self._norms: list[float] = []
        self._done = 0
        # One process computes nothing for a frozen policy; of several, sharded engines want every weight's gradient.
        alone = is_frozen and processes.count == 1
        self._learning: tuple[Part, ...] = ("value",) if alone else ("policy", "value")

    def has_session(self, rows: torch.Tensor | None = None) -> bool:
        """Whether any process learns from a session (of its `rows`): optimizers move weights by gradients of 0, too."""
        mask = self.batch.reply_mask if rows is None else self.batch.reply_mask[rows]
        return bool(self._processes.sum(mask.any().float()))

    def leave_out(self, rows: torch.Tensor) -> None:
        """Nothing is learnt from the sessions that [S] bool `rows` marks."""
        self.batch = without_sessions(self.batch, rows)

    def first(self, starts: Sequence[Sequence[int]], kl_coefficient: float) -> tuple[Evaluation, Targets, torch.Tensor]:
        """An epoch that evaluates as it learns; what it found: evaluation, targets, and the starts' values [N].

        No weight moves before its end, so each session's one pass with gradients also tells its log-probabilities and
        values as it was sampled. Sessions on papers found come before those that found them, whose returns count
        their values.
        """
        settings = self._settings
        # The reference in the policy's own passes, or rounding would make a difference of the two where there is none.
        apart: tuple[Part, ...] = () if "policy" in self._learning else ("policy", "reference")
        before = evaluate(self._model, self.batch, settings.evaluation_batch, apart)
        self.leave_out(before.too_large)
        batch = self.batch
        targets = Targets(torch.zeros_like(before.values), torch.zeros_like(before.values))
        found = before.values.new_zeros(len(starts))
        if settings.gamma1:
            own = known_start_values(batch, before.values, len(starts))  # not nan: the sessions will tell
            found = start_values(self._model, starts, own, settings.evaluation_batch)

        def lesson(rows: torch.Tensor, said: dict[str, torch.Tensor]) -> tuple[Evaluation, Targets]:
            for name, values in said.items():
                getattr(before, name)[rows, : values.shape[1]] = values.detach()
            if settings.gamma1:
                found.copy_(with_own_starts(batch, before.values, found))
            now = targets_of(batch, before, found, settings, kl_coefficient, self._processes)
            for name in ("advantages", "returns"):
                getattr(targets, name)[rows] = getattr(now, name)[rows]
            return before, targets

        every = torch.arange(len(batch.input_ids), device=batch.input_ids.device)
        at_once: tuple[Part, ...] = tuple(part for part in EVERY_PART if part not in apart)
        if self.has_session():
            self._optimizer_step(every, deepest_first_rows(batch, settings.forward_batch), at_once, lesson)
        self._done += 1
        return before, targets, found

    def rest(self, before: Evaluation, targets: Targets) -> dict[str, float]:
        """The epochs that are left; what is logged of the losses, means over the optimizer steps of all epochs."""
        batch, settings = self.batch, self._settings
        while self._done < settings.epochs and not (self._done and self._moved_too_far(before)):
            for rows in self._mini_batches():
                if not self.has_session(rows):
                    continue
                stretches = like_length_rows(batch, settings.forward_batch, rows)
                self._optimizer_step(rows, stretches, self._learning, lambda *_: (before, targets))
            self._done += 1
        logged = dict(zip(_LOGGED, torch.stack(self._sums).mean(0).tolist(), strict=True))
        loss = (0.0 if self._is_frozen else logged["policy_loss"]) + settings.value_weight * logged["value_loss"]
        norm = sum(self._norms) / len(self._norms)
        return logged | {"loss": loss, "gradient_norm": norm, "epochs": self._done}

    @torch.no_grad()
    def _moved_too_far(self, before: Evaluation) -> bool:
        """Whether the sessions have taught what they can: the policy has left the one that sampled them (`stop_kl`)."""
        batch, settings = self.batch, self._settings
        if settings.stop_kl is None:
            return False
        now = evaluate(self._model, batch, settings.evaluation_batch, ("policy",))
        known = batch.reply_mask & ~now.too_large[:, None]
        weights = token_weights(known, settings.normalization, self._processes)
        difference = (now.log_probs - before.log_probs).masked_fill(~known, 0.0)
        kl = approximate_kl(difference, weights)
        return moved_too_far(float(self._processes.sum(kl)), settings)

    def _mini_batches(self) -> Sequence[torch.Tensor]:
        """Row numbers of each mini-batch, a random split of all rows (into fewer where there are not so many)."""
        rows, count = len(self.batch.input_ids), self._settings.mini_batches
        order = torch.randperm(rows, generator=self._generator) if count > 1 else torch.arange(rows)
        return order.to(self.batch.input_ids.device).tensor_split(min(count, rows))

    def _optimizer_step(
        self, rows: torch.Tensor, stretches: Iterable[torch.Tensor], parts: tuple[Part, ...], lesson: Lesson
    ) -> None:
        """Gathers the gradient of the mini-batch of `rows`, a stretch of them at a time, and moves the weights.

        `parts`: what the model is asked for. `lesson` gives what to learn of a stretch, from its rows and what the
        model says of them now.
        """
        batch, settings, frozen = self.batch, self._settings, self._is_frozen
        weights = torch.zeros_like(batch.rewards)
        weights[rows] = token_weights(batch.reply_mask[rows], settings.normalization, self._processes)
        total = weights.new_zeros(len(_LOGGED))
        stretches = list(stretches)
        for i, some_rows in enumerate(stretches):
            some = select_rows(batch, some_rows)
            width = some.reply_mask.shape[1]

            def cut(values: torch.Tensor, rows: torch.Tensor = some_rows, width: int = width) -> torch.Tensor:
                return values[rows, :width]

            said = self._model(**arguments_of(some), parts=parts, detach_value=frozen)
            before, targets = lesson(some_rows, said)
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
            self._learner.backward(loss * self._processes.count, last=i == len(stretches) - 1)  # engines average
            total += torch.stack([p.loss, v.loss, p.clip_fraction, v.clip_fraction, p.kl]).detach()
        self._sums.append(self._processes.sum(total))
        self._norms.append(self._learner.step())

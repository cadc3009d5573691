"""A gradient step behind one small interface, for one process, DDP and DeepSpeed alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

if TYPE_CHECKING:
    from accelerate import Accelerator


class Learner(Protocol):
    """Gathers gradients of several losses, then moves the weights."""

    def backward(self, loss: torch.Tensor, last: bool) -> None:
        """Adds the gradient of `loss`; `last`: `step` follows."""
        ...

    def step(self) -> float:
        """Moves the weights by what was gathered and forgets it; the gradient's norm before clipping."""
        ...

    def forget(self) -> None:
        """Forgets what was gathered."""
        ...


class PlainLearner:
    """One process and an optimizer."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, max_grad_norm: float) -> None:
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._optimizer = optimizer
        self._max_grad_norm = max_grad_norm

    def backward(self, loss: torch.Tensor, last: bool) -> None:
        loss.backward()

    def step(self) -> float:
        fill_gradients(self._parameters)
        norm = nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm)
        self._optimizer.step()
        self.forget()
        return float(norm)

    def forget(self) -> None:
        self._optimizer.zero_grad()


class AcceleratorLearner:
    """What accelerator.prepare gave for model and optimizer.

    The accelerator must have gradient_accumulation_steps 1: how many backward passes make a step is said by `last`.
    DeepSpeed clips by its own `gradient_clipping`.
    """

    def __init__(self, accelerator: Accelerator, model: Any, optimizer: Any, max_grad_norm: float) -> None:
        self._accelerator = accelerator
        self._model = model
        self._optimizer = optimizer
        self._max_grad_norm = max_grad_norm
        self._is_deepspeed = accelerator.distributed_type.value == "DEEPSPEED"

    def backward(self, loss: torch.Tensor, last: bool) -> None:
        self._accelerator.sync_gradients = last  # DeepSpeed steps within the last backward pass
        self._accelerator.backward(loss)

    def step(self) -> float:
        if self._is_deepspeed:
            return float(self._model.get_global_grad_norm() or 0.0)
        fill_gradients(self._model.parameters())
        norm = self._accelerator.clip_grad_norm_(self._model.parameters(), self._max_grad_norm)
        self._optimizer.step()
        self.forget()
        return float(norm) if norm is not None else 0.0

    def forget(self) -> None:
        """Not for DeepSpeed, whose engine holds gradients of its own."""
        for parameter in self._model.parameters():  # accelerate's optimizer forgets nothing between two `last`
            parameter.grad = None


def fill_gradients(parameters: Any) -> None:
    """Zero gradients where a pass gave none, so that an optimizer counts the step there as sharded ones do.

    While the policy is frozen nothing is computed for it in one process, but DeepSpeed keeps one flat buffer for all.
    """
    for parameter in parameters:
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)

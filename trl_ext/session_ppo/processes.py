"""Sums over all processes that train together, behind one small interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from accelerate import Accelerator


class Processes(Protocol):
    """The processes that share a step. Each calls the same methods in the same order."""

    count: int

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The elementwise sum over processes."""
        ...


class SingleProcess:
    """A process alone."""

    count = 1

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        return values


class AcceleratorProcesses:
    """The processes of an Accelerator."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.count = int(accelerator.num_processes)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        reduced = self._accelerator.reduce(values.to(self._accelerator.device), reduction="sum")
        return reduced.to(values.device)

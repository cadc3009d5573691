"""Whitened advantages: mean 0 and variance 1 over every token of the step, on all devices together."""

from __future__ import annotations

import torch

from trl_ext.session_ppo.processes import Processes

_LEAST_VARIANCE = 1e-8  # below it advantages are all alike and stay near 0


def whitened(advantages: torch.Tensor, mask: torch.Tensor, processes: Processes) -> torch.Tensor:
    """`advantages` [S, R] with mean 0 and variance 1 over the tokens of `mask` of all processes; 0 elsewhere."""
    kept = advantages.double()[mask]
    count, total = processes.sum(torch.stack([kept.new_tensor(len(kept)), kept.sum()]))
    mean = total / count.clamp(min=1)
    variance = processes.sum(((kept - mean) ** 2).sum()) / count.clamp(min=1)
    white = (advantages.double() - mean) * torch.rsqrt(variance + _LEAST_VARIANCE)
    return white.masked_fill(~mask, 0.0).to(advantages.dtype)

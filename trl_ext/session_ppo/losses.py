"""PPO's clipped losses. Shapes [B, R] unless said; `weights` say how much each token counts, 1 in all over a step."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trl_ext.session_ppo.processes import Processes
from trl_ext.session_ppo.settings import Normalization


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """Weighted sums, scalars; all but `loss` without gradient."""

    loss: torch.Tensor
    clip_fraction: torch.Tensor  # share of tokens whose ratio the clip holds back
    kl: torch.Tensor  # old || new, nats a token, estimated without bias and never below 0


@dataclass(frozen=True, slots=True)
class ValueLoss:
    """Weighted sums, scalars; `clip_fraction` without gradient."""

    loss: torch.Tensor
    clip_fraction: torch.Tensor


def token_weights(mask: torch.Tensor, normalization: Normalization, processes: Processes) -> torch.Tensor:
    """How much each sampled token of `mask` [S, R] counts; 1 in all, over all processes.

    "tokens": every token the same, so long sessions weigh more. "sessions": every session the same, its tokens sharing
    its part. Rows without tokens weigh nothing, whichever process has them.
    """
    counts = mask.sum(1, keepdim=True)  # [S, 1]
    units = counts.sum() if normalization == "tokens" else (counts > 0).sum()
    total = processes.sum(units.float()).clamp(min=1)
    share = mask.float() if normalization == "tokens" else mask / counts.clamp(min=1)
    return share / total


def policy_loss(
    log_probs: torch.Tensor,
    old_log_probs: torch.Tensor,
    advantages: torch.Tensor,
    weights: torch.Tensor,
    clip_range: float,
) -> PolicyLoss:
    """-sum of weights * min(ratio * A, clip(ratio) * A), ratio = pi / pi_old (Schulman et al., arXiv 1707.06347)."""
    difference = (log_probs - old_log_probs).masked_fill(weights == 0, 0.0)
    ratio = difference.exp()
    free = ratio * advantages
    held = ratio.clamp(1 - clip_range, 1 + clip_range) * advantages
    with torch.no_grad():
        clipped = (weights * (held < free)).sum()
        kl = approximate_kl(difference, weights)
    return PolicyLoss(-(weights * torch.minimum(free, held)).sum(), clipped, kl)


def approximate_kl(difference: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """KL(old || new), a scalar in nats a token, from `difference` = log new - log old of tokens that old sampled.

    The mean of ratio - 1 - log ratio, which is without bias and never below 0 (Schulman, "Approximating KL
    Divergence", 2020, k3).
    """
    return (weights * (difference.exp() - 1 - difference)).sum()


def value_loss(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, weights: torch.Tensor, clip_range: float
) -> ValueLoss:
    """Sum of weights * max((R - V)^2, (R - clip(V, V_old +- clip_range))^2) (PAPER.md)."""
    near = old_values + (values - old_values).clamp(-clip_range, clip_range)
    free, held = (returns - values) ** 2, (returns - near) ** 2
    with torch.no_grad():
        clipped = (weights * (held > free)).sum()
    return ValueLoss((weights * torch.maximum(free, held)).sum(), clipped)

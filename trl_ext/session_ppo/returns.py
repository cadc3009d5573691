"""Rewards of tokens -> returns and advantages. Shapes [S, R]; what stands behind a reply is 0.

R_t = sum_{k >= t} gamma0^(k - t) * [ r_k + gamma1 * sum_j V(S_{q + p_j}) - beta * log(pi / pi_sft)_k ]   (PAPER.md)
A_t = R_t - V(s_t)
"""

from __future__ import annotations

import torch

from trl_ext.session_ppo.records import SessionBatch


def later_values(batch: SessionBatch, start_values: torch.Tensor) -> torch.Tensor:
    """[S, R]: at the token that ended an action, the sum of `start_values` [N] of the papers it put in the queue."""
    summed = torch.zeros_like(batch.rewards)
    places = (batch.later_session, batch.later_token)
    return summed.index_put_(places, start_values[batch.later_start].to(summed.dtype), accumulate=True)


def token_rewards(
    rewards: torch.Tensor,
    later: torch.Tensor,
    log_ratio: torch.Tensor,
    mask: torch.Tensor,
    gamma1: float,
    kl_coefficient: float,
) -> torch.Tensor:
    """What each token earns: r + gamma1 * later - beta * log(pi / pi_sft), the last being `log_ratio`. All [S, R]."""
    return (rewards + gamma1 * later - kl_coefficient * log_ratio).masked_fill(~mask, 0.0)


def discounted_sums(values: torch.Tensor, discount: float) -> torch.Tensor:
    """[S, R]: at t the sum over k >= t of discount^(k - t) * values_k."""
    sums = torch.zeros_like(values)
    running = torch.zeros_like(values[:, 0])
    for t in range(values.shape[1] - 1, -1, -1):
        running = values[:, t] + discount * running
        sums[:, t] = running
    return sums


def advantages_and_returns(
    earned: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma0: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages and the returns that the value learns, [S, R] each, from what tokens earned and `values` before them.

    `lam` 1 is the paper's Monte Carlo: R as above, A = R - V. Below 1 it is GAE (Schulman et al., arXiv 1506.02438),
    A = sum of (gamma0 * lam)^(k - t) * (earned_k + gamma0 * V_{k+1} - V_k), and the return is A + V. Nothing follows a
    session's last token.
    """
    values = values.masked_fill(~mask, 0.0)
    if lam == 1.0:  # exactly, where the telescoped sum would be so but for rounding
        returns = discounted_sums(earned, gamma0)
        return (returns - values).masked_fill(~mask, 0.0), returns.masked_fill(~mask, 0.0)
    after = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    errors = (earned + gamma0 * after - values).masked_fill(~mask, 0.0)
    advantages = discounted_sums(errors, gamma0 * lam)
    return advantages, (advantages + values).masked_fill(~mask, 0.0)

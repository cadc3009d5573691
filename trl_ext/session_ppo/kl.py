"""How strongly leaving the reference policy is punished, and when a step has moved the policy far enough."""

from __future__ import annotations

from trl_ext.session_ppo.settings import PpoSettings

# The most by which one step's error counts: Ziegler et al., arXiv 1909.08593, section 2.2.
_MOST_ERROR = 0.2


def next_kl_coefficient(coefficient: float, kl_a_session: float, sessions: int, settings: PpoSettings) -> float:
    """The coefficient of the following step, from the KL to the reference, nats a session, that `sessions` showed.

    Fixed: the same. Adaptive: times 1 + error * sessions / horizon, error = kl / target - 1 held to +-0.2.
    """
    if settings.kl_control == "fixed":
        return coefficient
    error = min(max(kl_a_session / settings.kl_target - 1, -_MOST_ERROR), _MOST_ERROR)
    return coefficient * (1 + error * sessions / settings.kl_horizon)


def moved_too_far(kl_a_token: float, settings: PpoSettings) -> bool:
    """Whether no further epoch shall learn from sessions that the policy has left behind by so many nats a token."""
    return settings.stop_kl is not None and kl_a_token > settings.stop_kl

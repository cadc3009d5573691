"""What is logged of a step, by documented names (METRICS; docs/TRAINING.md has the healthy ranges)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pasa.actions import StopReason
from trl_ext.session_ppo.processes import Processes
from trl_ext.session_ppo.records import SessionBatch, StepSessions

if TYPE_CHECKING:
    from trl_ext.session_ppo.evaluation import Evaluation, Targets

# name -> meaning; "mean" is over sampled tokens of all processes unless it says otherwise
METRICS = {
    # the losses, means over a step's optimizer steps
    "loss": "policy loss + eta * value loss; while the policy is frozen the second alone",
    "policy_loss": "clipped policy loss",
    "value_loss": "clipped squared error of the value, not yet times eta",
    "clip_fraction": "share of tokens whose ratio the policy's clip holds back",
    "value_clip_fraction": "share of tokens whose value the value's clip holds back",
    "kl_step": "KL of the policy that sampled against the one that learns, nats a token",
    "gradient_norm": "norm of the gradient before clipping",
    "epochs": "epochs done; fewer than set where the policy had moved by more than stop_kl",
    # the sessions as they were sampled
    "entropy": "mean entropy of the policy, nats",
    "kl_reference": "log(pi / pi_sft) of the sampled tokens, sum of a session, mean of sessions, nats",
    "kl_reference_token": "the same, mean, nats",
    "kl_coefficient": "beta that the step used",
    "return_mean": "mean return",
    "value_mean": "mean value",
    "advantage_mean": "mean advantage as learnt from, whitened if set",
    "advantage_std": "its standard deviation",
    "explained_variance": "1 - Var(R - V) / Var(R); 1 = the value foretells returns, 0 = no better than their mean",
    "later_value_mean": "mean value of the expand sessions of papers found, a paper",
    "sessions": "sessions of the step, all processes",
    "tokens": "sampled tokens of the step, all processes",
    # what the sessions did (session_metrics)
    "search_sessions": "search sessions",
    "missing_sessions": "rows without a session: too few papers were found, or a rollout failed",
    "reply_tokens": "tokens a reply",
    "actions_per_session": "searches and expansions carried out a session",
    "valid_share": "of all that was written as an action, the share that could be carried out",
    "found_per_action": "papers an action led to",
    "new_per_action": "... that entered the queue because of it",
    "repeated_per_action": "... that were there before",
    "matched_per_action": "... new ones that are an answer or selected",
    "reward_per_action": "r(s, a)",
    "reward_matches": "its part alpha * matched",
    "reward_cost": "its part -cost",
    "reward_per_session": "sum of a session's rewards",
    **{f"stop_{reason.value}": f"share of sessions that ended so: {reason.value}" for reason in StopReason},
}

# What session_counts gives, in order; sums, so that processes can be added up.
_COUNTS = (
    "sessions", "search_sessions", "missing_sessions", "reply_tokens", "actions", "problems",
    "found", "new", "matched", "reward", "cost",
)  # fmt: skip
# Kinds of problems.Counter that are no action which failed: other text, and the lack of any.
_NOT_AN_ACTION = {"prose", "no_action", "after_stop"}


def session_counts(step: StepSessions) -> dict[str, float]:
    """Sums over one device's sessions, always under the same names in the same order."""
    counts = dict.fromkeys([*_COUNTS, *(f"stop_{reason.value}" for reason in StopReason)], 0.0)
    counts["missing_sessions"] = step.size - len(step.sessions)
    for session in step.sessions:
        moves = [action for action in session.actions if action.kind != "stop" and action.is_carried_out]
        counts["sessions"] += 1
        counts["search_sessions"] += session.kind == "search"
        counts["reply_tokens"] += len(session.reply_ids)
        counts["actions"] += len(moves)
        counts["problems"] += sum(n for kind, n in session.problems.items() if kind not in _NOT_AN_ACTION)
        counts["reward"] += sum(action.reward for action in session.actions)
        counts["cost"] += sum(action.cost for action in session.actions)
        for name in ("found", "new", "matched"):
            counts[name] += sum(getattr(action, name) for action in moves)
        counts[f"stop_{session.stop.value}"] += 1
    return counts


def session_metrics(counts: dict[str, float]) -> dict[str, float]:
    """The metrics of session_counts, those of one device or summed over all."""
    sessions, actions = max(1.0, counts["sessions"]), max(1.0, counts["actions"])
    written = max(1.0, counts["actions"] + counts["problems"])
    return {
        "search_sessions": counts["search_sessions"],
        "missing_sessions": counts["missing_sessions"],
        "reply_tokens": counts["reply_tokens"] / sessions,
        "actions_per_session": counts["actions"] / sessions,
        "valid_share": counts["actions"] / written,
        "found_per_action": counts["found"] / actions,
        "new_per_action": counts["new"] / actions,
        "repeated_per_action": (counts["found"] - counts["new"]) / actions,
        "matched_per_action": counts["matched"] / actions,
        "reward_per_action": counts["reward"] / actions,
        "reward_matches": (counts["reward"] + counts["cost"]) / actions,
        "reward_cost": -counts["cost"] / actions,
        "reward_per_session": counts["reward"] / sessions,
        **{f"stop_{reason.value}": counts[f"stop_{reason.value}"] / sessions for reason in StopReason},
    }


def summed(counts: dict[str, float], processes: Processes) -> dict[str, float]:
    """session_counts of all processes together."""
    total = processes.sum(torch.tensor(list(counts.values()), dtype=torch.float64))
    return dict(zip(counts, total.tolist(), strict=True))


def spread_metrics(
    batch: SessionBatch, before: Evaluation, targets: Targets, found: torch.Tensor, processes: Processes
) -> dict[str, float]:
    """Metrics of the sessions as they were sampled; `found` [N]: values of the starts."""
    mask = batch.reply_mask
    log_ratio = before.log_probs - before.reference_log_probs
    error = targets.returns - before.values
    columns = (before.entropy, log_ratio, targets.returns, before.values, targets.advantages, error)
    flat = torch.stack([values.double()[mask] for values in columns])  # [6, tokens]
    counts = flat.new_tensor([flat.shape[1], int(mask.any(1).sum()), len(found), float(found.sum())])
    total = processes.sum(torch.cat([counts, flat.sum(1), (flat**2).sum(1)])).tolist()
    tokens, sessions, starts = (max(1.0, n) for n in total[:3])
    means, squares = ([n / tokens for n in part] for part in (total[4:10], total[10:]))
    spread = [max(0.0, square - mean**2) for mean, square in zip(means, squares, strict=True)]
    return {
        "entropy": means[0],
        "kl_reference": means[1] * tokens / sessions,
        "kl_reference_token": means[1],
        "return_mean": means[2],
        "value_mean": means[3],
        "advantage_mean": means[4],
        "advantage_std": spread[4] ** 0.5,
        "explained_variance": 1 - spread[5] / spread[2] if spread[2] > 0 else 0.0,
        "later_value_mean": total[3] / starts,
        "sessions": total[1],
        "tokens": total[0],
    }

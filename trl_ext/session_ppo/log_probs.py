"""Log-probabilities of chosen tokens, from hidden states and the output layer, a few tokens at a time.

All logits of a step, [sessions, tokens, vocabulary], would be most of its memory: 16 replies of 512 tokens over Qwen's
152,000 are 5 GB in float32, several times over with gradients. Here a chunk's logits are gone before the next is
computed; what stays of a token is one number, and the backward pass computes its logits again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pasa.errors import ConfigError

# Settings by which a model changes its logits after the output layer, and the value that means "it does not".
_CHANGED_LOGITS = {"final_logit_softcapping": None, "logit_scale": 1.0, "logits_scaling": 1.0}


def chosen_log_probs(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    chosen: torch.Tensor,
    temperature: float = 1.0,
    chunk_tokens: int = 256,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of `chosen` [N] and the entropy, [N] float32 each, under softmax(logits / temperature).

    logits = hidden @ weight.T + bias, of `hidden` [N, H], `weight` [V, H] and `bias` [V] or None. Log-probabilities
    have a gradient to all three, the entropy, in nats, has none. At most [chunk_tokens, V] logits exist at a time.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        half = torch.get_autocast_dtype(device)
        hidden, weight = hidden.to(half), weight.to(half)
    log_probs, entropy = _ChosenLogProbs.apply(
        hidden.to(weight.dtype), weight, bias, chosen, 1.0 / temperature, chunk_tokens
    )
    return log_probs, entropy


class _ChosenLogProbs(torch.autograd.Function):
    """The chunks, forward and backward. d log p_c / d logits = onehot(c) - softmax(logits)."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        chosen: torch.Tensor,
        scale: float,
        chunk_tokens: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        log_probs = hidden.new_empty(len(chosen), dtype=torch.float32)
        normalizers, entropy = torch.empty_like(log_probs), torch.empty_like(log_probs)
        with torch.autocast(hidden.device.type, enabled=False):
            for rows in _chunks(len(chosen), chunk_tokens):
                logits = _logits(hidden[rows], weight, bias, scale)  # [C, V]
                normalizers[rows] = logits.logsumexp(-1)
                log_probs[rows] = logits.gather(1, chosen[rows, None]).squeeze(1) - normalizers[rows]
                logits -= normalizers[rows, None]
                entropy[rows] = -(logits.exp().mul_(logits)).sum(-1)
        ctx.save_for_backward(hidden, weight, bias, chosen, normalizers)
        ctx.scale, ctx.chunk_tokens = scale, chunk_tokens
        ctx.mark_non_differentiable(entropy)
        return log_probs, entropy

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, weight, bias, chosen, normalizers = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        to_hidden = torch.empty_like(hidden) if needs_hidden else None
        to_weight = torch.zeros_like(weight) if needs_weight else None
        to_bias = torch.zeros_like(bias) if needs_bias else None
        with torch.autocast(hidden.device.type, enabled=False):
            for rows in _chunks(len(chosen), ctx.chunk_tokens):
                slope = _logits(hidden[rows], weight, bias, ctx.scale).sub_(normalizers[rows, None]).exp_().neg_()
                slope[torch.arange(len(slope), device=slope.device), chosen[rows]] += 1.0
                slope = (slope * (gradients[0][rows, None] * ctx.scale)).to(weight.dtype)  # [C, V]
                if to_hidden is not None:
                    to_hidden[rows] = slope @ weight
                if to_weight is not None:
                    to_weight.addmm_(slope.t(), hidden[rows])
                if to_bias is not None:
                    to_bias += slope.sum(0)
        return to_hidden, to_weight, to_bias, None, None, None


def _chunks(tokens: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, tokens)) for start in range(0, tokens, size)]


def _logits(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, scale: float) -> torch.Tensor:
    """[C, V] float32."""
    logits = torch.nn.functional.linear(hidden, weight, bias).float()
    return logits if scale == 1.0 else logits.mul_(scale)


class ChosenTokenHead(nn.Module):
    """A model's output layer that gives log-probabilities of chosen tokens instead of logits.

    It holds the layer's own weight, not a copy. Being a module that is called once a pass, it has its weight gathered
    under ZeRO-3 like any other, however many chunks a device's replies make.
    """

    def __init__(self, output_layer: nn.Linear, chunk_tokens: int, temperature: float) -> None:
        super().__init__()
        self.weight = output_layer.weight  # [V, H]
        self.bias = output_layer.bias  # [V] or None
        self._chunk_tokens = chunk_tokens
        self._temperature = temperature

    def forward(self, hidden: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability and entropy, [N] each, of `chosen` [N] after `hidden` [N, H]."""
        return chosen_log_probs(hidden, self.weight, self.bias, chosen, self._temperature, self._chunk_tokens)


def check_plain_logits(config: Any) -> None:
    """Raises ConfigError for a model whose logits are not the output layer's: they would be computed wrongly."""
    for name, plain in _CHANGED_LOGITS.items():
        value = getattr(config, name, plain)
        if value is not None and value != plain:
            raise ConfigError(f"{config.model_type} changes its logits ({name} {value}), which PPO here cannot follow")

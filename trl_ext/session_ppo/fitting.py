"""What to do with sessions that are too much for the memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from pasa.models.hf_batches import is_out_of_memory

TOO_LARGE = "too_large"  # [B] bool beside what a model says: nothing is known of the row, and zeros stand for it


@dataclass
class FittingModel:
    """SessionPolicy, or what an engine wraps it in, that passes rows through in halves where they do not fit.

    Only where no gradient is kept: those of a half would be lost. Not for ZeRO-3, whose processes must pass through the
    model equally often. `leaves_out`: a row that does not fit alone is left out (TOO_LARGE); otherwise it raises as it
    does in the model.
    """

    model: Callable[..., dict[str, torch.Tensor]]
    leaves_out: bool = False
    times_halved: int = 0
    rows_left_out: int = 0

    def __call__(self, *, parts: Any, detach_value: bool = False, **rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """As SessionPolicy.forward; without gradients also TOO_LARGE."""
        if torch.is_grad_enabled():
            return self.model(**rows, parts=parts, detach_value=detach_value)
        count = len(rows["input_ids"])
        try:
            said = self.model(**rows, parts=parts, detach_value=detach_value)
            return said | {TOO_LARGE: rows["input_ids"].new_zeros(count, dtype=torch.bool)}
        except RuntimeError as error:
            if not is_out_of_memory(error) or (count == 1 and not self.leaves_out):
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if count == 1:
            self.rows_left_out += 1
            said = self.model(**_without_tokens(rows), parts=parts, detach_value=detach_value)
            return said | {TOO_LARGE: rows["input_ids"].new_ones(1, dtype=torch.bool)}
        self.times_halved += 1
        halves = [
            self(parts=parts, detach_value=detach_value, **_some(rows, half))
            for half in (slice(None, count // 2), slice(count // 2, None))
        ]
        return {name: torch.cat([said[name] for said in halves]) for name in halves[0]}


def _some(rows: dict[str, torch.Tensor], chosen: slice) -> dict[str, torch.Tensor]:
    """Some of the rows, without the columns that are padding in all of them."""
    some = {name: tensor[chosen] for name, tensor in rows.items()}
    length = int(some["attention_mask"].sum(1).max())
    return some | {name: some[name][:, :length] for name in ("input_ids", "attention_mask")}


def _without_tokens(rows: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The rows as one token each and no reply, of which a model says zeros in the same shapes."""
    return rows | {
        "input_ids": rows["input_ids"][:, :1],
        "attention_mask": torch.ones_like(rows["attention_mask"][:, :1]),
        "prompt_lengths": torch.ones_like(rows["prompt_lengths"]),
        "reply_mask": torch.zeros_like(rows["reply_mask"]),
    }

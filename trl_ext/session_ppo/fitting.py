"""What to do with sessions that are too much for the memory."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from pasa.models.hf_batches import is_out_of_memory
from trl_ext.session_ppo.policy import Model, Part

TOO_LARGE = "too_large"  # [B] bool beside what a model says: nothing is known of the row, and zeros stand for it


@dataclass
class FittingModel:
    """A Model that passes rows through in halves where they do not fit.

    Only where no gradient is kept: those of a half would be lost. `leaves_out`: a row that does not fit alone is left
    out (TOO_LARGE); otherwise it raises as it does in the model.
    """

    model: Model
    leaves_out: bool = False
    times_halved: int = 0
    rows_left_out: int = 0

    def passes(self, parts: Iterable[Part]) -> list[tuple[Part, ...]]:
        return self.model.passes(parts)

    def whole(self, parts: Iterable[Part]) -> AbstractContextManager[None]:
        return self.model.whole(parts)

    def __call__(self, **given: Any) -> dict[str, torch.Tensor]:
        """As SessionPolicy.forward; without gradients also TOO_LARGE."""
        if torch.is_grad_enabled():
            return self.model(**given)
        ids = given["input_ids"]
        count = len(ids)
        try:
            return self.model(**given) | {TOO_LARGE: ids.new_zeros(count, dtype=torch.bool)}
        except RuntimeError as error:
            if not is_out_of_memory(error) or (count == 1 and not self.leaves_out):
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if count == 1:
            self.rows_left_out += 1
            return self.model(**_without_tokens(given)) | {TOO_LARGE: ids.new_ones(1, dtype=torch.bool)}
        self.times_halved += 1
        halves = [self(**_some(given, half)) for half in (slice(None, count // 2), slice(count // 2, None))]
        return {name: torch.cat([said[name] for said in halves]) for name in halves[0]}


def _some(given: dict[str, Any], chosen: slice) -> dict[str, Any]:
    """Some of the rows, without the columns that are padding in all of them."""
    some = {name: what[chosen] if isinstance(what, torch.Tensor) else what for name, what in given.items()}
    length = int(some["attention_mask"].sum(1).max())
    return some | {name: some[name][:, :length] for name in ("input_ids", "attention_mask")}


def _without_tokens(given: dict[str, Any]) -> dict[str, Any]:
    """The rows as one token each and no reply, of which a model says zeros in the same shapes."""
    return given | {
        "input_ids": given["input_ids"][:, :1],
        "attention_mask": torch.ones_like(given["attention_mask"][:, :1]),
        "prompt_lengths": torch.ones_like(given["prompt_lengths"]),
        "reply_mask": torch.zeros_like(given["reply_mask"]),
    }

"""Batches for a local model: order by length, padding, and smaller batches where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from pasa.errors import ModelError
from pasa.models.hf_loading import first_line

Item = TypeVar("Item")
Result = TypeVar("Result")

# A row shorter than this share of its batch's longest opens the next batch: beyond it padding outweighs the row.
SHORTEST_SHARE = 0.5
# How torch's CPU allocator words its failure; on a GPU it has a class of its own.
_CPU_OUT_OF_MEMORY = "can't allocate memory"


def like_length_batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Indices in batches of at most `size`, longest first (ties: as given), none much shorter than its batch's longest.

    The largest batch comes first, so that memory that does not suffice shows at once.
    """
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if not batches or len(batches[-1]) == size or lengths[i] < SHORTEST_SHARE * lengths[batches[-1][0]]:
            batches.append([])
        batches[-1].append(i)
    return batches


def pad_left(
    rows: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(token ids, attention mask, position ids), each [rows, longest]; mask 1 = a token, 0 = padding on the left."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[pad_id] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return ids.to(device), mask.to(device), positions.to(device)


def run_halving(run: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]) -> list[Result]:
    """What `run` returns for `items`, in halves again and again where it runs out of memory.

    Raises ModelError when one item alone is too much, and for anything else that goes wrong in the model.
    """
    try:
        return run(items)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise ModelError(f"the model failed: {first_line(error)}") from error
        if len(items) == 1:
            raise ModelError("out of memory on a single prompt: use a smaller dtype or prompt limit") from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(items) // 2
    return run_halving(run, items[:half]) + run_halving(run, items[half:])


def is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or _CPU_OUT_OF_MEMORY in str(error)

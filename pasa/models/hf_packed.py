"""Many prompts in one row: no padding, and the tokens they begin with alike computed once.

The row holds the prompts' remaining tokens one after the other; an attention function of our own lets each token see
the shared prefix and what stands before it in its own prompt. Positions count on from the prefix, so every prompt
gets the logits it would get alone (up to rounding).

Not every architecture goes through transformers' attention interface, and some layers look at neighbours in other
ways (sliding windows, recurrence): `can_pack` tells, by the config and by a trial run.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

ATTENTION_NAME = "pasa_packed"
FULL_ATTENTION = "full_attention"
# Rotary variants whose angles depend on the longest position in the batch: a prompt's logits would depend on others.
_LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")
# Extra arguments of attention functions that change what is computed and that ours does not implement.
_UNKNOWN_ATTENTION = ("softcap", "s_aux", "position_bias", "sliding_window")

# The trial: token counts of a prefix and the prompts after it, and how far the logits may differ from those of each
# prompt alone, as a share of their own length. A wrong position or neighbour gives 0.1 and more; bfloat16 rounding
# gives up to 0.01, float32 1e-6.
_TRIAL_PREFIX, _TRIAL_PROMPTS = 5, (4, 7, 1, 3)
_TRIAL_TOLERANCE = 0.03


class CannotPack(RuntimeError):
    """The model's attention is of a kind that the packed one does not implement."""


@dataclass(frozen=True, slots=True)
class Pack:
    """The prompts of one forward pass: `prefix` + `rests[i]` is the i-th. No rest is empty."""

    prefix: tuple[int, ...]
    rests: tuple[tuple[int, ...], ...]


@dataclass
class PrefixMemory:
    """The keys and values of a shared prefix, by layer: [1, key heads, prefix, head size] each."""

    length: int = 0
    by_layer: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)


@dataclass
class PackedRow:
    """What the attention function needs to know about the row it is run on."""

    memory: PrefixMemory
    bounds: tuple[tuple[int, int], ...]  # each prompt's tokens in the row, [start, end)
    writes_memory: bool = False  # the row is the prefix itself
    mask: torch.Tensor | None = None  # [longest rest, prefix + longest rest], 0 or -inf

    def mask_for(self, length: int, like: torch.Tensor) -> torch.Tensor | None:
        """The additive mask [length, prefix + length]; None where one token sees everything."""
        if length == 1:
            return None
        if self.mask is None or self.mask.device != like.device:
            longest = max(end - start for start, end in self.bounds)
            hidden = torch.full((longest, self.memory.length + longest), float("-inf"), device=like.device)
            self.mask = hidden.triu(self.memory.length + 1).to(like.dtype)
        return self.mask[:length, : self.memory.length + length]


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    packed_row: PackedRow | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within each prompt of `packed_row` and over the prefix before them: [1, row, heads, head size].

    `query` [1, heads, row, head size]; `key`, `value` [1, key heads, row, head size]; as transformers' attention
    interface has it. Raises CannotPack for attention of another kind.
    """
    if (
        packed_row is None
        or attention_mask is not None
        or any(others.get(name) is not None for name in _UNKNOWN_ATTENTION)
    ):
        raise CannotPack("the model's attention takes arguments that the packed one does not know")
    layer = getattr(module, "layer_idx", None)
    if layer is None:
        raise CannotPack("the model's attention layers are not numbered")
    memory = packed_row.memory
    shares_key_heads = query.shape[1] != key.shape[1]
    output = torch.empty_like(query)
    for start, end in packed_row.bounds:
        keys, values = key[:, :, start:end], value[:, :, start:end]
        if memory.length and not packed_row.writes_memory:
            prefix_keys, prefix_values = memory.by_layer[layer]
            keys, values = torch.cat((prefix_keys, keys), dim=2), torch.cat((prefix_values, values), dim=2)
        output[:, :, start:end] = scaled_dot_product_attention(
            query[:, :, start:end],
            keys,
            values,
            attn_mask=None if packed_row.writes_memory else packed_row.mask_for(end - start, query),
            is_causal=packed_row.writes_memory,
            scale=scaling,
            enable_gqa=shares_key_heads,
        )
    if packed_row.writes_memory:
        memory.by_layer[layer] = (key, value)
    return output.transpose(1, 2), None


def pack_prompts(prompts: Sequence[list[int]], tokens_per_pack: int) -> list[Pack]:
    """The prompts, in order, in packs of at most `tokens_per_pack` tokens beside the prefix (a longer one is alone).

    The prefix is the longest that all of `prompts` share, but for the last token of the shortest: every prompt keeps
    a token of its own to read the answer at. It is found on token ids, so it does not matter where texts part.
    """
    length = common_prefix_length(prompts)
    rests: list[list[tuple[int, ...]]] = []
    size = 0
    for prompt in prompts:
        rest = tuple(prompt[length:])
        size += len(rest)
        if not rests or size > tokens_per_pack:
            rests.append([])
            size = len(rest)
        rests[-1].append(rest)
    return [Pack(tuple(prompts[0][:length]), tuple(pack)) for pack in rests]


def common_prefix_length(prompts: Sequence[list[int]]) -> int:
    """How many first tokens all prompts share, at most the shortest one's length less one; 0 for a single prompt."""
    if len(prompts) < 2:
        return 0
    # In lexicographic order the first and last differ as early as any two do.
    low, high = min(prompts), max(prompts)
    limit = min(map(len, prompts)) - 1
    return next((i for i in range(limit) if low[i] != high[i]), max(limit, 0))


def packed_logits(model: PreTrainedModel, rests: Sequence[Sequence[int]], memory: PrefixMemory) -> torch.Tensor:
    """The next-token logits [prompts, vocabulary] of the prompts that are the prefix in `memory` + one of `rests`."""
    lengths = [len(rest) for rest in rests]
    ends = torch.tensor(lengths).cumsum(0)
    bounds = tuple(zip((ends - torch.tensor(lengths)).tolist(), ends.tolist(), strict=True))
    positions = torch.cat([torch.arange(memory.length, memory.length + length) for length in lengths])
    ids = torch.tensor([token for rest in rests for token in rest])
    return _run(model, ids, positions, PackedRow(memory, bounds), ends - 1)


def remember_prefix(model: PreTrainedModel, prefix: Sequence[int]) -> PrefixMemory:
    """The prefix's keys and values, layer by layer; one forward pass, none for an empty prefix."""
    memory = PrefixMemory(len(prefix))
    if prefix:
        positions = torch.arange(len(prefix))
        row = PackedRow(memory, ((0, len(prefix)),), writes_memory=True)
        _run(model, torch.tensor(list(prefix)), positions, row, positions[-1:])
    return memory


def _run(
    model: PreTrainedModel, ids: torch.Tensor, positions: torch.Tensor, row: PackedRow, keep: torch.Tensor
) -> torch.Tensor:
    """The logits [kept, vocabulary] at the places `keep` of the row."""
    device = model.device
    with torch.inference_mode(), _attention(model, ATTENTION_NAME), _last_feed_forward_at(model, keep.to(device)):
        output = model(
            input_ids=ids[None].to(device),
            position_ids=positions[None].to(device),
            use_cache=False,
            logits_to_keep=keep.to(device),
            packed_row=row,
        )
    return output.logits[0]


@contextmanager
def _attention(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Run `model` with another attention function for a while."""
    AttentionInterface.register(ATTENTION_NAME, packed_attention)
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def _last_feed_forward_at(model: PreTrainedModel, keep: torch.Tensor) -> Iterator[None]:
    """Let the last layer's feed-forward part work at the places `keep` only: no later layer reads the others.

    It is most of a layer's work, so this saves a model of 30 layers 2.5%. Models that name it otherwise do it all.
    """
    layers = getattr(model.base_model, "layers", None)
    feed_forward = getattr(layers[-1], "mlp", None) if layers is not None and len(layers) else None
    if not isinstance(feed_forward, torch.nn.Module):
        yield
        return
    row_length = 0

    def narrow(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        nonlocal row_length
        row_length = inputs[0].shape[1]
        return (inputs[0][:, keep], *inputs[1:])

    def widen(_: torch.nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        return output.new_zeros(1, row_length, output.shape[-1]).index_copy(1, keep, output)

    handles = [feed_forward.register_forward_pre_hook(narrow), feed_forward.register_forward_hook(widen)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def can_pack(model: PreTrainedModel) -> bool:
    """Whether packing gives `model`'s own logits: nothing in its config speaks against it, and a trial run agrees."""
    if "logits_to_keep" not in inspect.signature(model.forward).parameters or not _config_allows(model.config):
        return False
    try:
        return _trial_difference(model) < _TRIAL_TOLERANCE
    except (CannotPack, TypeError, ValueError, AttributeError, IndexError, KeyError):
        return False


def _config_allows(config: Any) -> bool:
    """False where layers do not look at all earlier tokens alike, or positions depend on the batch."""
    text = config.get_text_config()
    layer_types = set(getattr(text, "layer_types", None) or [FULL_ATTENTION])
    rope = getattr(text, "rope_parameters", None) or {}
    return (
        layer_types == {FULL_ATTENTION}
        and not getattr(text, "sliding_window", None)
        and not getattr(text, "is_encoder_decoder", False)
        and rope.get("rope_type", "default") not in _LENGTH_DEPENDENT_ROPE
    )


def _trial_difference(model: PreTrainedModel) -> float:
    """How far packed logits lie from those of each prompt alone, as a share of the latter's length (2-norms)."""
    vocabulary = model.config.get_text_config().vocab_size
    tokens = iter(
        torch.randint(vocabulary, (_TRIAL_PREFIX + sum(_TRIAL_PROMPTS),), generator=_fixed_generator()).tolist()
    )
    prefix = tuple(next(tokens) for _ in range(_TRIAL_PREFIX))
    rests = [[next(tokens) for _ in range(length)] for length in _TRIAL_PROMPTS]
    packed = packed_logits(model, rests, remember_prefix(model, prefix)).float()
    with torch.inference_mode():
        alone = [model(input_ids=torch.tensor([[*prefix, *rest]], device=model.device)).logits[0, -1] for rest in rests]
    expected = torch.stack(alone).float()
    return float((packed - expected).norm() / expected.norm())


def _fixed_generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)

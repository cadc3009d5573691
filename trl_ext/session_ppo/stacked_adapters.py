"""Two LoRA adapters, one learnt on top of the other, as a single one over their base.

A policy that begins with a LoRA checkpoint learns on the base with that adapter added in. What it has learnt is no
adapter of the base by itself, only together with the first: W + s1 B1 A1 + s2 B2 A2 = W + [s1 B1, s2 B2] [A1; A2].
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from pasa.errors import CheckpointError
from pasa.models.hf_loading import ADAPTER_FILE, adapter_base
from pasa.results import write_json

WEIGHTS_FILE = "adapter_model.safetensors"
_A, _B, _PREFIX = ".lora_A.weight", ".lora_B.weight", "base_model.model."
_PLAIN = ("use_dora", "modules_to_save", "trainable_token_indices", "layer_replication")  # else there is more to add


def stack_adapters(first: Path, second: Path) -> None:
    """Makes the adapter in `second`, which was learnt on top of that in `first`, one over the base of `first`.

    Raises CheckpointError where one of them is no plain LoRA of linear layers.
    """
    config = _config(second)
    layers = _layers(first), _layers(second)
    stacked: dict[str, torch.Tensor] = {}
    ranks: dict[str, int] = {}
    for name in sorted(layers[0].keys() | layers[1].keys()):
        parts = [of[name] for of in layers if name in of]
        down = torch.cat([a for a, _ in parts])  # [ranks together, in]
        up = torch.cat([b for _, b in parts], dim=1)  # [out, ranks together]
        stacked |= {f"{_PREFIX}{name}{_A}": down.contiguous(), f"{_PREFIX}{name}{_B}": up.contiguous()}
        ranks[name] = len(down)
    rank = max(ranks.values())
    others = {name: own for name, own in ranks.items() if own != rank}
    save_file(stacked, second / WEIGHTS_FILE, metadata={"format": "pt"})
    # alpha is the rank everywhere: the scales are in the weights
    changes = {"r": rank, "lora_alpha": rank, "rank_pattern": others, "alpha_pattern": others, "use_rslora": False}
    base = {"base_model_name_or_path": adapter_base(first), "target_modules": sorted(ranks), "exclude_modules": None}
    write_json(
        second / ADAPTER_FILE, {**config, **changes, **base, "layers_to_transform": None, "layers_pattern": None}
    )


def _config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / ADAPTER_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} holds no adapter that can be read: {error}") from error
    unusual = [name for name in _PLAIN if config.get(name)] + ["bias"] * (config.get("bias", "none") != "none")
    if unusual:
        raise CheckpointError(f"{folder} is no plain LoRA ({', '.join(unusual)}): merge it into its base first")
    return config


def _layers(folder: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Layer -> (A [rank, in], B [out, rank] times its scale)."""
    config = _config(folder)
    try:
        weights = load_file(folder / WEIGHTS_FILE)
        names = [name.removesuffix(_A) for name in weights if name.endswith(_A)]
        pairs = {name.removeprefix(_PREFIX): (weights[name + _A], weights[name + _B]) for name in names}
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder / WEIGHTS_FILE} cannot be read: {error}") from error
    if 2 * len(pairs) != len(weights):
        raise CheckpointError(f"{folder} is no plain LoRA of linear layers: merge it into its base first")
    return {name: (a.float(), _scale(config, name, len(a)) * b.float()) for name, (a, b) in pairs.items()}


def _scale(config: dict[str, Any], name: str, rank: int) -> float:
    own = (value for layer, value in (config.get("alpha_pattern") or {}).items() if f".{name}".endswith(f".{layer}"))
    alpha = float(next(own, config["lora_alpha"]))
    return alpha / (rank**0.5 if config.get("use_rslora") else rank)

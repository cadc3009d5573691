"""The model that training begins with: a checkpoint all of whose weights may learn, a LoRA folder added to its base."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from pasa.errors import CheckpointError
from pasa.models.hf_loading import adapter_base, first_line, is_adapter, merge_adapter, resolve_checkpoint


def load_start(path: str, dtype: torch.dtype, attention: str) -> PreTrainedModel:
    """The causal language model at `path`; a LoRA folder's weights are added to its base's. Raises CheckpointError."""
    location = resolve_checkpoint(path)
    base = adapter_base(Path(location)) if is_adapter(location) else location
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            base, dtype=dtype, attn_implementation=attention, local_files_only=Path(base).is_dir()
        )
        if getattr(model, "_hf_peft_config_loaded", False):  # transformers added one itself, all frozen
            raise CheckpointError(
                f"{path} is a LoRA beside a whole model or on the hub: name a local folder of the LoRA alone"
            )
        if base == location:
            return model
        with _gathered(model):
            return merge_adapter(model, location).requires_grad_(True)  # PEFT froze what it was added to
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"cannot load {path}: {first_line(error)}") from error


def _gathered(model: PreTrainedModel) -> AbstractContextManager[Any]:
    """Inside, every process has the weights whole, and what the first does to them is all processes'.

    ZeRO-3 spreads them as they are loaded.
    """
    spread = [weights for weights in model.parameters() if hasattr(weights, "ds_id")]
    if not spread:
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters(spread, modifier_rank=0)

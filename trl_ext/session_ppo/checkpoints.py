"""What a run keeps: the policy alone, and the state to go on from after a stop or a kill.

    output_dir/checkpoint-N/   the policy after N steps: a folder for run_paper_agent.py --crawler_path
    output_dir/resume-0/, -1/  written in turn: models, optimizer, random state; state.json last, so that one is whole

Nothing is ever deleted but the state.json of the slot that is written next.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pasa.errors import CheckpointError, ConfigError
from pasa.models.hf_loading import ADAPTER_FILE, first_line, resolve_checkpoint
from pasa.results import write_json
from trl_ext.adapter_folders import name_base_from
from trl_ext.session_ppo.engine import Engine
from trl_ext.session_ppo.run_settings import STATE_SLOTS
from trl_ext.session_ppo.stacked_adapters import stack_adapters

STATE_FILE = "state.json"
_WEIGHTS_FILE = "weights.pt"
_TAG = "engine"  # DeepSpeed's folder within a slot


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run is between two steps. Queues of queries live within a step, so that none is open then."""

    step: int  # done
    kl_coefficient: float
    queries_taken: int  # by all processes, the sampler's place
    empty_steps: int = 0  # in a row, that taught nothing
    calls_spent: tuple[int, ...] = ()  # of live services, a number a process


def newest_slot(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The slot with the most steps whose state is whole, and what its state.json says."""
    found: list[tuple[int, Path, dict[str, Any]]] = []
    for slot in (folder / f"resume-{i}" for i in range(STATE_SLOTS)):
        try:
            content = json.loads((slot / STATE_FILE).read_text(encoding="utf-8"))
            found.append((int(content["state"]["step"]), slot, content))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    if not found:
        return None
    _, slot, content = max(found, key=lambda one: one[0])
    return slot, content


def state_to_go_on_from(folder: Path, fingerprint: dict[str, Any], resume: bool) -> tuple[Path, RunState] | None:
    """Where to go on; None for a folder without a state.

    Raises ConfigError where the state is of a run with other settings, or where it must not be gone on from.
    """
    newest = newest_slot(folder)
    if newest is None:
        return None
    slot, content = newest
    if not resume:
        raise ConfigError(f"{folder} holds a run: name another output_dir, or leave resume on to go on with it")
    before = content.get("fingerprint", {})
    changed = sorted(name for name in fingerprint | before if before.get(name) != fingerprint.get(name))
    if changed:
        raise ConfigError(f"{folder} holds a run with another {', '.join(changed)}: name another output_dir")
    state = content["state"]
    return slot, RunState(**{**state, "calls_spent": tuple(state.get("calls_spent", ()))})


def save_state(engine: Engine, folder: Path, state: RunState, fingerprint: dict[str, Any]) -> None:
    """Writes the slot that is not the newest. Every process must call it."""
    accelerator = engine.accelerator
    slots = [folder / f"resume-{i}" for i in range(STATE_SLOTS)]
    newest = newest_slot(folder)
    slot = next(s for s in slots if newest is None or s != newest[0])
    accelerator.wait_for_everyone()  # all have read which slot is the newest
    if accelerator.is_main_process:
        slot.mkdir(parents=True, exist_ok=True)
        (slot / STATE_FILE).unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    if accelerator.state.deepspeed_plugin is not None:
        engine.wrapped.save_checkpoint(str(slot), tag=_TAG, exclude_frozen_parameters=True)
    elif accelerator.is_main_process:
        torch.save({"model": _learnt(engine), "optimizer": engine.optimizer.state_dict()}, slot / _WEIGHTS_FILE)
    torch.save(random_state(), slot / f"random-{accelerator.process_index}.pt")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        write_json(slot / STATE_FILE, {"state": asdict(state), "fingerprint": fingerprint})
    accelerator.wait_for_everyone()


def load_state(engine: Engine, slot: Path) -> None:
    """Sets models, optimizer and random state to what the slot holds. Raises CheckpointError."""
    accelerator = engine.accelerator
    try:
        if accelerator.state.deepspeed_plugin is not None:
            path, _ = engine.wrapped.load_checkpoint(str(slot), tag=_TAG, load_module_strict=False)
            if path is None:
                raise CheckpointError(f"{slot} holds no state that this number of processes can go on from")
        else:
            saved = torch.load(slot / _WEIGHTS_FILE, map_location=engine.device, weights_only=True)
            engine.policy.load_state_dict(saved["model"], strict=False)  # what is frozen was not saved
            engine.optimizer.load_state_dict(saved["optimizer"])
        mine = slot / f"random-{accelerator.process_index}.pt"
        set_random_state(torch.load(mine, map_location="cpu", weights_only=True))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"cannot go on from {slot} ({first_line(error)}): name another output_dir") from error


def _learnt(engine: Engine) -> dict[str, torch.Tensor]:
    """The weights that learn, each once."""
    return {name: p.detach() for name, p in engine.policy.named_parameters() if p.requires_grad}


def random_state() -> dict[str, Any]:
    """torch's random streams."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": devices}


def set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def save_policy(engine: Engine, folder: Path) -> None:
    """Writes the policy alone, as transformers or (LoRA) PEFT loads it. Every process must call it.

    A LoRA that began with a LoRA checkpoint is written together with it, as one over its base; a base that is a folder
    is named as seen from the folder. Raises CheckpointError.
    """
    accelerator = engine.accelerator
    model = engine.policy.language_model
    weights = _whole_weights(engine)
    if accelerator.is_main_process:
        model.save_pretrained(str(folder), state_dict=weights)
        engine.tokenizer_to_keep().save_pretrained(str(folder))
        start = Path(resolve_checkpoint(engine.run.policy.model_name_or_path))
        if (folder / ADAPTER_FILE).is_file():
            if (start / ADAPTER_FILE).is_file():
                stack_adapters(start, folder)
            name_base_from(folder)
    accelerator.wait_for_everyone()


def _whole_weights(engine: Engine) -> dict[str, torch.Tensor]:
    """The policy's weights in the main process's memory, gathered one after the other where they are spread."""
    model = engine.policy.language_model
    if not engine.is_zero3:
        weights: dict[str, torch.Tensor] = model.state_dict()
        return weights
    import deepspeed

    gathered: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        with deepspeed.zero.GatheredParameters([parameter]):
            if engine.accelerator.is_main_process:
                gathered[name] = parameter.detach().cpu().clone()
    return gathered

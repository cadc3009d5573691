"""The settings of supervised fine-tuning: a frozen record filled from YAML and flags.

Names are those of upstream's commands where it has the setting (docs/TRAINING.md). Defaults are the paper's training
(PAPER.md, "Supervised data of the paper"). Nothing is read at import.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from pasa.config import make_record, read_yaml
from pasa.errors import ConfigError

Task = Literal["crawler", "selector"]
TRACKERS = ("tensorboard", "wandb")


@dataclass(frozen=True)
class SftSettings:
    """One training run. Paths are files and folders on this machine, the model may also be a hub name."""

    task: Task = "selector"
    model_name_or_path: str = "Qwen/Qwen2.5-7B-Instruct"
    dataset_name: str = ""  # JSON lines: chats of a prompt and a reply (pasa/training_data)
    eval_dataset: str | None = None  # the same, of other source papers; null = no evaluation during training
    output_dir: str = ""

    # what is read of a row
    prompt_format: Literal["auto", "raw", "chat"] = "auto"  # as at inference: selector raw, crawler chat template
    max_seq_length: int = 1024  # tokens of prompt and reply; a longer prompt loses the end of its abstract
    objective: Literal["decision", "likelihood"] = "decision"  # of the selector (docs/TRAINING.md)
    keep_reasons: bool = True  # of the selector: learn the rationale after the decision too
    max_examples: int | None = None  # the first rows of the file; null = all
    max_bad_share: float = 0.01  # rows that cannot be used are told and skipped; above this share the run stops

    # optimization
    learning_rate: float = 1e-5
    num_train_epochs: float = 1.0
    max_steps: int | None = None  # ends earlier
    per_device_train_batch_size: int = 4
    gradient_accumulation_steps: int = 1
    weight_decay: float = 0.01
    warmup_ratio: float = 0.01
    lr_scheduler_type: str = "linear"
    max_grad_norm: float = 1.0
    seed: int = 42

    # LoRA; 0 = all weights are trained
    lora_rank: int = 0
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    lora_targets: str = "all-linear"  # or names of modules with commas between

    # memory and speed
    bf16: Literal["auto", "true", "false"] = "auto"  # auto: on a GPU
    gradient_checkpointing: bool = True
    attn_implementation: Literal["auto", "flash_attention_2", "sdpa", "eager"] = "auto"
    length_grouping: bool = True  # batches of like length: little padding
    packing: Literal["auto", "true", "false"] = "auto"  # rows joined to max_seq_length; auto: where flash-attn is used
    liger: Literal["auto", "true", "false"] = "auto"  # Liger's layer kernels; auto: on a GPU where it is installed
    device: Literal["auto", "cpu"] = "auto"

    # evaluation, checkpoints, tracking
    logging_steps: int = 50
    eval_steps: int = 500
    save_steps: int = 500  # a multiple of eval_steps
    save_total_limit: int = 2  # besides the best one
    best_metric: str = "auto"  # of what evaluations.jsonl holds; auto: f1 (selector), loss (crawler)
    eval_examples: int = 500  # rows of eval_dataset at most
    eval_sessions: int = 32  # crawler: rows of it that are answered
    eval_max_new_tokens: int = 256
    eval_batch_size: int = 8
    library: str | None = None  # crawler: queries it writes are searched here, BM25 ...
    eval_queries: str | None = None  # ... and the golds looked for are these queries' answers
    eval_search_papers: int = 10  # results taken of each query
    resume: bool = True  # go on from the last checkpoint in output_dir
    report_to: str = ""  # tensorboard, wandb, or both with a comma between
    run_name: str | None = None

    @property
    def uses_chat_template(self) -> bool:
        return self.prompt_format == "chat" or (self.prompt_format == "auto" and self.task == "crawler")

    @property
    def trackers(self) -> list[str]:
        return [name.strip() for name in self.report_to.split(",") if name.strip()]


# What may differ between a run and its continuation without changing what it computes.
FREE_TO_CHANGE = {
    "output_dir",
    "logging_steps",
    "save_total_limit",
    "eval_batch_size",
    "report_to",
    "run_name",
    "resume",
    "max_bad_share",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
}
_AT_LEAST_ONE = {
    "max_seq_length",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "logging_steps",
    "eval_steps",
    "save_steps",
    "save_total_limit",
    "eval_examples",
    "eval_sessions",
    "eval_max_new_tokens",
    "eval_batch_size",
    "eval_search_papers",
}
_NOT_NEGATIVE = {"learning_rate", "weight_decay", "warmup_ratio", "lora_rank", "lora_dropout", "max_bad_share"}


def load_sft_settings(path: Path | None = None, flags: Mapping[str, Any] | None = None) -> SftSettings:
    """Settings from a flat YAML file, overridden by those of `flags` that are not None. Raises ConfigError."""
    values = _read_lines(path) if path else {}
    values |= {name: value for name, value in (flags or {}).items() if value is not None}
    where = path.name if path else "settings"
    values = {name: _plain(name, value, where) for name, value in values.items()}
    settings: SftSettings = make_record(SftSettings, values, where)
    _check(settings, where)
    return settings


def parse_flag(name: str, text: str) -> Any:
    """The value that `--name text` means, as YAML would read it where the setting is no text."""
    hint = typing.get_type_hints(SftSettings)[name]
    if hint is str or text == "":
        return text
    value = yaml.safe_load(text)
    return _number(value)


def _plain(name: str, value: Any, where: str) -> Any:
    """YAML's spellings that mean what the setting takes: `true` for "true", "1e-5" for a number."""
    hint = typing.get_type_hints(SftSettings).get(name)
    choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
    if isinstance(value, bool) and str(value).lower() in choices:
        return str(value).lower()
    return _number(value) if hint is float else value


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-5, without a point, as text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _read_lines(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict | None):
        raise ConfigError(f"{path} must hold `name: value` lines")
    return content or {}


def _check(settings: SftSettings, where: str) -> None:
    """Raises ConfigError for values that cannot be used together or at all."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name in _AT_LEAST_ONE and value < 1:
            raise ConfigError(f"{where}.{field.name} is {value!r}; it must be at least 1")
        if field.name in _NOT_NEGATIVE and not value >= 0:
            raise ConfigError(f"{where}.{field.name} is {value!r}; it must be at least 0")
    for name, example in (("dataset_name", "data/sft_selector/train.jsonl"), ("output_dir", "results/sft_selector")):
        if not getattr(settings, name):
            raise ConfigError(f"{where}.{name} is missing: --{name} {example}")
    if settings.eval_dataset and settings.save_steps % settings.eval_steps:
        raise ConfigError(f"{where}.save_steps must be a multiple of eval_steps, so that the best checkpoint is kept")
    if settings.objective == "likelihood" and settings.task != "selector":
        raise ConfigError(f"{where}.objective likelihood is a selector's: leave it out for a {settings.task}")
    for name in settings.trackers:
        if name not in TRACKERS:
            raise ConfigError(f"{where}.report_to is {settings.report_to!r}; it may be {', '.join(TRACKERS)}")
    if settings.eval_queries and not settings.library:
        raise ConfigError(f"{where}.eval_queries needs library: where the queries are searched")

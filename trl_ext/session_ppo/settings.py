"""The settings of the algorithm and of the models that learn; defaults are the paper's (PAPER.md)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pasa.config import make_record
from pasa.errors import ConfigError

Normalization = Literal["tokens", "sessions"]


@dataclass(frozen=True, slots=True)
class PpoSettings:
    """What turns sessions with rewards into a loss. alpha and the costs belong to the rewards, not here."""

    # returns and advantages
    gamma0: float = 1.0  # discount within a session, a token
    gamma1: float = 0.1  # weight of the value of a newly found paper's expand session; 0 = none is computed
    lam: float = 1.0  # 1: Monte Carlo, A = R - V (the paper); below: GAE (upstream: .95)
    whiten: bool = False  # advantages to mean 0, variance 1 over all tokens of the step (upstream: true)

    # penalty for leaving the reference policy
    kl_coefficient: float = 0.1  # beta
    kl_control: Literal["fixed", "adaptive"] = "fixed"
    kl_target: float = 6.0  # adaptive: nats a session that the coefficient steers towards
    kl_horizon: int = 10_000  # adaptive: sessions in which it moves by the whole of an error

    # losses
    clip_range: float = 0.2
    value_clip_range: float = 0.2
    value_weight: float = 10.0  # eta
    normalization: Normalization = "tokens"  # what counts the same in a loss (losses.token_weights)
    temperature: float = 1.0  # that rollouts are sampled at; log-probabilities are those of that policy

    # a step
    epochs: int = 2
    mini_batches: int = 1  # optimizer steps an epoch
    forward_batch: int = 1  # sessions that go through the model at once where gradients are kept
    evaluation_batch: int = 8  # and where none are
    stop_kl: float | None = None  # mean nats a token between old and new policy above which no epoch follows
    value_warmup_steps: int = 50  # steps in which the policy is frozen and only the value learns


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """The models that learn, and the one they are compared with."""

    model_name_or_path: str = ""  # the Crawler after supervised fine-tuning: where policy and reference begin
    value_body: Literal["copy", "shared"] = "copy"  # its own copy of the base, or the policy's layers
    value_model_name_or_path: str = ""  # of the copy; "" = the policy's
    value_layer: int = 0  # width of a linear layer before the last (upstream: 384); 0 = none
    lora_rank: int = 0  # 0 = all weights learn, and the reference is a frozen copy; else the adapter switched off
    lora_alpha: int = 32
    lora_targets: str = "all-linear"  # or names of modules with commas between
    gradient_checkpointing: bool = True
    chunk_tokens: int = 256  # tokens that are projected onto the vocabulary at once
    compile: bool = False  # layers through torch.compile where they learn: faster steps after a first that compiles


_AT_LEAST_ONE = {"kl_horizon", "epochs", "mini_batches", "forward_batch", "evaluation_batch", "chunk_tokens"}
_NOT_NEGATIVE = {
    "gamma1",
    "kl_coefficient",
    "value_weight",
    "value_warmup_steps",
    "value_layer",
    "lora_rank",
    "lora_alpha",
}
_ABOVE_ZERO = {"kl_target", "clip_range", "value_clip_range", "temperature", "stop_kl"}
_SHARES = {"gamma0", "lam"}


def ppo_settings(values: Mapping[str, Any], where: str = "ppo") -> PpoSettings:
    """The algorithm's settings from plain data; `where` begins messages. Raises ConfigError."""
    settings: PpoSettings = make_record(PpoSettings, values, where)
    _check_ranges(settings, where)
    return settings


def policy_settings(values: Mapping[str, Any], where: str = "policy") -> PolicySettings:
    """The models' settings from plain data. Raises ConfigError."""
    settings: PolicySettings = make_record(PolicySettings, values, where)
    _check_ranges(settings, where)
    if not settings.model_name_or_path:
        raise ConfigError(f"{where}.model_name_or_path is missing: name the Crawler to start from")
    if settings.value_body == "shared" and settings.value_model_name_or_path:
        raise ConfigError(f"{where}.value_model_name_or_path needs value_body: copy")
    return settings


def _check_ranges(settings: Any, where: str) -> None:
    """Raises ConfigError for a number that cannot be used."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value is None or isinstance(value, str | bool):
            continue
        if field.name in _AT_LEAST_ONE and not value >= 1:
            raise ConfigError(f"{where}.{field.name} is {value!r}; it must be at least 1")
        if field.name in _NOT_NEGATIVE and not value >= 0:
            raise ConfigError(f"{where}.{field.name} is {value!r}; it must be at least 0")
        if field.name in _ABOVE_ZERO and not value > 0:
            raise ConfigError(f"{where}.{field.name} is {value!r}; it must be above 0")
        if field.name in _SHARES and not 0 <= value <= 1:
            raise ConfigError(f"{where}.{field.name} is {value!r}; it must be between 0 and 1")

"""The settings of a whole training run: groups of a YAML file, each value a flag as well.

Defaults are the paper's where it states them (PAPER.md, "Reward and return"). Nothing is read at import.
"""

from __future__ import annotations

import argparse
import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from pasa.config import AgentSettings, ModelSettings, ToolSettings, make_record, read_yaml
from pasa.errors import ConfigError
from trl_ext.session_ppo.rewards import RewardSettings
from trl_ext.session_ppo.rollouts import RolloutSettings
from trl_ext.session_ppo.settings import PolicySettings, PpoSettings, policy_settings, ppo_settings

TRACKERS = ("tensorboard", "wandb")
STATE_SLOTS = 2


@dataclass(frozen=True)
class RunSettings:
    """What is trained on, for how long, and what is kept."""

    output_dir: str = ""
    queries: str = ""  # JSON lines in upstream's form, with answers (scripts/build_queries.py)
    max_queries: int | None = None  # the first of the file; null = all
    steps: int = 250
    seed: int = 0

    # optimization
    learning_rate: float = 1e-6
    value_learning_rate: float | None = None  # null = the policy's
    lr_schedule: Literal["constant", "linear"] = "constant"  # linear: to 0 at the last step
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    bf16: Literal["auto", "true", "false"] = "auto"  # auto: on a GPU

    # environment
    date_cut_off: Literal["auto", "true", "false"] = "auto"  # auto: on for live engines, off for a library
    call_budget: int | None = None  # calls of live services that a process may make in the whole run
    selector: str | None = "auto"  # who says what matches beside the answers; null = nobody

    # the policy's replies by a vLLM server whose weights follow the policy; null = here
    vllm_url: str | None = None
    vllm_weights: Literal["nccl", "files"] = "nccl"  # files: in output_dir, which the server sees too; needs no GPU
    vllm_group_port: int = 51216

    # evaluation on held-out queries: whole crawls as the agent makes them
    eval_queries: str | None = None
    eval_limit: int = 50
    eval_steps: int = 25
    eval_temperature: float = 0.0  # 0 = greedy
    eval_expand_layers: int = 2
    eval_first_layer_papers: int | None = None  # expanded in the first layer; null = all
    eval_expand_papers: int = 20

    # what is kept and told
    save_steps: int = 25  # policy alone in checkpoint-N, and the state to go on from
    logging_steps: int = 1
    resume: bool = True
    report_to: str = ""  # tensorboard, wandb, or both with a comma between
    run_name: str | None = None

    # bad days
    on_failure: Literal["go_on", "stop"] = "go_on"  # a call failed: without what needs it, or all stop
    max_empty_steps: int = 10  # steps in a row that taught nothing after which the run stops
    watchdog_seconds: float = 1800.0  # without a sign of life after which a process ends itself

    @property
    def trackers(self) -> list[str]:
        return [name.strip() for name in self.report_to.split(",") if name.strip()]


@dataclass(frozen=True)
class PpoRun:
    """Everything a training run is told, by group."""

    policy: PolicySettings = field(default_factory=PolicySettings)
    ppo: PpoSettings = field(default_factory=PpoSettings)
    rewards: RewardSettings = field(default_factory=RewardSettings)
    rollouts: RolloutSettings = field(default_factory=RolloutSettings)
    tools: ToolSettings = field(default_factory=ToolSettings)
    models: ModelSettings = field(default_factory=ModelSettings)  # of the Selector; device and attention of both
    run: RunSettings = field(default_factory=RunSettings)

    def held_out_agent(self) -> AgentSettings:
        """How held-out queries are crawled."""
        return dataclasses.replace(
            self.rollouts.agent(temperature=self.run.eval_temperature),
            expand_layers=self.run.eval_expand_layers,
            first_layer_expand_papers=self.run.eval_first_layer_papers,
            expand_papers=self.run.eval_expand_papers,
        )


# Of the groups that belong to the agent only what means something here is a flag.
SHOWN = {
    "tools": {"engine", "library", "retrieval", "cache_dir", "timeout_seconds", "retries"},
    "models": {"device", "attention", "encoder", "api_base", "api_concurrency", "api_timeout_seconds"},
}
# What may differ between a run and its continuation without changing what it computes, beyond rounding.
FREE_TO_CHANGE = {
    "output_dir", "eval_queries", "eval_limit", "eval_steps", "eval_temperature", "eval_expand_layers",
    "eval_first_layer_papers", "eval_expand_papers", "save_steps", "logging_steps", "resume", "report_to", "run_name",
    "forward_batch", "evaluation_batch", "generation_batch", "gradient_checkpointing", "chunk_tokens", "compile",
    "on_failure", "max_empty_steps", "watchdog_seconds",
    "vllm_url", "vllm_weights", "vllm_group_port", "threads_num", "cache_dir", "timeout_seconds",
    "retries", "call_budget", "api_base", "api_concurrency", "api_timeout_seconds",
}  # fmt: skip
_AT_LEAST_ONE = {
    "steps", "eval_steps", "eval_limit", "save_steps", "logging_steps", "max_empty_steps", "search_sessions",
    "max_new_tokens", "max_prompt_tokens", "search_queries", "search_papers", "generation_batch", "threads_num",
}  # fmt: skip
_NOT_NEGATIVE = {
    "learning_rate", "weight_decay", "alpha", "search_cost", "expand_cost", "expand_sessions", "rounds",
    "eval_expand_layers", "eval_expand_papers", "eval_temperature", "valued_papers", "value_learning_rate",
}  # fmt: skip
_ABOVE_ZERO = {"max_grad_norm", "watchdog_seconds", "match_weight"}


def groups() -> dict[str, type[Any]]:
    """Group -> its record."""
    return {name: typing.cast(type[Any], hint) for name, hint in typing.get_type_hints(PpoRun).items()}


def flag_names() -> dict[str, tuple[str, Any]]:
    """Flag -> (group, default), in the order of the records; each name belongs to one group."""
    return {
        f.name: (group, f.default)
        for group, record in groups().items()
        for f in dataclasses.fields(record)
        if group not in SHOWN or f.name in SHOWN[group]
    }


def load_ppo_run(path: Path | None = None, flags: Mapping[str, Any] | None = None) -> PpoRun:
    """Settings from a YAML file of groups, overridden by flags (name -> value). Raises ConfigError."""
    where = path.name if path else "settings"
    content = _read_groups(path) if path else {}
    for name in content:
        if name not in groups():
            raise ConfigError(f"{where}: unknown group {name!r}; the groups are {', '.join(groups())}")
    known = flag_names()
    for name, value in (flags or {}).items():
        if name not in known:
            raise ConfigError(f"unknown setting {name!r}; --help lists what there is")
        content.setdefault(known[name][0], {})[name] = value
    made = {group: _record(group, content.get(group) or {}, f"{where}: {group}") for group in groups()}
    run = PpoRun(**made)
    _check(run, where)
    return run


def add_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for each setting, beside the --config that a script has of its own."""
    places: dict[str, argparse._ArgumentGroup] = {}
    for name, (group, default) in flag_names().items():
        place = places.setdefault(group, parser.add_argument_group(group))
        told = "none" if default in ("", None) else default
        place.add_argument(f"--{name}", metavar="VALUE", help=f"default: {told}")


def run_of_flags(args: Mapping[str, Any]) -> PpoRun:
    """The run that --config and the flags of `add_flags` mean. Raises ConfigError."""
    told = {name: parse_flag(name, args[name]) for name in flag_names() if args[name] is not None}
    return load_ppo_run(args["config"], told)


def _record(group: str, values: Mapping[str, Any], where: str) -> Any:
    record = groups()[group]
    hints = typing.get_type_hints(record)
    plain = {name: plain_value(value, hints.get(name)) for name, value in values.items()}
    if group == "policy":
        return policy_settings(plain, where)
    if group == "ppo":
        return ppo_settings(plain, where)
    return make_record(record, plain, where)


def plain_value(value: Any, hint: Any) -> Any:
    """YAML's spellings that mean what the setting takes: `true` for "true", "1e-6" for a number."""
    if isinstance(value, bool) and bool not in (hint, *typing.get_args(hint)):
        return str(value).lower()
    if isinstance(value, str) and float in (hint, *typing.get_args(hint)):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def parse_flag(name: str, text: str) -> Any:
    """The value that `--name text` means, as YAML would read it where the setting is no text."""
    hint = typing.get_type_hints(groups()[flag_names()[name][0]])[name]
    return text if hint is str or (text == "" and str in typing.get_args(hint)) else yaml.safe_load(text)


def _read_groups(path: Path) -> dict[str, dict[str, Any]]:
    content = read_yaml(path)
    if not isinstance(content, dict | None) or not all(isinstance(v, dict | None) for v in (content or {}).values()):
        raise ConfigError(f"{path} must hold groups of settings ({', '.join(groups())}), each `name: value` lines")
    return {name: dict(values or {}) for name, values in (content or {}).items()}


def _check(run: PpoRun, where: str) -> None:
    """Raises ConfigError for values that cannot be used together or at all."""
    for group in ("run", "rollouts", "rewards"):
        for name, value in vars(getattr(run, group)).items():
            if value is None or isinstance(value, str | bool):
                continue
            if name in _AT_LEAST_ONE and not value >= 1:
                raise ConfigError(f"{where}: {group}.{name} is {value!r}; it must be at least 1")
            if name in _NOT_NEGATIVE and not value >= 0:
                raise ConfigError(f"{where}: {group}.{name} is {value!r}; it must be at least 0")
            if name in _ABOVE_ZERO and not value > 0:
                raise ConfigError(f"{where}: {group}.{name} is {value!r}; it must be above 0")
    for name, example in (("queries", "data/queries/train.jsonl"), ("output_dir", "results/ppo_crawler")):
        if not getattr(run.run, name):
            raise ConfigError(f"{where}: run.{name} is missing: --{name} {example}")
    for name in run.run.trackers:
        if name not in TRACKERS:
            raise ConfigError(f"{where}: run.report_to is {run.run.report_to!r}; it may be {', '.join(TRACKERS)}")


def fingerprint(run: PpoRun, processes: int) -> dict[str, Any]:
    """What must be the same for a run to go on where another stopped: "group.name" -> value."""
    values = {
        f"{group}.{name}": value
        for group in groups()
        for name, value in dataclasses.asdict(getattr(run, group)).items()
        if name not in FREE_TO_CHANGE and (group not in SHOWN or name in SHOWN[group])
    }
    if run.run.lr_schedule == "constant":
        del values["run.steps"]  # a longer run begins as the shorter one did
    return {**values, "processes": processes}

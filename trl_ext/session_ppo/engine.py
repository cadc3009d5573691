"""The models on their devices: what accelerate and DeepSpeed make of SessionPolicy and its optimizer.

The same code for one process, for DDP, and for ZeRO-2 and ZeRO-3.
"""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs, PartialState
from accelerate.utils import DeepSpeedPlugin, GradientAccumulationPlugin
from transformers import PreTrainedTokenizerBase
from transformers.integrations import unset_hf_deepspeed_config

from pasa.errors import CheckpointError, ConfigError
from pasa.models.hf_loading import (
    LoadedModel,
    choose_attention,
    first_line,
    load_tokenizer,
    resolve_checkpoint,
    take_prompt_limit,
)
from pasa.models.hf_prompts import MAX_PROMPT_TOKENS
from trl_ext.session_ppo.fitting import FittingModel
from trl_ext.session_ppo.generation import PolicyGenerator
from trl_ext.session_ppo.learner import AcceleratorLearner
from trl_ext.session_ppo.policy import SessionPolicy, load_session_policy
from trl_ext.session_ppo.run_settings import PpoRun
from trl_ext.session_ppo.sharding import ShardedPolicy


def make_accelerator(run: PpoRun) -> Accelerator:
    """The processes as the launcher set them up. A process waits for the others no longer than the watchdog does.

    Raises ConfigError for FSDP, whose processes must pass through the model equally often, also while they sample.
    """
    if _is_set("ACCELERATE_USE_FSDP"):  # on CPUs accelerate would run DDP instead, without a word
        raise ConfigError("PPO does not run under FSDP: use a file of configs/accelerate/ for ZeRO-3, ZeRO-2 or DDP")
    on_cpu = run.models.device == "cpu" or not torch.cuda.is_available()
    bf16 = run.run.bf16 == "true" or (run.run.bf16 == "auto" and not on_cpu)
    wait = timedelta(seconds=2 * run.run.watchdog_seconds)  # the watchdog's message comes first
    if on_cpu:  # first, or accelerate sets DeepSpeed aside on CPUs, or every process up alone
        PartialState(cpu=True, timeout=wait)
    accelerator = Accelerator(
        mixed_precision="bf16" if bf16 else "no",
        cpu=on_cpu and not _is_set("ACCELERATE_USE_DEEPSPEED"),
        log_with=run.run.trackers or None,
        project_dir=run.run.output_dir if run.run.trackers else None,
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),  # the learner says what makes a step
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=wait),
            # Constants all; sent again in a pass that one process halves, they would meet the others' next call.
            DistributedDataParallelKwargs(broadcast_buffers=False),
        ],
    )
    if accelerator.state.deepspeed_plugin is not None:
        unset_hf_deepspeed_config()
    return accelerator


@contextmanager
def _sharded_loading(plugin: DeepSpeedPlugin | None) -> Iterator[None]:
    """Inside, under ZeRO-3, transformers spreads what it loads over the processes.

    Only the policy's models are, which the engine gathers: a Selector or an encoder loaded so would stay in pieces, and
    transformers' generate would have the processes wait for each other at every token.
    """
    if plugin is None:
        yield
        return
    plugin.set_deepspeed_weakref()
    try:
        yield
    finally:
        unset_hf_deepspeed_config()


def _is_set(flag: str) -> bool:
    """Whether the launcher's file asks for something."""
    return os.environ.get(flag, "").lower() == "true"


class Engine:
    """Policy, value, reference and optimizer, ready to train; `model` is what ppo_step passes sessions through."""

    def __init__(self, run: PpoRun, accelerator: Accelerator, alive: Callable[[], None] = lambda: None) -> None:
        """`alive` is called after every pass through the models. Raises CheckpointError and ConfigError."""
        self.run = run
        self.accelerator = accelerator
        self.device = accelerator.device
        self.tokenizer = tokenizer_of(run.policy.model_name_or_path)
        self._named_limit = int(self.tokenizer.model_max_length)
        self.begun_with_prompt_limit = take_prompt_limit(self.tokenizer)
        dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32
        attention = choose_attention(run.models.attention, self.device, dtype)
        plugin = accelerator.state.deepspeed_plugin
        self.is_deepspeed = plugin is not None
        self.is_zero3 = plugin is not None and plugin.zero_stage == 3
        if run.policy.compile:
            _check_compiling(plugin is not None, self.device)
        if plugin is not None:  # there is no data loader that it could learn this from
            plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = run.ppo.forward_batch
            plugin.deepspeed_config["gradient_accumulation_steps"] = 1
            plugin.deepspeed_config["gradient_clipping"] = run.run.max_grad_norm
        # Weights that learn in float32 and computing in bfloat16; DeepSpeed keeps a float32 copy of its own.
        learning = dtype if plugin is not None else torch.float32
        torch.manual_seed(run.run.seed)  # how adapters and the value's layer begin
        with _sharded_loading(plugin):
            policy = load_session_policy(run.policy, learning, attention, run.ppo.temperature, frozen_dtype=dtype)
        self.weights = trained_weights(policy)
        optimizer = make_optimizer(policy, run)
        self.wrapped, self.optimizer = accelerator.prepare(policy, optimizer)
        self._sharded = ShardedPolicy(self.wrapped, self.policy, self.is_zero3, alive)
        self.model = FittingModel(self._sharded, leaves_out=run.run.on_failure == "go_on")
        self.learner = AcceleratorLearner(accelerator, self.wrapped, self.optimizer, run.run.max_grad_norm)

    @property
    def policy(self) -> SessionPolicy:
        """The models without what is around them; under ZeRO-3 their weights are elsewhere."""
        unwrapped: SessionPolicy = self.accelerator.unwrap_model(self.wrapped)
        return unwrapped

    def tokenizer_to_keep(self) -> PreTrainedTokenizerBase:
        """As `self.tokenizer`, naming the longest prompt that the policy learnt from (`model_max_length`).

        Who loads the policy cuts prompts to that, so that it reads what it read here, whatever the checkpoint that it
        began with had been trained on.
        """
        kept = copy.deepcopy(self.tokenizer)
        limit = self.run.rollouts.longest_prompt
        reads_all = limit == MAX_PROMPT_TOKENS  # nobody gives longer ones
        kept.model_max_length = max(self._named_limit, limit) if reads_all else limit
        return kept

    @property
    def pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)

    def decode(self, ids: Any) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def set_learning_rate(self, share: float, policy_is_frozen: bool) -> None:
        """`share`: of the learning rates that were set. A frozen policy's is 0, or its weights would decay."""
        policy, value = learning_rates(self.run)
        rates = (0.0 if policy_is_frozen else policy, value)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * share

    def generator(self) -> PolicyGenerator:
        """The policy as a Generator; to be used inside `whole_policy` only."""
        rollouts = self.run.rollouts
        loaded = LoadedModel(
            self.policy.language_model, self.tokenizer, self.run.policy.model_name_or_path, "in training"
        )
        return PolicyGenerator(loaded, rollouts.generation_batch, rollouts.max_prompt_tokens, self._precision)

    @contextmanager
    def _precision(self) -> Iterator[None]:
        """For the thread that generates: its device, and autocast where training has it; both hold for one thread."""
        on_gpu = self.device.type == "cuda"
        half = self.accelerator.mixed_precision != "no"
        with (
            torch.cuda.device(self.device) if on_gpu else nullcontext(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=half),
        ):
            yield

    @contextmanager
    def whole_policy(self) -> Iterator[None]:
        """The policy's weights on every device and in evaluation mode, without value and reference.

        Every process must enter and leave at the same time.
        """
        policy = self.policy
        checkpoints = policy.is_gradient_checkpointing
        if checkpoints:
            policy.gradient_checkpointing_disable()
        policy.eval()
        try:
            with self._sharded.whole(("policy",)):
                yield
        finally:
            policy.train()
            if checkpoints:
                policy.gradient_checkpointing_enable()


def _check_compiling(is_deepspeed: bool, device: torch.device) -> None:
    """Raises ConfigError where layers cannot be compiled."""
    if is_deepspeed:
        raise ConfigError("policy.compile does not go with DeepSpeed, which changes layers as they run")
    if device.type == "cpu" and not shutil.which(os.environ.get("CXX") or "g++"):
        raise ConfigError("policy.compile needs a C++ compiler, and there is no g++ here (nor does CXX name one)")


def make_optimizer(policy: SessionPolicy, run: PpoRun) -> torch.optim.Optimizer:
    """AdamW over the policy's and the value's weights, a group each."""
    groups = [policy.policy_parameters(), policy.value_parameters()]
    return torch.optim.AdamW(
        [{"params": params, "lr": rate} for params, rate in zip(groups, learning_rates(run), strict=True)],
        weight_decay=run.run.weight_decay,
    )


def learning_rates(run: PpoRun) -> tuple[float, float]:
    """Of the policy and of the value."""
    value = run.run.value_learning_rate
    return run.run.learning_rate, run.run.learning_rate if value is None else value


def trained_weights(policy: SessionPolicy) -> int:
    """How many numbers are learnt; also where ZeRO-3 has spread them over the processes."""
    return sum(int(getattr(p, "ds_numel", p.numel())) for p in policy.parameters() if p.requires_grad)


def tokenizer_of(model: str) -> PreTrainedTokenizerBase:
    """Raises CheckpointError."""
    try:
        return load_tokenizer(resolve_checkpoint(model))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"cannot load the tokenizer of {model} ({first_line(error)}): name a folder that holds a checkpoint"
        ) from error

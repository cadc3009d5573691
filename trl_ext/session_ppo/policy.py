"""What learns and what it is compared with, as one module: policy, value, reference.

One module, so that one engine holds all three whatever the sharding: under ZeRO-3 the frozen reference is spread over
the devices like the rest (sharding.py). Everything goes through `forward`.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol

import torch
from torch import nn
from transformers import PreTrainedModel

from pasa.models.hf_loading import import_peft
from trl_ext.session_ppo.log_probs import ChosenTokenHead, check_plain_logits
from trl_ext.session_ppo.records import SessionBatch
from trl_ext.session_ppo.settings import PolicySettings
from trl_ext.starting_models import load_start

Part = Literal["policy", "reference", "value"]
EVERY_PART: tuple[Part, ...] = ("policy", "reference", "value")
# With gradients or without, learning or frozen, adapter on or off, one row or more, padded or not, twice for the rest.
_FORMS_OF_A_LAYER = 64
_CHECKPOINTING = {"use_reentrant": False}


class SessionPolicy(nn.Module):
    """Policy, value and reference. `language_model` is the policy as transformers (or PEFT) has it.

    `value_body` None: the value reads the policy's own hidden states. `reference` None: the reference is the policy
    with its adapter switched off.
    """

    def __init__(
        self,
        language_model: Any,
        value_body: PreTrainedModel | None,
        reference: PreTrainedModel | None,
        value_layer: int = 0,
        chunk_tokens: int = 256,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        check_plain_logits(language_model.config)
        self.language_model = language_model
        self.head = ChosenTokenHead(_base(language_model).get_output_embeddings(), chunk_tokens, temperature)
        self.reference = reference
        self.reference_head = (
            ChosenTokenHead(reference.get_output_embeddings(), chunk_tokens, temperature) if reference else self.head
        )
        self.value_body = value_body
        body = value_body if value_body is not None else language_model
        self.value_head = value_head(int(body.config.hidden_size), value_layer)
        for frozen in reference.parameters() if reference else ():
            frozen.requires_grad_(False)
        _drop_nothing(self)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        prompt_lengths: torch.Tensor,
        reply_ids: torch.Tensor,
        reply_mask: torch.Tensor,
        parts: Iterable[Part],
        detach_value: bool = False,
    ) -> dict[str, torch.Tensor]:
        """What `parts` say of each token of the replies, [B, R] float32 and 0 where `reply_mask` is False.

        The first five are SessionBatch's. "policy": `log_probs`, and `entropy` in nats without gradient. "reference":
        `reference_log_probs`. "value": `values`, V of the state before the token. `detach_value`: a value that shares
        the policy's layers sends no gradient into them.
        """
        asked = frozenset(parts)
        chosen = reply_ids[reply_mask]  # [N]

        def states(model: nn.Module) -> torch.Tensor:
            return reply_states(model, input_ids, attention_mask, prompt_lengths, reply_mask)

        def by_token(flat: torch.Tensor) -> torch.Tensor:
            return flat.new_zeros(reply_mask.shape).masked_scatter(reply_mask, flat)

        said: dict[str, torch.Tensor] = {}
        shared = "value" in asked and self.value_body is None
        if "policy" in asked or shared:
            alone = shared and detach_value and "policy" not in asked
            with torch.no_grad() if alone else nullcontext():
                hidden = states(_base(self.language_model).get_decoder())  # [N, H]
        if "policy" in asked:
            log_probs, entropy = self.head(hidden, chosen)
            said |= {"log_probs": by_token(log_probs), "entropy": by_token(entropy)}
        if "reference" in asked:
            said["reference_log_probs"] = by_token(self._reference_log_probs(states, chosen))
        if "value" in asked:
            if self.value_body is not None:
                hidden = states(self.value_body)
            elif detach_value:
                hidden = hidden.detach()
            said["values"] = by_token(self.value_head(hidden.to(_dtype(self.value_head))).squeeze(-1).float())
        return said

    @torch.no_grad()
    def _reference_log_probs(self, states: Any, chosen: torch.Tensor) -> torch.Tensor:
        if self.reference is not None:
            return self.reference_head(states(self.reference.get_decoder()), chosen)[0]
        with self.language_model.disable_adapter():
            return self.reference_head(states(_base(self.language_model).get_decoder()), chosen)[0]

    def passes(self, parts: Iterable[Part]) -> list[tuple[Part, ...]]:
        """`parts`, those together that one pass through the same layers tells."""
        asked = frozenset(parts)
        groups: list[tuple[Part, ...]] = [("policy",), ("reference",), ("value",)]
        if self.value_body is None:
            groups = [("policy", "value"), ("reference",)]
        told = [tuple(part for part in group if part in asked) for group in groups]
        return [group for group in told if group]

    def whole(self, parts: Iterable[Part]) -> AbstractContextManager[None]:
        """Inside, what `parts` need is on this device, as here it always is, and a process may pass without others.

        Every process must enter and leave at the same time.
        """
        return nullcontext()

    def weights_of(self, parts: Iterable[Part]) -> list[nn.Parameter]:
        """What a pass that tells `parts` reads, each weight once."""
        value = [self.value_body if self.value_body is not None else self.language_model, self.value_head]
        reference = [self.reference if self.reference is not None else self.language_model]
        read: dict[Part, list[Any]] = {"policy": [self.language_model], "reference": reference, "value": value}
        return list(dict.fromkeys(p for part in parts for module in read[part] for p in module.parameters()))

    def compile_layers(self, backend: str = "inductor") -> None:
        """From now on torch.compile runs the layers of policy, reference and value: compiled once, they are all alike.

        Generating with them belongs under torch.compiler.set_stance("force_eager").
        """
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _FORMS_OF_A_LAYER)
        for body in (self.language_model, self.reference, self.value_body):
            for layer in _base(body).get_decoder().layers if body is not None else ():
                layer.compile(dynamic=True, backend=backend)

    def policy_parameters(self) -> list[nn.Parameter]:
        """The policy's weights that learn."""
        return [p for p in self.language_model.parameters() if p.requires_grad]

    def value_parameters(self) -> list[nn.Parameter]:
        """The value's own weights."""
        bodies = [self.value_head] if self.value_body is None else [self.value_body, self.value_head]
        return [p for body in bodies for p in body.parameters() if p.requires_grad]

    @property
    def config(self) -> Any:
        """The policy's, which launchers and savers read."""
        return self.language_model.config

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether activations are computed again in the backward pass; generating with that on is slow."""
        return bool(_base(self.language_model).is_activation_checkpointing)

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any] | None = None) -> None:
        for body in self._learning_bodies():
            body.activation_checkpointing_enable(gradient_checkpointing_kwargs or _CHECKPOINTING)

    def gradient_checkpointing_disable(self) -> None:
        for body in self._learning_bodies():
            body.activation_checkpointing_disable()

    def _learning_bodies(self) -> list[Any]:
        return [_base(self.language_model), *([self.value_body] if self.value_body is not None else [])]


class Model(Protocol):
    """SessionPolicy, or what an engine wraps it in (sharding.py)."""

    def __call__(self, **given: Any) -> dict[str, torch.Tensor]:
        """As SessionPolicy.forward; without gradients in `whole` only."""
        ...

    def passes(self, parts: Iterable[Part]) -> list[tuple[Part, ...]]:
        """As SessionPolicy.passes."""
        ...

    def whole(self, parts: Iterable[Part]) -> AbstractContextManager[None]:
        """As SessionPolicy.whole."""
        ...


def arguments_of(batch: SessionBatch) -> dict[str, torch.Tensor]:
    """What SessionPolicy.forward takes of a batch."""
    return {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "prompt_lengths": batch.prompt_lengths,
        "reply_ids": batch.reply_ids,
        "reply_mask": batch.reply_mask,
    }


def reply_states(
    model: nn.Module,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    prompt_lengths: torch.Tensor,
    reply_mask: torch.Tensor,
) -> torch.Tensor:
    """[N, H]: the last hidden states from which each of the N sampled tokens is predicted, rows one after another."""
    hidden = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state  # [B, L, H]
    rows, tokens = reply_mask.nonzero(as_tuple=True)
    return hidden[rows, prompt_lengths[rows] + tokens - 1]


def value_head(hidden: int, layer: int) -> nn.Module:
    """hidden -> 1, or hidden -> layer -> 1 as upstream has it; linear, no bias. Begins at V = 0 everywhere."""
    last = nn.Linear(layer or hidden, 1, bias=False)
    nn.init.zeros_(last.weight)
    return nn.Sequential(nn.Linear(hidden, layer, bias=False), last) if layer else last


def load_session_policy(
    settings: PolicySettings,
    dtype: torch.dtype = torch.float32,
    attention: str = "sdpa",
    temperature: float = 1.0,
    frozen_dtype: torch.dtype | None = None,
) -> SessionPolicy:
    """The models that `settings` name, in training mode on the CPU, or spread where DeepSpeed is set up to load so.

    `frozen_dtype`: of the weights under an adapter, which do not learn (None = `dtype`); autocast would turn them into
    it anew in every pass. Raises CheckpointError.
    """
    path = settings.model_name_or_path
    language_model: Any = load_start(path, dtype, attention)
    reference = None
    if settings.lora_rank:
        for weights in language_model.parameters():  # buffers stay: rotary frequencies are positions
            weights.data = weights.data.to(frozen_dtype or dtype)
        language_model = _with_adapter(language_model, settings)
    else:
        reference = load_start(path, dtype, attention)
    value_body = None
    if settings.value_body == "copy":
        body = settings.value_model_name_or_path or path
        value_body = load_start(body, dtype, attention).get_decoder()
    policy = SessionPolicy(
        language_model, value_body, reference, settings.value_layer, settings.chunk_tokens, temperature
    )
    for weights in policy.parameters():  # DeepSpeed cannot have two kinds; PEFT makes adapters, torch heads, of float32
        if weights.requires_grad and not hasattr(weights, "ds_id"):  # what is spread was loaded so
            weights.data = weights.data.to(dtype)
    if settings.gradient_checkpointing:
        policy.gradient_checkpointing_enable()
    if settings.compile:
        policy.compile_layers()
    return policy.train()


def _with_adapter(model: PreTrainedModel, settings: PolicySettings) -> Any:
    peft = import_peft()
    names = [name.strip() for name in settings.lora_targets.split(",")]
    config = peft.LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=0.0,  # the policy that learns must be the one that was sampled
        target_modules=names[0] if len(names) == 1 else names,
        task_type="CAUSAL_LM",
    )
    return peft.get_peft_model(model, config)


def _base(model: Any) -> Any:
    """The transformers model inside a PEFT one, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _dtype(module: nn.Module) -> torch.dtype:
    return next(module.parameters()).dtype


def _drop_nothing(module: nn.Module) -> None:
    """Dropout off in training too: a ratio of two passes must tell of the weights, not of chance."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if isinstance(getattr(part, "attention_dropout", None), float):
            part.attention_dropout = 0.0  # type: ignore[assignment]

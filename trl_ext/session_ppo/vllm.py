"""A vLLM server (`trl vllm-serve`) that writes for the policy in training; its weights follow the policy each step.

Optional: needs GPUs and `pip install trl[vllm]`. Start it on other GPUs than the training's:

    trl vllm-serve --model checkpoints/sft-crawler --tensor-parallel-size 1
    ... scripts/train_ppo.py ... --vllm_url http://host:8000
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch

from pasa.errors import ConfigError, ModelError
from pasa.models.base import CrawlRequest, Reply, Sampling
from pasa.models.hf_generator import STOP_TEXTS
from trl_ext.session_ppo.generation import PolicyGenerator

_CONNECT_SECONDS = 60.0
REQUESTS_AT_ONCE = 8  # of a process; the server forms its own batches
_LORA = ".base_layer"


class Client(Protocol):
    """What is used of trl.generation.vllm_client.VLLMClient."""

    def generate(self, prompts: list[list[int]], **sampling: Any) -> dict[str, Any]: ...

    def update_named_param(self, name: str, weights: torch.Tensor) -> None: ...

    def reset_prefix_cache(self) -> None: ...


class VllmWriter:
    """Writes replies by a server.

    `local` tells how prompts are read; `sends`: whether this process is the one that sends the weights.
    """

    def __init__(self, client: Client, local: PolicyGenerator, sends: bool) -> None:
        self.name = f"vLLM for {local.name}"
        self.requests_at_once = REQUESTS_AT_ONCE
        self._client = client
        self._local = local
        self._sends = sends

    def encode(self, requests: Sequence[CrawlRequest], max_new_tokens: int) -> list[list[int]]:
        return self._local.encode(requests, max_new_tokens)

    def generate(self, requests: Sequence[CrawlRequest], sampling: Sampling) -> list[Reply]:
        """One reply a request, in order. Raises ModelError where the server does not answer."""
        prompts = self.encode(requests, sampling.max_new_tokens)
        try:
            answer = self._client.generate(
                prompts,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                repetition_penalty=1.0,
                max_tokens=sampling.max_new_tokens,
                generation_kwargs={"stop": list(STOP_TEXTS), "include_stop_str_in_output": True},
            )
            replies = [list(map(int, ids)) for ids in answer["completion_ids"]]
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ModelError(f"the vLLM server did not answer usably: {error}") from error
        if len(replies) != len(prompts):
            raise ModelError(f"the vLLM server gave {len(replies)} replies to {len(prompts)} prompts")
        return [self._local.reply_of(prompt, ids) for prompt, ids in zip(prompts, replies, strict=True)]

    def update(self, language_model: Any) -> None:
        """Sends the policy's weights, whole on this process, to the server; a LoRA is sent merged."""
        if not self._sends:
            return
        for name, weights in merged_weights(language_model):
            self._client.update_named_param(name, weights)
        self._client.reset_prefix_cache()


def merged_weights(language_model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Name -> weights as the model without adapter has them, the adapter's share added in.

    The model's own stay as they are to the last bit: adding to half precision and taking away again would not give
    them back.
    """
    if not hasattr(language_model, "merge_adapter"):
        yield from ((name, p.data) for name, p in language_model.named_parameters())
        return
    before = {name: p.data for name, p in language_model.get_base_model().named_parameters() if "lora_" not in name}
    base = language_model.get_base_model()
    adapted = {f"{name}.base_layer.weight": layer for name, layer in base.named_modules() if hasattr(layer, "lora_A")}
    for name, weights in before.items():
        if name in adapted:
            share = sum(adapted[name].get_delta_weight(adapter) for adapter in adapted[name].active_adapters)
            weights = (weights.float() + share).to(weights.dtype)
        yield name.replace(_LORA, ""), weights


def connect(url: str, group_port: int, local: PolicyGenerator, sends: bool) -> VllmWriter:
    """The writer of the server at `url`. Raises ConfigError where the client is missing or nobody answers."""
    try:
        from trl.generation.vllm_client import VLLMClient

        client: Any = VLLMClient(base_url=url, group_port=group_port, connection_timeout=_CONNECT_SECONDS)
        if sends:
            client.init_communicator()
    except (ImportError, ConnectionError, OSError, RuntimeError) as error:
        raise ConfigError(f"vllm_url {url} cannot be used ({error}); start `trl vllm-serve` there first") from error
    return VllmWriter(client, local, sends)

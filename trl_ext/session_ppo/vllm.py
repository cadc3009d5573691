"""A vLLM server that writes for the policy in training; its weights follow the policy each step.

Optional. Weights go by NCCL, to a server on other GPUs than the training's (`pip install trl[vllm]` on both sides):

    VLLM_SERVER_DEV_MODE=1 vllm serve checkpoints/sft-crawler --weight-transfer-config '{"backend": "nccl"}'
    ... scripts/train_ppo.py ... --vllm_url http://host:8000

or as files in `output_dir/vllm_weights`, at the same path for the server (vllm_files.py); training then needs no vLLM
and the server no GPU:

    VLLM_SERVER_DEV_MODE=1 vllm serve checkpoints/sft-crawler
    ... scripts/train_ppo.py ... --vllm_url http://host:8000 --vllm_weights files
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch

from pasa.errors import ConfigError, ModelError
from pasa.models.base import CrawlRequest, Reply, Sampling
from pasa.models.hf_generator import STOP_TEXTS, row_seeds
from pasa.models.hf_loading import first_line
from trl_ext.session_ppo.generation import PolicyGenerator
from trl_ext.session_ppo.run_settings import RunSettings
from trl_ext.session_ppo.vllm_files import FileClient

_CONNECT_SECONDS = 60.0
REQUESTS_AT_ONCE = 8  # of a process; the server forms its own batches
WEIGHTS_FOLDER = "vllm_weights"
_LORA = ".base_layer"


class Client(Protocol):
    """What is used of trl.generation.vllm_client.VLLMClient, or of FileClient."""

    def generate(self, prompts: list[list[int]], **sampling: Any) -> dict[str, Any]: ...

    def weight_update(self) -> AbstractContextManager[None]: ...

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
        """One reply a request, in order; the same seed asks for the same replies. Raises ModelError.

        Each prompt is asked for by itself: a server takes one seed a call, with which equal prompts get equal replies.
        """
        prompts = self.encode(requests, sampling.max_new_tokens)
        seeds = row_seeds(sampling, prompts)
        return [self._write(prompt, seed, sampling) for prompt, seed in zip(prompts, seeds, strict=True)]

    def _write(self, prompt: list[int], seed: int, sampling: Sampling) -> Reply:
        try:
            answer = self._client.generate(
                [prompt],
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                repetition_penalty=1.0,
                max_tokens=sampling.max_new_tokens,
                generation_kwargs={
                    "stop": list(STOP_TEXTS),
                    "include_stop_str_in_output": True,
                    "seed": seed >> 1,  # vLLM takes a signed number of 64 bits and refuses what is beyond
                },
            )
            replies = [list(map(int, ids)) for ids in answer["completion_ids"]]
        except Exception as error:  # TRL's client raises a bare one for any status but 200
            raise ModelError(f"the vLLM server did not answer usably: {first_line(error)}") from error
        if len(replies) != 1:
            raise ModelError(f"the vLLM server gave {len(replies)} replies to one prompt")
        return self._local.reply_of(prompt, replies[0])

    def update(self, language_model: Any) -> None:
        """Sends the policy's weights, whole on this process, to the server; a LoRA is sent merged.

        Raises ModelError: a server with some of the weights must write nothing more.
        """
        if not self._sends:
            return
        try:
            with self._client.weight_update():  # or each tensor would be an update of its own
                for name, weights in merged_weights(language_model):
                    self._client.update_named_param(name, weights)
            self._client.reset_prefix_cache()
        except Exception as error:  # TRL's client raises a bare one for any status but 200
            raise ModelError(
                f"the policy's weights could not be sent to the vLLM server ({first_line(error)}); start the server "
                "again and run the same command: it goes on from the last checkpoint"
            ) from error


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


def connect(run: RunSettings, local: PolicyGenerator, sends: bool) -> VllmWriter:
    """The writer of the server that `run` names. Raises ConfigError where the client is missing or nobody answers."""
    try:
        client: Any
        if run.vllm_weights == "files":
            client = FileClient(str(run.vllm_url), Path(run.output_dir) / WEIGHTS_FOLDER, run.watchdog_seconds / 2)
        else:
            from trl.generation.vllm_client import VLLMClient

            client = VLLMClient(run.vllm_url, group_port=run.vllm_group_port, connection_timeout=_CONNECT_SECONDS)
            if sends:
                client.init_communicator()
    except Exception as error:  # TRL's client raises a bare one for any status but 200
        raise ConfigError(
            f"vllm_url {run.vllm_url} cannot be used ({first_line(error)}); start `vllm serve` there first, as "
            "docs/TRAINING.md says"
        ) from error
    return VllmWriter(client, local, sends)

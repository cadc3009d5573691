"""Hugging Face causal LMs as the agent's models: the public names, and where each lives."""

from pasa.models.base import Scorer
from pasa.models.hf_generator import HuggingFaceGenerator
from pasa.models.hf_likelihood import LikelihoodScorer, read_calibration
from pasa.models.hf_loading import Attention, Dtype, LoadedModel, load_checkpoint
from pasa.models.hf_scorer import HuggingFaceScorer

__all__ = [
    "HuggingFaceGenerator",
    "HuggingFaceScorer",
    "LikelihoodScorer",
    "LoadedModel",
    "load_checkpoint",
    "load_scorer",
]


def load_scorer(path: str, device: str = "auto", dtype: Dtype = "auto", attention: Attention = "auto") -> Scorer:
    """The Selector at `path`: by the probability of True or, where its folder says so, by the question's likelihood.

    Settings and errors as in `load_checkpoint`.
    """
    calibration = read_calibration(path)
    if calibration is None:
        return HuggingFaceScorer.load(path, device, dtype, attention)
    return LikelihoodScorer(load_checkpoint(path, device, dtype, attention), calibration)

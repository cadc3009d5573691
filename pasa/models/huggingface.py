"""Hugging Face causal LMs as the agent's models: the public names, and where each lives."""

from pasa.models.hf_generator import HuggingFaceGenerator
from pasa.models.hf_loading import LoadedModel, load_checkpoint
from pasa.models.hf_scorer import HuggingFaceScorer

__all__ = ["HuggingFaceGenerator", "HuggingFaceScorer", "LoadedModel", "load_checkpoint"]

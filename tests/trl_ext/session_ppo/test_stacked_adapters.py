"""A policy that began with a LoRA checkpoint is saved as one adapter over their base."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from pasa.errors import CheckpointError
from pasa.models.hf_loading import load_checkpoint
from trl_ext.adapter_folders import name_base_from
from trl_ext.session_ppo.policy import load_session_policy
from trl_ext.session_ppo.settings import policy_settings
from trl_ext.session_ppo.stacked_adapters import stack_adapters

IDS = torch.tensor([[3, 7, 11, 2, 9]])


def randomized(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn_like(parameter))
    return model


@pytest.fixture
def first(tiny_model, tmp_path):
    """A LoRA checkpoint as SFT leaves it: some layers, a rank and a scale of its own."""
    torch.manual_seed(1)
    config = LoraConfig(r=3, lora_alpha=12, target_modules=r".*layers\.0\.self_attn\.[qv]_proj", task_type="CAUSAL_LM")
    model = randomized(get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config))
    model.save_pretrained(tmp_path / "first")
    name_base_from(tmp_path / "first")
    return tmp_path / "first"


@pytest.mark.parametrize("targets", ["all-linear", "q_proj,down_proj"])
def test_what_is_saved_says_what_the_policy_says(first, tmp_path, targets):
    torch.manual_seed(2)
    settings = policy_settings({"model_name_or_path": str(first), "lora_rank": 2, "lora_targets": targets})
    policy = load_session_policy(settings).language_model
    randomized(policy)
    policy.save_pretrained(tmp_path / "second")
    stack_adapters(first, tmp_path / "second")
    name_base_from(tmp_path / "second")
    with torch.no_grad():
        expected = policy.eval()(IDS).logits
        alone = AutoModelForCausalLM.from_pretrained(_base(first))(IDS).logits
        said = load_checkpoint(str(tmp_path / "second"), device="cpu").model(IDS).logits
    torch.testing.assert_close(said, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(alone, expected, atol=0.05)


def _base(folder):
    return (folder / json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]).resolve()


def test_the_folders_move_together_with_their_base(first, tmp_path):
    assert not json.loads((first / "adapter_config.json").read_text())["base_model_name_or_path"].startswith("/")
    assert _base(first).is_dir()


@pytest.mark.parametrize("change", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"bias": "all"}])
def test_an_adapter_that_is_more_than_a_lora_is_refused(first, change):
    path = first / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match="no plain LoRA"):
        stack_adapters(first, first)

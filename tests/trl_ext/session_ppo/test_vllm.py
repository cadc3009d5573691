import pytest
import torch

from pasa.errors import ModelError
from pasa.models.base import Sampling, SideBySide
from pasa.models.hf_loading import load_checkpoint
from pasa.prompts import search_request
from trl_ext.session_ppo.generation import PolicyGenerator
from trl_ext.session_ppo.policy import load_session_policy
from trl_ext.session_ppo.settings import PolicySettings
from trl_ext.session_ppo.vllm import VllmWriter


class Server:
    """In a vLLM server's place: answers with fixed tokens and keeps what it is told."""

    def __init__(self, replies):
        self.replies = replies
        self.asked, self.weights, self.resets = [], {}, 0

    def generate(self, prompts, **sampling):
        self.asked.append((prompts, sampling))
        return {"completion_ids": self.replies[: len(prompts)]}

    def update_named_param(self, name, weights):
        self.weights[name] = weights.clone()

    def reset_prefix_cache(self):
        self.resets += 1


@pytest.fixture
def local(toy):
    return PolicyGenerator(load_checkpoint(str(toy.model), "cpu"), 4, 400)


def test_replies_end_where_the_model_here_would_have_stopped(local):
    tokens = local.tokenizer("[Search] amber[StopSearch][Search] basil")["input_ids"]
    server = Server([tokens])
    writer = VllmWriter(server, local, sends=True)
    assert isinstance(writer, SideBySide)
    request = search_request("Which works are on amber")
    [reply] = writer.generate([request], Sampling(temperature=0.7, max_new_tokens=9))
    assert reply.text == "[Search] amber[StopSearch]"
    assert reply.reply_ids == tuple(tokens[:3])
    assert list(reply.prompt_ids) == local.encode([request], 9)[0] == server.asked[0][0][0]
    assert server.asked[0][1]["temperature"] == 0.7
    assert server.asked[0][1]["repetition_penalty"] == 1.0


def test_a_server_that_answers_too_little_is_a_model_that_failed(local):
    with pytest.raises(ModelError, match="0 replies to 1 prompts"):
        VllmWriter(Server([]), local, True).generate([search_request("Which?")], Sampling())


def test_sending_leaves_the_weights_under_an_adapter_as_they_are(toy, local):
    policy = load_session_policy(PolicySettings(str(toy.model), lora_rank=2), frozen_dtype=torch.bfloat16)
    language_model = policy.language_model
    with torch.no_grad():
        for parameter in policy.policy_parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    before = {name: p.detach().clone() for name, p in language_model.named_parameters()}
    server = Server([])
    VllmWriter(server, local, sends=True).update(language_model)
    assert all(torch.equal(p, before[name]) for name, p in language_model.named_parameters())
    language_model.merge_adapter()  # PEFT's own sums
    for name, p in language_model.get_base_model().named_parameters():
        if "lora_" not in name:
            torch.testing.assert_close(server.weights[name.replace("base_layer.", "")], p, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_the_servers_weights_follow_the_policy(toy, local, lora_rank):
    policy = load_session_policy(PolicySettings(str(toy.model), lora_rank=lora_rank))
    with torch.no_grad():
        for name, parameter in policy.language_model.named_parameters():
            if not lora_rank or "lora_" in name:
                parameter += 0.01
    server = Server([])
    VllmWriter(server, local, sends=True).update(policy.language_model)
    assert server.resets == 1
    assert set(server.weights) == {name for name, _ in local.model.named_parameters()}
    moved = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.allclose(server.weights[moved], local.model.get_parameter(moved))
    VllmWriter(quiet := Server([]), local, sends=False).update(policy.language_model)
    assert quiet.weights == {}

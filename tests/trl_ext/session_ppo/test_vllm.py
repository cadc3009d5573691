import contextlib

import pytest
import requests
import torch
from trl.generation.vllm_client import VLLMClient

from pasa.errors import ModelError
from pasa.models.base import Sampling, SideBySide
from pasa.models.hf_loading import load_checkpoint
from pasa.prompts import search_request
from tests.models.openai_server import Answer, OpenAIServer
from trl_ext.session_ppo.generation import PolicyGenerator
from trl_ext.session_ppo.policy import load_session_policy
from trl_ext.session_ppo.settings import PolicySettings
from trl_ext.session_ppo.vllm import Client, VllmWriter


class Server:
    """In a vLLM server's and its client's place: answers with fixed tokens and keeps what it is told."""

    def __init__(self, replies):
        self.replies = replies
        self.asked, self.weights, self.resets = [], {}, 0
        self.updates, self.is_updating, self.refuses = 0, False, False

    def generate(self, prompts, **sampling):
        self.asked.append((prompts, sampling))
        return {"completion_ids": self.replies[: len(prompts)]}

    @contextlib.contextmanager
    def weight_update(self):
        self.updates, self.is_updating = self.updates + 1, True
        yield
        self.is_updating = False

    def update_named_param(self, name, weights):
        if self.refuses:
            raise Exception("Request failed: 400, no such weight\nand more")  # as TRL's client does
        self.updates += not self.is_updating  # by itself it is a whole update, as TRL's client does it
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


class LoopbackClient(VLLMClient):
    """TRL's own client as it asks for replies, without its start, which needs vLLM."""

    def __init__(self, base_url):
        self.base_url = base_url.removesuffix("/v1")
        self.session = requests.Session()
        self.model = "policy"


def completion(path, body):
    """What `vllm serve` answers, also that it takes no seed beyond a signed number of 64 bits."""
    if not -(2**63) <= body["seed"] < 2**63:
        return Answer({"error": {"message": "Input should be less than or equal to 9223372036854775807"}}, 400)
    choices = [{"prompt_token_ids": ids, "token_ids": [ids[-1]], "logprobs": None} for ids in body["prompt"]]
    return Answer({"choices": choices})


def seeds_sent(local, sampling, texts=("Which?",)):
    with OpenAIServer(completion) as server:
        writer = VllmWriter(LoopbackClient(server.base_url), local, sends=False)
        assert len(writer.generate([search_request(text) for text in texts], sampling)) == len(texts)
        bodies = [body for _, body, _ in server.requests]
    assert all(len(body["prompt"]) == 1 for body in bodies)  # a seed is the request's, not the prompt's
    return [body["seed"] for body in bodies]


def test_the_same_seed_and_prompt_ask_for_the_same_reply(local):
    texts = [f"Which works are on {thing}?" for thing in "abcdefgh"]  # eight, so that some seed is beyond 63 bits
    first = seeds_sent(local, Sampling(1.0, seed=7), texts)
    assert first == seeds_sent(local, Sampling(1.0, seed=7), texts)
    assert len(set(first)) == len(texts)
    assert not set(first) & set(seeds_sent(local, Sampling(1.0, seed=8), texts))
    twice = seeds_sent(local, Sampling(1.0, seed=7), ("Which?", "Which?"))
    assert twice[0] != twice[1]
    assert seeds_sent(local, Sampling(1.0)) != seeds_sent(local, Sampling(1.0))


def test_a_refused_prompt_is_a_model_that_failed(local):
    with OpenAIServer(lambda path, body: Answer({"error": "too long"}, 400)) as server:
        writer = VllmWriter(LoopbackClient(server.base_url), local, sends=False)
        with pytest.raises(ModelError, match="400"):
            writer.generate([search_request("Which?")], Sampling(seed=1))


def test_weights_that_the_server_does_not_take_are_told_in_one_line(toy, local):
    server = Server([])
    server.refuses = True
    with pytest.raises(ModelError, match=r"start the server again.*last checkpoint") as told:
        VllmWriter(server, local, sends=True).update(local.model)
    assert "no such weight" in str(told.value)
    assert "\n" not in str(told.value)


def test_the_installed_client_can_do_what_is_asked_of_it():
    used = {name for name in vars(Client) if not name.startswith("_")}
    assert used == {"generate", "weight_update", "update_named_param", "reset_prefix_cache"}
    assert all(callable(getattr(VLLMClient, name, None)) for name in used)


def test_a_server_that_answers_too_little_is_a_model_that_failed(local):
    with pytest.raises(ModelError, match="0 replies to one prompt"):
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
    assert (server.updates, server.resets) == (1, 1)
    assert set(server.weights) == {name for name, _ in local.model.named_parameters()}
    moved = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.allclose(server.weights[moved], local.model.get_parameter(moved))
    VllmWriter(quiet := Server([]), local, sends=False).update(policy.language_model)
    assert quiet.weights == {}

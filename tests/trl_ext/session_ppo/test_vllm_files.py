"""Weights that reach a vLLM server as files: by HTTP, to a server that reads them when told to."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pasa.errors import ConfigError, ModelError
from pasa.models.base import Sampling
from pasa.models.hf_loading import load_checkpoint
from pasa.prompts import search_request
from tests.models.openai_server import Answer, OpenAIServer
from trl_ext.session_ppo import vllm_files
from trl_ext.session_ppo.generation import PolicyGenerator
from trl_ext.session_ppo.policy import load_session_policy
from trl_ext.session_ppo.run_settings import RunSettings
from trl_ext.session_ppo.settings import PolicySettings
from trl_ext.session_ppo.vllm import connect


class ReadingServer:
    """Answers as `vllm serve` does, and has the weights that were in the folder when it was told to read them."""

    def __init__(self, reply=(7,)):
        self.reply, self.weights, self.files, self.told = list(reply), {}, [], []
        self.refuses = False

    def __call__(self, path, body):
        self.told.append(path)
        if path == "/v1/models":
            return Answer({"data": [{"id": "policy"}]})
        if path == "/collective_rpc" and self.refuses:
            return Answer({"error": "no such RPC"}, 404)
        if path == "/collective_rpc":
            assert body["method"] == "reload_weights"
            files = sorted(Path(body["kwargs"]["weights_path"]).glob("*.safetensors"))
            self.files = [file.name for file in files]
            self.weights = {name: tensor for file in files for name, tensor in load_file(file).items()}
            return Answer({"results": [None]})
        if path == "/reset_prefix_cache":
            return Answer({"success": True})
        assert body["model"] == "policy"
        assert body["return_token_ids"]
        assert (body["top_k"], body["min_p"], body["top_p"]) == (0, 0.0, 1.0)  # not the checkpoint's, which bend
        return Answer({"choices": [{"token_ids": self.reply} for _ in body["prompt"]]})


@pytest.fixture
def local(toy):
    return PolicyGenerator(load_checkpoint(str(toy.model), "cpu"), 4, 400)


@pytest.fixture
def served(local, tmp_path):
    """(what answers, the writer that asks it)"""
    answers = ReadingServer(local.tokenizer("[Search] amber[StopSearch]")["input_ids"])
    with OpenAIServer(answers) as server:
        run = RunSettings(output_dir=str(tmp_path), vllm_url=server.base_url, vllm_weights="files")
        yield answers, connect(run, local, sends=True)


def moved_policy(toy, **form):
    policy = load_session_policy(PolicySettings(str(toy.model), **form))
    with torch.no_grad():
        for parameter in policy.policy_parameters():
            parameter += 0.1
    return policy.language_model


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_the_server_reads_the_policys_weights(toy, local, served, lora_rank):
    answers, writer = served
    model = moved_policy(toy, lora_rank=lora_rank)
    writer.update(model)
    whole = model.merge_and_unload() if lora_rank else model
    expected = dict(whole.named_parameters())
    assert set(answers.weights) == set(expected)
    for name, tensor in answers.weights.items():
        torch.testing.assert_close(tensor, expected[name].detach(), msg=name)
    assert answers.told[-2:] == ["/collective_rpc", "/reset_prefix_cache"]


def test_weights_of_any_size_go_in_pieces_and_old_pieces_are_not_read_again(toy, served, monkeypatch):
    answers, writer = served
    monkeypatch.setattr(vllm_files, "_SHARD_BYTES", 5000)
    writer.update(moved_policy(toy))
    names, pieces = set(answers.weights), len(answers.files)
    assert pieces > 2
    monkeypatch.undo()
    writer.update(moved_policy(toy))
    assert answers.files == ["model-00000.safetensors"]
    assert set(answers.weights) == names


def test_replies_are_the_servers_tokens(served):
    _, writer = served
    [reply] = writer.generate([search_request("Which?")], Sampling(0.7, seed=1, max_new_tokens=9))
    assert reply.text == "[Search] amber[StopSearch]"


def test_a_server_that_cannot_read_is_told_in_one_line(toy, served):
    answers, writer = served
    answers.refuses = True
    with pytest.raises(ModelError, match=r"/collective_rpc answered 404.*start the server again") as told:
        writer.update(moved_policy(toy))
    assert "\n" not in str(told.value)


def test_a_server_that_is_not_there_is_told_in_one_line(local, tmp_path):
    run = RunSettings(output_dir=str(tmp_path), vllm_url="http://127.0.0.1:9", vllm_weights="files")
    with pytest.raises(ConfigError, match=r"cannot be used \(nobody answers at http://127\.0\.0\.1:9\)"):
        connect(run, local, sends=True)

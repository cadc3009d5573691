"""Log-probabilities in chunks: those of full logits, gradients too, in a fraction of the memory."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM

from pasa.errors import ConfigError
from tests.models.tiny_models import config_of
from trl_ext.session_ppo.log_probs import ChosenTokenHead, check_plain_logits, chosen_log_probs

N, H, V = 11, 8, 37


def inputs(seed=0, bias=True, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(N, H, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(V, H, generator=generator).to(dtype).requires_grad_()
    offset = torch.randn(V, generator=generator).to(dtype).requires_grad_() if bias else None
    return hidden, weight, offset, torch.randint(V, (N,), generator=generator)


def full(hidden, weight, bias, chosen, temperature=1.0):
    logits = torch.nn.functional.linear(hidden, weight, bias).float() / temperature
    log_probs = logits.log_softmax(-1)
    return log_probs.gather(1, chosen[:, None]).squeeze(1), -(log_probs.exp() * log_probs).sum(-1)


@pytest.mark.parametrize("chunk", [1, 4, 11, 100])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_chunks_equal_full_logits_in_value_and_gradient(chunk, bias, temperature):
    ours, theirs = inputs(bias=bias), inputs(bias=bias)
    weights = torch.randn(N)
    log_probs, entropy = chosen_log_probs(*ours, temperature, chunk)
    expected, expected_entropy = full(*theirs, temperature)
    (log_probs * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(log_probs, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropy, expected_entropy, rtol=1e-5, atol=1e-5)
    for a, b in zip(ours[:3], theirs[:3], strict=True):
        if a is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-5)
    assert not entropy.requires_grad


def test_gradients_are_those_of_finite_differences():
    hidden, weight, bias, chosen = (x.double() if x.is_floating_point() else x for x in inputs())
    hidden, weight, bias = (x.detach().requires_grad_() for x in (hidden, weight, bias))

    def loss(h, w, b):
        return (torch.nn.functional.linear(h, w, b)).log_softmax(-1).gather(1, chosen[:, None]).sum()

    expected = torch.autograd.grad(loss(hidden, weight, bias), (hidden, weight, bias))
    singles = [x.detach().float().requires_grad_() for x in (hidden, weight, bias)]
    found = torch.autograd.grad(chosen_log_probs(*singles, chosen, 1.0, 3)[0].sum(), singles)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


def test_a_frozen_output_layer_gets_no_gradient():
    hidden, weight, bias, chosen = inputs()
    weight, bias = weight.detach(), bias.detach()
    chosen_log_probs(hidden, weight, bias, chosen, 1.0, 4)[0].sum().backward()
    assert hidden.grad is not None


def test_no_token_is_no_problem():
    hidden, weight, _, chosen = inputs(bias=False)
    log_probs, entropy = chosen_log_probs(hidden[:0], weight, None, chosen[:0], 1.0, 4)
    log_probs.sum().backward()
    assert log_probs.shape == entropy.shape == (0,)
    assert not weight.grad.any()


def test_half_precision_weights_give_float32_log_probs_close_to_the_exact():
    exact = full(*inputs(bias=False))[0]
    log_probs, _ = chosen_log_probs(*inputs(bias=False, dtype=torch.bfloat16), 1.0, 4)
    assert log_probs.dtype == torch.float32
    torch.testing.assert_close(log_probs, exact, rtol=0.05, atol=0.1)


def test_autocast_computes_in_half_and_gives_full_precision_gradients():
    hidden, weight, _, chosen = inputs(bias=False)
    with torch.autocast("cpu", torch.bfloat16):
        log_probs, _ = chosen_log_probs(hidden, weight, None, chosen, 1.0, 4)
    log_probs.sum().backward()
    assert log_probs.dtype == torch.float32
    assert weight.grad.dtype == torch.float32
    theirs = inputs(bias=False)
    full(*theirs)[0].sum().backward()
    torch.testing.assert_close(weight.grad, theirs[1].grad, rtol=0.1, atol=0.15)


def test_the_head_holds_the_models_own_weight():
    layer = torch.nn.Linear(H, V, bias=False)
    head = ChosenTokenHead(layer, 4, 1.0)
    hidden, _, _, chosen = inputs()
    head(hidden, chosen)[0].sum().backward()
    assert layer.weight.grad is not None
    assert head.weight is layer.weight


class Largest(TorchDispatchMode):
    """The most numbers that one tensor made within held."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return made


def largest_of(log_probs_of):
    hidden, weight, bias, chosen = inputs()
    with Largest() as mode:
        log_probs_of(hidden, weight, bias, chosen)[0].sum().backward()
    return mode.numbers


def test_no_more_than_a_chunk_of_logits_exists_forward_or_backward():
    chunk = 4
    assert largest_of(lambda *given: chosen_log_probs(*given, 1.0, chunk)) <= max(chunk * V, V * H)
    assert largest_of(full) == N * V


def test_models_that_change_their_logits_are_refused(tokenizer):
    check_plain_logits(config_of("qwen2", tokenizer))
    with pytest.raises(ConfigError, match="final_logit_softcapping"):
        check_plain_logits(config_of("gemma2", tokenizer))


def test_equals_the_logits_of_a_real_architecture(tokenizer):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of("qwen2", tokenizer)).eval()
    ids = torch.randint(len(tokenizer), (2, 9))
    logits = model(ids).logits[:, :-1]
    expected = logits.log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(2)
    hidden = model.get_decoder()(ids).last_hidden_state[:, :-1].flatten(0, 1)
    found, _ = ChosenTokenHead(model.get_output_embeddings(), 3, 1.0)(hidden, ids[:, 1:].flatten())
    torch.testing.assert_close(found, expected.flatten(), rtol=1e-5, atol=1e-5)

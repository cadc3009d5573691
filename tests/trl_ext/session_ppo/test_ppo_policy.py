"""Policy, value and reference in one module: what each says, what learns, what does not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch._dynamo.utils import counters
from transformers import AutoModelForCausalLM

from pasa.errors import CheckpointError
from tests.models.tiny_models import config_of
from tests.trl_ext.session_ppo.sessions import decode, random_step
from trl_ext.session_ppo.batch import batch_of, select_rows
from trl_ext.session_ppo.policy import arguments_of, load_session_policy, value_head
from trl_ext.session_ppo.settings import policy_settings

EVERYTHING = ("policy", "reference", "value")
FORMS = {
    "own copy": {},
    "shared layers": {"value_body": "shared"},
    "LoRA": {"lora_rank": 2},
    "LoRA, shared layers": {"lora_rank": 2, "value_body": "shared"},
    "upstream's head": {"value_layer": 6},
}


@pytest.fixture(scope="module", params=FORMS, ids=FORMS.keys())
def form(request):
    return FORMS[request.param]


def policy_of(tiny_model, **others):
    torch.manual_seed(0)
    return load_session_policy(policy_settings({"model_name_or_path": tiny_model, "chunk_tokens": 4, **others}))


def randomize(policy):
    """Policy and value moved away from where they began."""
    with torch.no_grad():
        for p in [*policy.policy_parameters(), *policy.value_head.parameters()]:
            p += 0.05 * torch.randn_like(p)
    return policy


def batch(seed=1, sessions=3, size=4):
    return batch_of(random_step(seed, sessions=sessions, size=size, vocabulary=300), decode, 0)


@pytest.mark.parametrize(
    ("form", "checkpointed"), [({}, False), ({}, True), ({"lora_rank": 2, "value_body": "shared"}, False)]
)
def test_compiled_layers_say_and_learn_the_same(tiny_model, form, checkpointed):
    """By what is traced; what a compiler makes of it is tested in test_ppo_distributed.py, where there are minutes."""
    told = []
    for compiled in (False, True):
        policy = randomize(policy_of(tiny_model, gradient_checkpointing=checkpointed, **form))
        if compiled:
            torch.compiler.reset()
            counters.clear()
            policy.compile_layers("eager")
        with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):  # or layers would run plain, unseen
            told.append(said_and_learnt(policy))
    torch.testing.assert_close(*told, rtol=1e-4, atol=1e-5)
    assert counters["stats"]["unique_graphs"] > 0
    assert not counters["graph_break"]


def said_and_learnt(policy):
    """What a policy says, and its gradients after passes of several shapes."""
    some = batch()
    with torch.no_grad():
        said = policy(**arguments_of(some), parts=EVERYTHING)
    for rows in ([0, 1, 2, 3], [0, 2], [1]):
        part = policy(**arguments_of(select_rows(some, torch.tensor(rows))), parts=("policy", "value"))
        (part["log_probs"].sum() + part["values"].sum()).backward()
    learning = [*policy.policy_parameters(), *policy.value_parameters()]
    return said, [p.grad for p in learning if p.grad is not None]


def test_under_an_adapter_what_is_frozen_may_be_of_half_precision_and_what_learns_stays_whole(tiny_model):
    settings = policy_settings({"model_name_or_path": tiny_model, "lora_rank": 2, "value_body": "copy"})
    policy = load_session_policy(settings, frozen_dtype=torch.bfloat16)
    learning = [*policy.policy_parameters(), *policy.value_parameters()]
    assert {p.dtype for p in learning} == {torch.float32}
    frozen = [p for p in policy.language_model.parameters() if not p.requires_grad]
    assert {p.dtype for p in frozen} == {torch.bfloat16}
    buffers = {name: b.dtype for name, b in policy.language_model.named_buffers() if b.is_floating_point()}
    assert any("inv_freq" in name for name in buffers)
    assert set(buffers.values()) == {torch.float32}
    with torch.autocast("cpu", torch.bfloat16):
        said = policy(**arguments_of(batch()), parts=EVERYTHING)
    whole = load_session_policy(settings)(**arguments_of(batch()), parts=EVERYTHING)
    for name in ("log_probs", "reference_log_probs"):
        torch.testing.assert_close(said[name], whole[name], rtol=0.02, atol=0.02)


def test_policy_and_reference_say_what_the_checkpoint_says(tiny_model, form):
    some = batch()
    said = policy_of(tiny_model, **form)(**arguments_of(some), parts=EVERYTHING)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    logits = model(some.input_ids, attention_mask=some.attention_mask).logits.log_softmax(-1)
    for row in range(3):
        start, n = int(some.prompt_lengths[row]), int(some.reply_mask[row].sum())
        by_token = logits[row, start - 1 : start - 1 + n]
        expected = by_token.gather(1, some.reply_ids[row, :n, None]).squeeze(1)
        for name in ("log_probs", "reference_log_probs"):
            torch.testing.assert_close(said[name][row, :n], expected, rtol=1e-4, atol=1e-5)
        entropy = -(by_token.exp() * by_token).sum(-1)
        torch.testing.assert_close(said["entropy"][row, :n], entropy, rtol=1e-4, atol=1e-5)
    assert all(not values[~some.reply_mask].any() for values in said.values())
    assert not said["values"].any()  # begins at V = 0


def test_the_reference_stays_where_the_policy_began(tiny_model, form):
    policy = policy_of(tiny_model, **form)
    before = policy(**arguments_of(batch()), parts=EVERYTHING)
    after = randomize(policy)(**arguments_of(batch()), parts=EVERYTHING)
    torch.testing.assert_close(after["reference_log_probs"], before["reference_log_probs"])
    assert not torch.allclose(after["log_probs"], before["log_probs"], atol=1e-3)


@torch.no_grad()
def test_a_pass_reads_the_weights_that_are_named_and_no_other(tiny_model, form):
    """Under ZeRO-3 the others are not there."""
    policy, some = randomize(policy_of(tiny_model, **form)), batch()
    expected = policy(**arguments_of(some), parts=EVERYTHING)
    passes = policy.passes(EVERYTHING)
    assert sorted(part for parts in passes for part in parts) == sorted(EVERYTHING)
    for parts in passes:
        alone = copy.deepcopy(policy)
        there = {id(p) for p in alone.weights_of(parts)}
        for p in alone.parameters():
            if id(p) not in there:
                p.fill_(torch.nan)
        for name, values in alone(**arguments_of(some), parts=parts).items():
            torch.testing.assert_close(values, expected[name])


def test_parts_that_read_the_same_layers_are_told_by_one_pass(tiny_model):
    shared = policy_of(tiny_model, value_body="shared")
    assert shared.passes(EVERYTHING) == [("policy", "value"), ("reference",)]
    assert shared.passes(("value",)) == [("value",)]
    assert policy_of(tiny_model).passes(("value", "policy")) == [("policy",), ("value",)]
    assert shared.passes(()) == []


def test_a_row_says_the_same_alone_and_among_others(tiny_model, form):
    policy = randomize(policy_of(tiny_model, **form))
    some = batch()
    together = policy(**arguments_of(some), parts=EVERYTHING)
    for row in range(3):
        one = select_rows(some, torch.tensor([row]))
        alone = policy(**arguments_of(one), parts=EVERYTHING)
        for name, values in alone.items():
            torch.testing.assert_close(values[0], together[name][row, : values.shape[1]], rtol=1e-4, atol=1e-5)


def test_checkpointed_activations_change_no_gradient(tiny_model, form):
    gradients = []
    for checkpointed in (True, False):
        policy = randomize(policy_of(tiny_model, gradient_checkpointing=checkpointed, **form))
        assert policy.is_gradient_checkpointing == checkpointed
        said = policy(**arguments_of(batch()), parts=("policy", "value"))
        (said["log_probs"].sum() + said["values"].sum()).backward()
        gradients.append({n: p.grad for n, p in policy.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-4)


def test_policy_and_value_learn_apart_and_the_reference_never(tiny_model, form):
    policy = policy_of(tiny_model, **form)
    learns = {id(p) for p in policy.parameters() if p.requires_grad}
    own, values = ({id(p) for p in some} for some in (policy.policy_parameters(), policy.value_parameters()))
    assert own | values == learns
    assert not own & values
    if policy.reference is not None:
        assert not {id(p) for p in policy.reference.parameters()} & learns


def test_a_detached_value_teaches_shared_layers_nothing(tiny_model):
    policy = randomize(policy_of(tiny_model, value_body="shared", lora_rank=2))
    policy(**arguments_of(batch()), parts=("value",), detach_value=True)["values"].sum().backward()
    assert all(p.grad is None for p in policy.policy_parameters())
    assert all(p.grad is not None for p in policy.value_parameters())
    both = policy(**arguments_of(batch()), parts=("policy", "value"), detach_value=True)  # several processes in warm-up
    (both["values"].sum() + 0.0 * both["log_probs"].sum()).backward()
    assert not any(p.grad.any() for p in policy.policy_parameters())
    policy(**arguments_of(batch()), parts=("value",))["values"].sum().backward()
    assert any(p.grad.any() for p in policy.policy_parameters())


def test_rows_without_a_reply_have_gradients_of_0(tiny_model):
    policy = policy_of(tiny_model)
    nothing = select_rows(batch(), torch.tensor([3]))
    said = policy(**arguments_of(nothing), parts=("policy", "value"))
    (said["log_probs"].sum() + said["values"].sum()).backward()
    assert all(p.grad is None or not p.grad.any() for p in policy.parameters())
    assert policy.head.weight.grad is not None


def test_dropout_is_off_while_training(tiny_model):
    policy = policy_of(tiny_model)
    assert policy.training
    some = arguments_of(batch())
    torch.testing.assert_close(
        policy(**some, parts=EVERYTHING)["log_probs"], policy(**some, parts=EVERYTHING)["log_probs"], rtol=0, atol=0
    )
    assert all(m.p == 0 for m in policy.modules() if isinstance(m, torch.nn.Dropout))


def test_upstreams_value_head_has_two_linear_layers_without_bias():
    head = value_head(16, 384)
    assert [tuple(p.shape) for p in head.parameters()] == [(384, 16), (1, 384)]
    assert [tuple(p.shape) for p in value_head(16, 0).parameters()] == [(1, 16)]


def test_the_temperature_of_sampling_is_that_of_the_log_probs(tiny_model):
    settings = policy_settings({"model_name_or_path": tiny_model})
    warm = load_session_policy(settings, temperature=2.0)
    some = batch()
    said = warm(**arguments_of(some), parts=("policy",))["log_probs"]
    logits = AutoModelForCausalLM.from_pretrained(tiny_model)(some.input_ids).logits / 2.0
    start = int(some.prompt_lengths[0])
    expected = logits[0, start - 1].log_softmax(-1)[some.reply_ids[0, 0]]
    torch.testing.assert_close(said[0, 0], expected, rtol=1e-4, atol=1e-5)


def test_the_policy_alone_can_be_saved_and_read_back(tiny_model, tmp_path, form):
    policy = randomize(policy_of(tiny_model, **form))
    whole = copy.deepcopy(policy.language_model)
    plain = whole.merge_and_unload() if hasattr(whole, "merge_and_unload") else whole
    plain.save_pretrained(tmp_path)
    read = AutoModelForCausalLM.from_pretrained(tmp_path)
    some = batch()
    logits = read(some.input_ids, attention_mask=some.attention_mask).logits.log_softmax(-1)
    start = int(some.prompt_lengths[0])
    said = policy(**arguments_of(some), parts=("policy",))["log_probs"][0, 0]
    torch.testing.assert_close(said, logits[0, start - 1, some.reply_ids[0, 0]], rtol=1e-4, atol=1e-4)


def test_a_lora_folder_is_where_a_policy_can_begin(tiny_model, tmp_path):
    """What supervised fine-tuning with LoRA leaves: policy, reference and value all begin at base plus adapter."""
    tuned = randomize(policy_of(tiny_model, lora_rank=2))
    tuned.language_model.save_pretrained(tmp_path)
    assert not (tmp_path / "config.json").exists()
    some = arguments_of(batch())
    expected = tuned(**some, parts=("policy",))["log_probs"]
    for form in ({}, {"lora_rank": 2}):
        said = policy_of(str(tmp_path), **form)(**some, parts=EVERYTHING)
        for name in ("log_probs", "reference_log_probs"):
            torch.testing.assert_close(said[name], expected, rtol=1e-3, atol=1e-3)


def test_all_weights_learn_where_the_policy_began_with_a_lora_folder(tiny_model, tmp_path):
    policy_of(tiny_model, lora_rank=2).language_model.save_pretrained(tmp_path)
    begun, plain = policy_of(str(tmp_path)), policy_of(tiny_model)
    for learns in ("policy_parameters", "value_parameters"):
        count, expected = (sum(p.numel() for p in getattr(one, learns)()) for one in (begun, plain))
        assert count == expected > 0


def test_a_path_without_a_model_is_told_in_a_line(tmp_path):
    with pytest.raises(CheckpointError, match="holds neither"):
        policy_of(str(tmp_path))


@pytest.fixture(scope="module")
def tied_model(tmp_path_factory, tokenizer):
    """As SmolLM2 and the small Qwens are: one matrix embeds tokens and gives logits."""
    folder = tmp_path_factory.mktemp("tied")
    torch.manual_seed(0)
    config = config_of("qwen2", tokenizer)
    config.tie_word_embeddings = True
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_matrix_that_embeds_and_gives_logits_learns_from_both(tied_model):
    policy = policy_of(tied_model)
    some = batch()
    policy(**arguments_of(some), parts=("policy",))["log_probs"].sum().backward()
    model = AutoModelForCausalLM.from_pretrained(tied_model)
    logits = model(some.input_ids, attention_mask=some.attention_mask).logits.log_softmax(-1)
    rows, tokens = some.reply_mask.nonzero(as_tuple=True)
    logits[rows, some.prompt_lengths[rows] + tokens - 1, some.reply_ids[rows, tokens]].sum().backward()
    expected = model.get_input_embeddings().weight.grad
    torch.testing.assert_close(policy.head.weight.grad, expected, rtol=1e-3, atol=1e-4)
    assert policy.head.weight is policy.language_model.get_input_embeddings().weight

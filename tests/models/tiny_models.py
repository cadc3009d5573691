"""Tiny random checkpoints, built and saved here: real architectures and a real tokenizer, in milliseconds."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from pasa.prompts import select_request

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = [
    select_request("which papers study agents", "Learning to search", "We train agents with rewards to search.").prompt,
    "[Search] agents that search papers\n[Search] reward models\n[StopSearch]",
    "[Expand] Related Work\n[StopExpand]\n[Stop]",
    "True False True False True False Reason: user assistant abstract title query",
]
VOCABULARY = 400
WIDTH, LAYERS, HEADS, KEY_HEADS, CONTEXT = 32, 3, 4, 2, 512
# Wide enough that logits, and so scores, differ between prompts; the default's scores are all 1 / vocabulary.
SPREAD = 0.5


def build_tokenizer(with_true: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with chat template; `with_true` False leaves "True" in pieces."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    corpus = CORPUS + (["True"] * 20 if with_true else [])
    corpus = corpus if with_true else [text.replace("True", "") for text in corpus]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHAT_TEMPLATE
    )


def save_checkpoint(folder: Path, architecture: str, tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> str:
    """The path of a random model of `architecture` with its tokenizer, saved in `folder`."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config_of(architecture, tokenizer)).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def config_of(architecture: str, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    if architecture == "gpt2":
        size = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": CONTEXT}
        return GPT2Config(vocab_size=len(tokenizer), initializer_range=SPREAD, **size, **ends)
    common = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "head_dim": WIDTH // HEADS,
        "max_position_embeddings": CONTEXT,
        "initializer_range": SPREAD,
        **ends,
    }
    return {
        "llama": lambda: LlamaConfig(**common),
        "qwen2": lambda: Qwen2Config(**common),
        # The window is longer than the trial run of can_pack and shorter than the prompts.
        "mistral": lambda: MistralConfig(**common, sliding_window=40),
        "gemma2": lambda: Gemma2Config(**common, sliding_window=40),
    }[architecture]()

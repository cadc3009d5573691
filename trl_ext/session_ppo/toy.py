"""A toy world in which session PPO learns within a minute on one CPU core: for tests and for trying settings.

A subject is one word. A question asks for a subject; searching its word finds two papers on it and a survey, whose
section "Related" cites more papers on it and whose section "Method" cites tools. The answers that training knows of are
few, as in AutoScholarQuery: those that a search finds, and of the cited ones one in four; the Selector knows them all.

The policy is a Llama of a few thousand weights whose tokens are whole words. It begins, as the paper's does after
supervised fine-tuning, by writing proper actions, but often on another subject and in any section: it must find out
what pays.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pasa.actions import render_actions
from pasa.models.base import CrawlRequest, SelectRequest
from pasa.models.hf_prompts import chat_text
from pasa.prompts import expand_request, search_request

SUBJECTS = ("amber", "basil", "cedar", "dahlia")
SECTIONS = ("Related", "Method")
_SPECIAL = ("<pad>", "<end>", "<other>")
_ACTIONS = ("[Search]", "[Expand]", "[StopSearch]", "[StopExpand]")
_KINDS = ("Which", "survey", "query", "sections")  # by which prompts of the two kinds can be told apart
_PIECES = r"\[[A-Za-z]+\]| ?[A-Za-z]+|\s|."
_TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
_CITED = 4  # papers on a subject that only its survey leads to
_WIDTH, _LAYERS, _HEADS, _CONTEXT = 32, 2, 2, 512
_SPREAD = 0.2
GOLD_AMONG_CITED = 0.25
_MOST_FILLERS = 4
_ASKED_FOR = 0.5  # how often the first policy is shown to search what is asked for, beside chance
_FIRST_STEPS, _FIRST_BATCH, _FIRST_RATE = 150, 32, 1e-2  # of learning to write actions


@dataclass(frozen=True, slots=True)
class ToyWorld:
    """Where the files of a toy world lie."""

    model: Path
    library: Path
    queries: Path
    held_out: Path


def write_toy_world(
    folder: Path,
    seed: int = 0,
    queries_a_subject: int = 4,
    held_out_a_subject: int = 1,
    gold_among_cited: float = GOLD_AMONG_CITED,
) -> ToyWorld:
    """Writes model, library and queries into `folder`.

    `gold_among_cited`: the share of cited papers on its subject that a training query has as answers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    world = ToyWorld(folder / "model", folder / "papers.jsonl", folder / "queries.jsonl", folder / "held_out.jsonl")
    _write_lines(world.library, [row for subject in SUBJECTS for row in _papers(subject)])
    chance = random.Random(seed)
    share = gold_among_cited
    _write_lines(
        world.queries, [_query(s, n, "train", chance, share) for n in range(queries_a_subject) for s in SUBJECTS]
    )
    _write_lines(world.held_out, [_query(s, n, "dev", chance, 1) for n in range(held_out_a_subject) for s in SUBJECTS])
    save_toy_policy(world.model, seed)
    return world


class ToySelector:
    """Knows which papers are on the subject of a question."""

    name = "toy selector"

    def score(self, requests: Sequence[SelectRequest]) -> list[float]:
        """1 for a paper on the subject, else 0."""
        return [float(_is_on(request.query.split()[-1], request.title)) for request in requests]


def _is_on(subject: str, title: str) -> bool:
    return subject in title or title.endswith(subject[::-1])


def save_toy_policy(folder: Path, seed: int = 0) -> None:
    """A Llama whose tokens are the words of the toy world, and which writes actions at random."""
    tokenizer = toy_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=_WIDTH,
        intermediate_size=2 * _WIDTH,
        num_hidden_layers=_LAYERS,
        num_attention_heads=_HEADS,
        num_key_value_heads=_HEADS,
        max_position_embeddings=_CONTEXT,
        initializer_range=_SPREAD,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    _learn_to_write(model, tokenizer, random.Random(seed))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _learn_to_write(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, chance: random.Random) -> None:
    """Supervised fine-tuning on sessions whose actions are drawn at random."""
    optimizer = torch.optim.Adam(model.parameters(), lr=_FIRST_RATE)
    for _ in range(_FIRST_STEPS):
        rows = [_random_session(tokenizer, chance) for _ in range(_FIRST_BATCH)]
        width = max(len(prompt) + len(reply) for prompt, reply in rows)
        pads = [width - len(prompt) - len(reply) for prompt, reply in rows]
        ids = torch.tensor([[*prompt, *reply, *[0] * pad] for (prompt, reply), pad in zip(rows, pads, strict=True)])
        labels = torch.tensor(
            [[-100] * len(p) + r + [-100] * pad for (p, r), pad in zip(rows, pads, strict=True)]
        )  # padding follows, so that causal attention needs no mask
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _random_session(tokenizer: PreTrainedTokenizerFast, chance: random.Random) -> tuple[list[int], list[int]]:
    """Prompt and reply in tokens."""
    subject = chance.choice(SUBJECTS)
    question = _question(subject, chance.randint(1, _MOST_FILLERS))
    if chance.random() < 0.5:
        request: CrawlRequest = search_request(question)
        arguments = chance.sample(SUBJECTS, chance.randint(1, 2))
        if chance.random() < _ASKED_FOR and subject not in arguments:
            arguments[-1] = subject
    else:
        request = expand_request(question, f"A survey of {subject}", f"All about {subject}.", SECTIONS)
        arguments = [name for name in SECTIONS if chance.random() < 0.5]
    reply = render_actions(request.kind, arguments).replace("\n", "")
    prompt = tokenizer(chat_text(tokenizer, request.prompt), add_special_tokens=False)["input_ids"]
    return list(prompt), list(tokenizer(reply, add_special_tokens=False)["input_ids"])


def toy_tokenizer() -> PreTrainedTokenizerFast:
    """Whole words as tokens, with the blank before them; all other words are one token."""
    words = [*_SPECIAL, *_ACTIONS, *(f" {word}" for word in (*SUBJECTS, *SECTIONS))]
    words += [word for word in _KINDS if word not in words]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<other>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<end>",
        unk_token="<other>",
        chat_template=_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def _papers(subject: str) -> list[dict[str, Any]]:
    cited = [_title(subject, f"cited {_letter(n)}") for n in range(_CITED)]
    survey = {
        "title": f"A survey of {subject}",
        "abstract": f"All about {subject}.",
        "date": "2020-01-01",
        "sections": {"Related": cited, "Method": [_title("", f"tool {_letter(n)}") for n in range(_CITED)]},
    }
    found = [{"title": _title(subject, word), "abstract": f"On {subject}.", "date": "2019"} for word in ("one", "two")]
    # What is cited does not name its subject where a search looks, so that only the survey leads there.
    below = [{"title": title, "abstract": "No word of it.", "date": "2018"} for title in cited]
    tools = [{"title": _title("", f"tool {_letter(n)}"), "abstract": "A tool.", "date": "2017"} for n in range(_CITED)]
    return [survey, *found, *below, *(tools if subject == SUBJECTS[0] else [])]


def _title(subject: str, name: str) -> str:
    """A title; the subject's letters are turned around where a search must not find it."""
    if name.startswith("cited"):
        return f"Finding {name.split()[1]}{subject[::-1]}"
    return f"Notes on {subject} {name}".replace("  ", " ")


def _letter(n: int) -> str:
    return chr(ord("a") + n)


def _question(subject: str, fillers: int, filler: str = "works") -> str:
    return f"Which {' '.join([filler] * fillers)} are on {subject}"


def _query(subject: str, number: int, split: str, chance: random.Random, gold_among_cited: float) -> dict[str, Any]:
    """Held-out queries have every paper on the subject as answers."""
    cited = [_title(subject, f"cited {_letter(n)}") for n in range(_CITED)]
    cited = [title for title in cited if chance.random() < gold_among_cited]
    golds = [*(_title(subject, word) for word in ("one", "two")), *cited]
    return {
        # no two alike, and none in both files
        "question": _question(subject, number + 1, "works" if split == "train" else "studies"),
        "answer": golds if split == "train" else [*golds, f"A survey of {subject}"],
        "source_meta": {"published_time": "20250101", "title": f"Review {number} of {subject}"},
        "qid": f"{split}_{subject}_{number}",
    }


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

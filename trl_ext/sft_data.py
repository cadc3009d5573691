"""Rows to learn from -> token ids with the reply marked, ordered into batches of like length.

A prompt's tokens are those that the model will read when it is asked (pasa/models/hf_prompts.py), and the reply is
encoded by itself behind them: encoding both in one text merges tokens over the boundary in some tokenizers, and the
first token of the reply would then be one that no prompt is ever followed by.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.utils.data import Sampler

from pasa.errors import ConfigError
from pasa.evaluation.selector_pairs import pair_of
from pasa.models.hf_likelihood import paper_prompt, question_text
from pasa.models.hf_loading import decision_token_id
from pasa.models.hf_prompts import MAX_PROMPT_TOKENS, chat_text, encode_prompts
from trl_ext.sft_settings import SftSettings, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Kind = Literal["search", "expand", "select", "question"]

# Between these stands the abstract, the part of a prompt that may be shortened (pasa/prompts.py).
_ABSTRACT_BEFORE = "\nAbstract: "
_ABSTRACT_AFTER: dict[Kind, str] = {
    "expand": "\nSections: ",
    "select": "\n\nUser Query: ",
    "question": "\n\nQuestion that",
}
# How replies begin, and the selector's prompt ends, in rows.
_DECISION_PREFIX = "Decision:"
_REASONS_TOLD = 5  # bad rows named one by one; the rest is counted
# Rows are sorted by length within this many batches, which are then shuffled: nearly no padding, and still chance.
BATCHES_SORTED_TOGETHER = 50


@dataclass(frozen=True, slots=True)
class SftRow:
    """A prompt and the reply to learn; "question": of a paper, the question that it answers (hf_likelihood.py)."""

    kind: Kind
    prompt: str
    reply: str

    @property
    def abstract(self) -> str:
        """The stretch of the prompt that is cut first where it is too long; "" where there is none."""
        after = _ABSTRACT_AFTER.get(self.kind)
        start, end = self.prompt.find(_ABSTRACT_BEFORE), self.prompt.rfind(after) if after else -1
        return self.prompt[start + len(_ABSTRACT_BEFORE) : end] if 0 <= start < end else ""

    @property
    def is_answer(self) -> bool:
        """Of a select row: the decision is True."""
        return self.reply.startswith("True")


@dataclass
class RowsRead:
    """The usable rows of a file, and why others were not."""

    rows: list[SftRow]
    dropped: Counter[str] = field(default_factory=Counter)  # reason -> how many
    told: list[str] = field(default_factory=list)  # the first of them: "file:line: reason"

    def drop(self, where: str, reason: str) -> None:
        self.dropped[reason] += 1
        if len(self.told) < _REASONS_TOLD:
            self.told.append(f"{where}: {reason}")


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A row as token ids; `completion_mask[i]` 1 = token i belongs to the reply and counts in the loss."""

    input_ids: list[int]
    completion_mask: list[int]


def read_rows(path: Path, task: Task, max_bad_share: float = 0.0, limit: int | None = None) -> RowsRead:
    """The rows of a JSON-lines file for `task`, at most `limit`. Raises ConfigError.

    Rows are chats of a user message and a reply (`messages`), or `prompt` and `completion`. Bad rows are skipped and
    counted; more than `max_bad_share` of the file is an error.
    """
    read = RowsRead([])
    lines = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if limit is not None and len(read.rows) == limit:
                    break
                if not line.strip():
                    continue
                lines += 1
                row = parse_row(line, task)
                if isinstance(row, SftRow):
                    read.rows.append(row)
                else:
                    read.drop(f"{path.name}:{number}", row)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start})") from error
    bad = sum(read.dropped.values())
    if bad > max_bad_share * lines:
        raise ConfigError(
            f"{bad} of {lines} rows cannot be used, as {read.told[0]}; mend the file or raise max_bad_share"
        )
    if not read.rows:
        raise ConfigError(f"{path} holds no row to learn from")
    return read


def parse_row(line: str, task: Task) -> SftRow | str:
    """The row in a line of JSON, or why it cannot be used."""
    try:
        content = json.loads(line)
    except ValueError:
        return "no JSON"
    said = _said(content)
    if said is None:
        return "neither `messages` of user and assistant nor `prompt` and `completion`"
    prompt, reply = said
    reply = reply.strip()
    if not prompt.strip():
        return "empty prompt"
    if task == "selector":
        reply = reply.removeprefix(_DECISION_PREFIX).lstrip()
        if not reply.startswith(("True", "False")):
            return "the reply begins with neither True nor False"
        return SftRow("select", prompt, reply)
    if not reply:
        return "empty reply"
    return SftRow("expand" if "\nSections: " in prompt or "Sections: [" in prompt else "search", prompt, reply)


def question_rows(rows: Sequence[SftRow]) -> list[SftRow]:
    """Of a selector's rows the answers, turned round: the paper as the prompt, the question as what is learnt."""
    pairs = [pair_of(row.prompt, row.reply) for row in rows]
    return [SftRow("question", paper_prompt(p.title, p.abstract), p.query) for p in pairs if p and p.is_answer]


def _said(content: Any) -> tuple[str, str] | None:
    """Prompt and reply of a row; None for a row of another form."""
    if not isinstance(content, dict):
        return None
    if isinstance(content.get("prompt"), str) and isinstance(content.get("completion"), str):
        return content["prompt"], content["completion"]
    messages = content.get("messages")
    if not isinstance(messages, list) or len(messages) != 2 or not all(isinstance(m, dict) for m in messages):
        return None
    texts = [m.get("content") for m in messages]
    if [m.get("role") for m in messages] != ["user", "assistant"] or not all(isinstance(t, str) for t in texts):
        return None
    return texts[0], texts[1]


def decision_of(reply: str) -> str:
    """The word that a selector's reply begins with."""
    return "True" if reply.startswith("True") else "False"


def encode_rows(
    read: RowsRead, tokenizer: PreTrainedTokenizerBase, settings: SftSettings, batch: int = 1000
) -> list[EncodedRow]:
    """The rows as token ids, prompt then reply then the end token, none longer than `max_seq_length`.

    Rows whose reply leaves no room for the prompt are dropped and counted in `read`, whose rows are then those that
    stayed, in order. Raises CheckpointError for a selector's tokenizer without single tokens for True and False.
    """
    encoded: list[EncodedRow] = []
    kept: list[SftRow] = []
    for start in range(0, len(read.rows), batch):
        rows = read.rows[start : start + batch]
        replies = [reply_ids(row, tokenizer, settings) for row in rows]
        for row, reply, prompt in zip(rows, replies, _prompt_ids(rows, replies, tokenizer, settings), strict=True):
            if prompt is None:
                read.drop(row.prompt[:60].replace("\n", " "), "over-long: no room for prompt and reply")
                continue
            kept.append(row)
            encoded.append(EncodedRow([*prompt, *reply], [0] * len(prompt) + [1] * len(reply)))
    read.rows = kept
    if not encoded:
        raise ConfigError(f"no row fits into max_seq_length {settings.max_seq_length}: raise it")
    return encoded


def reply_ids(row: SftRow, tokenizer: PreTrainedTokenizerBase, settings: SftSettings) -> list[int]:
    """The tokens that count in the loss: the reply, and the token that ends it."""
    end = int(tokenizer.eos_token_id)
    if row.kind == "question":
        return _encode(tokenizer, question_text(row.reply))  # no end: a score is of the question's tokens
    if row.kind != "select":
        return [*_encode(tokenizer, row.reply), end]
    word = decision_of(row.reply)
    decision = decision_token_id(tokenizer, "True" if word == "True" else "False")
    rest = row.reply[len(word) :] if settings.keep_reasons else ""
    return [decision, *_encode(tokenizer, rest), end]


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []


def _prompt_ids(
    rows: Sequence[SftRow], replies: Sequence[list[int]], tokenizer: PreTrainedTokenizerBase, settings: SftSettings
) -> list[list[int] | None]:
    """Each row's prompt as the model will read it; None where it does not fit with its abstract cut away."""
    messages = [chat_text(tokenizer, row.prompt) for row in rows] if settings.uses_chat_template else []
    is_message = bool(messages) and messages[0] is not None  # else the tokenizer has no template
    texts = [message or "" for message in messages] if is_message else [row.prompt for row in rows]
    ids = encode_prompts(
        tokenizer, texts, [row.abstract for row in rows], MAX_PROMPT_TOKENS, "abstract", not is_message
    )
    prompts: list[list[int] | None] = []
    for row, text, prompt, reply in zip(rows, texts, ids, replies, strict=True):
        room = settings.max_seq_length - len(reply)
        if len(prompt) > room:
            without = encode_prompts(
                tokenizer, [text.replace(row.abstract, "", 1)], [""], 10**9, "abstract", not is_message
            )
            if len(without[0]) > room:
                prompts.append(None)
                continue
            (prompt,) = encode_prompts(tokenizer, [text], [row.abstract], room, "abstract", not is_message)
        prompts.append(prompt)
    return prompts


class LikeLengthSampler(Sampler[int]):
    """Row numbers in an order whose batches of `batch_size` hold rows of like length.

    The order follows from seed and epoch alone, so that a run that goes on after a stop sees the rows it would have
    seen, and any number of processes with the same `batch_size` in all sees the same batches.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        """`batch_size`: of all processes together."""
        self._lengths = list(lengths)
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        return iter(like_length_order(self._lengths, self._batch_size, generator))


def like_length_order(lengths: Sequence[int], batch_size: int, generator: torch.Generator) -> list[int]:
    """A shuffled order whose consecutive `batch_size` rows are alike in length; the incomplete batch comes last."""
    order = torch.randperm(len(lengths), generator=generator).tolist()
    full = len(order) - len(order) % batch_size
    stretch = batch_size * BATCHES_SORTED_TOGETHER
    batches: list[list[int]] = []
    for start in range(0, full, stretch):
        rows = sorted(order[start : min(start + stretch, full)], key=lambda i: -lengths[i])
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    shuffled = torch.randperm(len(batches), generator=generator).tolist()
    return [row for i in shuffled for row in batches[i]] + order[full:]


def padding_share(lengths: Sequence[int], order: Sequence[int], batch_size: int) -> float:
    """The share of padding among the tokens of batches of `batch_size` rows taken in `order`."""
    total = padded = 0
    for start in range(0, len(order), batch_size):
        batch = [lengths[i] for i in order[start : start + batch_size]]
        total += sum(batch)
        padded += max(batch) * len(batch)
    return 1 - total / padded if padded else 0.0

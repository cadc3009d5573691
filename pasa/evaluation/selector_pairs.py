"""How well a Selector judges pairs of question and paper: upstream's data/sft_selector/test.jsonl."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pasa.errors import ConfigError
from pasa.evaluation.metrics import SELECT_THRESHOLD
from pasa.models.base import SelectRequest
from pasa.prompts import PromptSet, select_request

# The prompt as pasa/prompts.py renders it: a row of the file is a chat of the raw prompt and "True\nReason: ...".
_PROMPT = re.compile(
    r"\nSearched Paper:\nTitle: (?P<title>.*?)\nAbstract: (?P<abstract>.*)"
    r"\n\nUser Query: (?P<query>.*?)\n\nOutput format:",
    re.DOTALL,
)
_DECISION = re.compile(r"\s*(?:Decision:\s*)?(True|False)\b")


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and a paper, and whether the paper answers it."""

    query: str
    title: str
    abstract: str
    is_answer: bool

    def request(self, prompts: PromptSet = "pasa") -> SelectRequest:
        """What a Scorer is asked."""
        return select_request(self.query, self.title, self.abstract, prompts)


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a JSON-lines file in upstream's form, `messages` of user and assistant. Raises ConfigError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start})") from error
    pairs = [_pair(line, f"{path.name}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not pairs:
        raise ConfigError(f"{path} holds no pair; each line is a JSON object with `messages`")
    return pairs


def _pair(line: str, where: str) -> Pair:
    try:
        said = {message["role"]: message["content"] for message in json.loads(line)["messages"]}
        pair = pair_of(said["user"], said["assistant"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{where}: `messages` must be a user's prompt and an assistant's decision") from error
    if pair is None:
        raise ConfigError(f"{where}: no selector prompt with a decision of True or False")
    return pair


def pair_of(prompt: str, reply: str) -> Pair | None:
    """The pair that a Selector's prompt and reply tell of; None where they are no such."""
    asked, decision = _PROMPT.search(prompt), _DECISION.match(reply)
    if asked is None or decision is None:
        return None
    return Pair(asked["query"], asked["title"], asked["abstract"], decision[1] == "True")


def pair_metrics(scores: Sequence[float], pairs: Sequence[Pair]) -> dict[str, float]:
    """Precision, recall and F1 of "scored above .5" for the pairs that are answers, and the accuracy over all.

    Precision is 0 where nothing is selected. Raises ValueError for different lengths or no pair.
    """
    if not pairs:
        raise ValueError("no pair to judge")
    judged = [(score > SELECT_THRESHOLD, pair.is_answer) for score, pair in zip(scores, pairs, strict=True)]
    hits = sum(selected and is_answer for selected, is_answer in judged)
    selected, answers = sum(selected for selected, _ in judged), sum(pair.is_answer for pair in pairs)
    precision = hits / selected if selected else 0.0
    recall = hits / answers if answers else 0.0
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if hits else 0.0,
        "accuracy": sum(selected is is_answer for selected, is_answer in judged) / len(judged),
    }

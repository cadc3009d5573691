"""Sessions that a script writes through a model, in a library that answers as slowly as the web; for ppo_step.py."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import LogitsProcessor

from pasa.actions import render_actions
from pasa.models.base import CrawlRequest, Reply, Sampling
from pasa.paper import Paper, Reference, Section
from pasa.tools.base import SearchHit
from trl_ext.session_ppo.environment import Environment
from trl_ext.session_ppo.generation import PolicyGenerator

DEMO = Path(__file__).resolve().parents[1] / "data" / "demo"
# The demo library knows no sections and has short abstracts: those of a paper's neighbours join it, and it cites them.
SECTION_NAMES = (
    "Introduction", "Related Work", "Background and Notation", "Problem Statement", "Method", "Architecture",
    "Training Objective", "Experimental Setup", "Baselines", "Results", "Ablations", "Discussion and Limitations",
)  # fmt: skip
ABSTRACTS_JOINED, CITED_A_SECTION = 6, 5
TITLES_A_CALL = 20  # looked up together at most, as pasa/tools/arxiv.py does
LEAST_QUERIES, MOST_QUERIES, MOST_SECTIONS, WORDS_A_QUERY = 3, 5, 8, 10


def write_library(path: Path) -> Path:
    """The demo library's papers with abstracts of usual length and sections that cite."""
    rows = [json.loads(line) for line in (DEMO / "papers.jsonl").read_text(encoding="utf-8").splitlines()]
    twice = rows + rows
    for i, row in enumerate(rows):
        abstract = " ".join(other["abstract"] for other in twice[i : i + ABSTRACTS_JOINED])
        cited = [other["title"] for other in twice[i + 1 : i + 1 + CITED_A_SECTION * len(SECTION_NAMES)]]
        sections = {name: cited[at :: len(SECTION_NAMES)] for at, name in enumerate(SECTION_NAMES)}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**row, "abstract": abstract, "sections": sections}) + "\n")
    return path


class Web:
    """Engine and source of the library, each of whose calls takes as long as one on the web."""

    name = "web"

    def __init__(self, library: Environment, seconds: float) -> None:
        assert library.library is not None
        self._engine, self._source, self._library = library.engine, library.source, library.library
        self._seconds = seconds
        self.calls = 0
        self._lock = threading.Lock()

    def _wait(self, calls: int = 1) -> None:
        with self._lock:
            self.calls += calls
        time.sleep(calls * self._seconds)

    def search(self, query: str, limit: int, end_date: Any = None) -> list[SearchHit]:
        self._wait()
        hits = self._engine.search(query, limit, end_date)
        return [replace(hit, paper=_without_page(hit.paper)) for hit in hits]

    def sections(self, paper: Paper) -> tuple[Section, ...] | None:
        self._wait()
        known = self._library.paper_by_title(paper.title)
        return known.sections if known else None

    def papers_by_reference(self, references: Sequence[Reference]) -> list[Paper | None]:
        self._wait(-(-len(references) // TITLES_A_CALL))
        return [_without_page(paper) for paper in self._source.papers_by_reference(references)]

    def papers_by_id(self, arxiv_ids: Sequence[str]) -> dict[str, Paper]:
        self._wait()
        papers = self._source.papers_by_id(arxiv_ids)
        return {arxiv_id: replace(paper, sections=None) for arxiv_id, paper in papers.items()}


def _without_page(paper: Paper | None) -> Paper | None:
    """What a service's search tells of a paper."""
    return replace(paper, sections=None) if paper else None


def scripted(request: CrawlRequest) -> str:
    """What a session says: stretches of the question as queries, or the first sections; more or fewer by length."""
    if request.kind == "expand":
        count = 1 + len(request.title) % MOST_SECTIONS
        return render_actions("expand", request.section_names[:count])
    words = request.query.rstrip("?").split()
    count = LEAST_QUERIES + len(words) % (MOST_QUERIES - LEAST_QUERIES + 1)
    return render_actions("search", [" ".join(words[i : i + WORDS_A_QUERY]) for i in range(count)])


class Forced(LogitsProcessor):
    """Leaves the scripted token of each row possible, then padding."""

    def __init__(self, replies: Sequence[Sequence[int]], prompt_length: int, pad_id: int) -> None:
        self._replies = replies
        self._prompt_length = prompt_length
        self._pad_id = pad_id

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        at = input_ids.shape[1] - self._prompt_length
        tokens = [reply[at] if at < len(reply) else self._pad_id for reply in self._replies]
        chosen = torch.tensor(tokens, device=scores.device)[:, None]
        return torch.full_like(scores, float("-inf")).scatter(1, chosen, 0.0)  # type: ignore[return-value]


class Writer(PolicyGenerator):
    """The policy's generator, made to say what is scripted; without `speaks` it says so unasked."""

    speaks = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.titles: dict[tuple[int, ...], str] = {}  # of the papers that prompts are about

    def encode(self, requests: Sequence[CrawlRequest], max_new_tokens: int) -> list[list[int]]:
        prompts = super().encode(requests, max_new_tokens)
        self.titles |= {tuple(ids): request.title for ids, request in zip(prompts, requests, strict=True)}
        return prompts

    def reply_ids(self, request: CrawlRequest) -> list[int]:
        return list(self.tokenizer(scripted(request), add_special_tokens=False)["input_ids"])

    def generate(self, requests: Sequence[CrawlRequest], sampling: Sampling) -> list[Reply]:
        prompts = self.encode(requests, sampling.max_new_tokens)
        replies = [self.reply_ids(request) for request in requests]
        if not self.speaks:
            return [self._reply(p, r, len(r)) for p, r in zip(prompts, replies, strict=True)]
        self._script = dict(zip(map(tuple, prompts), replies, strict=True))
        return super().generate(requests, sampling)

    def _batch(self, rows: Any, prompts: Any, seeds: Any, sampling: Sampling) -> list[Reply]:
        length = max(len(prompts[i]) for i in rows)
        self._forced = Forced([self._script[tuple(prompts[i])] for i in rows], length, self._pad_id)
        return super()._batch(rows, prompts, seeds, sampling)

    def _sampler(self, sampling: Sampling, seeds: Sequence[int]) -> Any:
        return self._forced


def decoded(writer: Writer, ids: Sequence[int]) -> str:
    return str(writer.tokenizer.decode(list(ids), skip_special_tokens=True))

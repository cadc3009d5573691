"""A world of eight papers with known answers, and models on a loopback server that answer about it.

The command line runs on it without a patched function: papers from a JSON-lines library or from FakeServices, models
through `--api_base`. Searching finds TOOL and SURVEY; TOOL's sections lead to the others.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pasa.actions import render_actions
from pasa.paper import Paper, Reference, Section, sections_to_titles
from tests.models.openai_server import Answer, OpenAIServer, chat_answer, completion_answer, error_answer
from tests.services import FakeServices

ROOT = Path(__file__).parents[1]
QUESTION = "which papers study tools for language agents?"
SCHOLARLY_KEYS = ("OPENALEX_API_KEY", "SEMANTIC_SCHOLAR_API_KEY", "S2_API_KEY")
SECRET = "sk-serper-do-not-print-0123456789"  # as SERPER_API_KEY
MODEL_SECRET = "sk-model-do-not-print-0123456789"  # as OPENAI_API_KEY

TOOL, SURVEY = "Tool Calls of Language Agents", "A Survey of Agents with Tools"
ZURICH, BELIEF = "Zürich Notes: ein Überblick", "Belief Networks (β-Search) für 智能体"
DEEP, DULL = "Deep Nets Reconsidered", "Dull Experiments"
LATE, BEYOND = "Late News", "Beyond the Second Layer"

# Title -> the Selector's score; above 0.5 is selected.
SCORES = {TOOL: 0.9, SURVEY: 0.7, ZURICH: 0.8, BELIEF: 0.6, DEEP: 0.95, DULL: 0.99, LATE: 0.85, BEYOND: 0.4}
SPEECHLESS = LATE  # of which no reason can be had
SEARCHES = ("tools agents", "agents survey")
GOLD = (TOOL, DEEP, BEYOND, "A Paper Nobody Has")  # of QUESTION: two are found and selected, one found, one not
END_DATE = "2024-01-31"  # before LATE alone


def papers() -> list[Paper]:
    """The world. TOOL cites ZURICH, BELIEF and LATE where the Crawler looks, DULL where it does not."""
    tool_sections = (
        Section("Introduction", (Reference(ZURICH), Reference("A Book on Everything"))),
        Section("Related Work", (Reference(BELIEF), Reference(LATE, "2406.00007"))),
        Section("Experiments", (Reference(DULL),)),
    )
    return [
        Paper(TOOL, "How agents call tools.", "2301.00001", "2023-01-02", sections=tool_sections),
        Paper(SURVEY, "Agents and their tools.", "2302.00002", "2023-02-03"),
        Paper(ZURICH, "Notizen.", "2201.00003", "2022-01-04", sections=(Section("Introduction", (Reference(DEEP),)),)),
        Paper(BELIEF, "Networks.", "2202.00004", "2022-02-05"),
        Paper(DEEP, "Nets.", "2101.00005", "2021-01-06", sections=(Section("Introduction", (Reference(BEYOND),)),)),
        Paper(DULL, "Numbers.", "2102.00006", "2021-02-07"),
        Paper(LATE, "News.", "2406.00007", "2024-06-08"),
        Paper(BEYOND, "More.", "2003.00008", "2020-03-09"),
    ]


FOUND = {TOOL, SURVEY, ZURICH, BELIEF, LATE, DEEP}  # by two layers of expansion; BEYOND would be the third's


def write_library(path: Path) -> Path:
    """The world as a JSON-lines file, which `--library` takes."""
    rows = [
        {"title": p.title, "abstract": p.abstract, "arxiv_id": p.arxiv_id, "date": p.date}
        | ({"sections": sections_to_titles(p.sections)} if p.sections else {})
        for p in papers()
    ]
    return write_jsonl(path, rows)


def write_jsonl(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


# -- the models --------------------------------------------------------------------------------------------------------


class ModelServer(OpenAIServer):
    """Writes the world's searches and sections, and scores by SCORES.

    `before(kind, query)` is called before each answer and may wait; kind is search, expand or select. A query that
    holds "refuse" is answered with an error that no retry mends.
    """

    def __init__(self, before: Callable[[str, str], None] = lambda kind, query: None) -> None:
        super().__init__(self._script_of_world)
        self._before = before

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    @property
    def queries(self) -> list[str]:
        """The queries for which searches were written, in order."""
        asked = [read_prompt(prompt_of(body)) for _, body, _ in list(self.requests)]
        return [query for kind, query, _ in asked if kind == "search"]

    def _script_of_world(self, path: str, body: dict[str, Any]) -> Answer:
        kind, query, title = read_prompt(prompt_of(body))
        self._before(kind, query)
        if "refuse" in query:
            return error_answer(400, "I will not")
        if kind == "search":
            return Answer(chat_answer(render_actions("search", SEARCHES)))
        if kind == "expand":
            return Answer(chat_answer(render_actions("expand", ["Introduction", "Related Work"])))
        if prompt_of(body).endswith("Reason:"):
            return (
                error_answer(400, "no words") if title == SPEECHLESS else Answer(completion_answer(f" {title} does."))
            )
        return Answer(completion_answer("True", {"True": math.log(SCORES[title]), "False": math.log(0.001)}))

    @property
    def flags(self) -> list[str]:
        return ["--crawler_path", "openai:m", "--selector_path", "openai:m", "--api_base", self.base_url]


def prompt_of(body: dict[str, Any]) -> str:
    return body["prompt"] if "prompt" in body else body["messages"][0]["content"]


def read_prompt(prompt: str) -> tuple[str, str, str]:
    """(kind, query, title) of a prompt of pasa/prompts.py."""
    if found := re.search(r"User Query: (.*)$", prompt) if prompt.startswith("Please generate") else None:
        return "search", found[1], ""
    if found := re.search(r"^You are conducting research on `(.*)`\. .* Title: (.*)\n", prompt):
        return "expand", found[1], found[2]
    found = re.search(r"Title: (.*)\nAbstract: (?:.*)\n\nUser Query: (.*)\n", prompt)
    assert found, prompt
    return "select", found[2], found[1]


# -- the command line --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a command line gave."""

    code: int
    out: str
    err: str

    def is_error(self, code: int, *words: str) -> bool:
        """Whether it ended with `code` and one line on stderr, an error in which all the words stand."""
        [line, *more] = self.err.splitlines() or [""]
        assert (self.code, line[:7], more, self.out) == (code, "error: ", [], ""), self
        return all(word in line for word in words)


def start(
    args: Sequence[str],
    cwd: Path,
    environment: dict[str, str] | None = None,
    *,
    limit: Callable[[], None] | None = None,
    **popen: Any,
) -> Any:
    """run_paper_agent.py as a process of its own, its cache under `cwd`; kill it if you do not wait for it.

    `limit` runs in the new process before the program, to set limits of the operating system.
    """
    keys = ("SERPER_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL", *SCHOLARLY_KEYS)
    clean = {k: v for k, v in os.environ.items() if k not in keys}
    clean |= {"XDG_CACHE_HOME": str(cwd / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

    def before() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests that a shell put into the background ignore it
        if limit:
            limit()

    return subprocess.Popen(
        [sys.executable, str(ROOT / "run_paper_agent.py"), *args],
        cwd=cwd,
        env=clean | (environment or {}),
        preexec_fn=before,
        **(pipes | popen),
    )


def service_flags(services: FakeServices, folder: Path, **tools: Any) -> list[str]:
    """Flags that put fake services in the services' places: no pauses, no cache, one retry; `tools` are settings."""
    pauses = dict.fromkeys(("arxiv_delay_seconds", "page_delay_seconds", "semantic_scholar_delay_seconds"), 0)
    settings = {**pauses, "cache_dir": "", "retries": 1} | tools
    (folder / "live.yaml").write_text(json.dumps({"tools": settings}))  # JSON is YAML
    bases = [(f"--{name}_base", getattr(services.urls, name)) for name in services.urls.__slots__]
    return ["--config", str(folder / "live.yaml"), *(word for pair in bases for word in pair)]


# -- trees -------------------------------------------------------------------------------------------------------------


def read_tree(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def nodes(tree: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Title -> node, without the root."""
    below = [kid for kids in tree["child"].values() for kid in kids]
    return {kid["title"]: kid for kid in below} | {t: n for kid in below for t, n in nodes(kid).items()}


def without_times(tree: dict[str, Any]) -> str:
    """The tree's text without what may differ between two runs."""
    tree = json.loads(json.dumps(tree))
    for name in ("seconds", "started"):
        tree["extra"]["run"].pop(name, None)
    return json.dumps(tree)

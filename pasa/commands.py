"""The commands of `pasa`, each the name of something that can be started by itself too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Command:
    """What one command starts with the words behind it."""

    words: tuple[str, ...]  # how it is called: ("library", "build")
    target: str  # a module, run as `python -m` runs it, or a script of this repository
    about: str

    @property
    def name(self) -> str:
        return " ".join(self.words)

    @property
    def is_script(self) -> bool:
        return self.target.endswith(".py")

    @property
    def script(self) -> Path:
        return ROOT / self.target

    @property
    def files(self) -> tuple[Path, ...]:
        """Where its flags may be declared, the first that exists."""
        if self.is_script:
            return (self.script,)
        module = ROOT / Path(*self.target.split("."))
        return tuple(file for file in (module.with_suffix(".py"), module / "__main__.py") if file.exists())


COMMANDS = (
    Command(("search",), "run_paper_agent.py", "find papers for a question, or for a file of questions"),
    Command(("eval",), "scripts/evaluate.py", "score runs: recall, precision, nDCG and more, with intervals"),
    Command(("report",), "scripts/report.py", "write a page that compares runs"),
    Command(("baseline",), "scripts/run_baseline.py", "run a search engine or a language model alone, to compare with"),
    Command(("reproduce",), "scripts/reproduce.py", "run and check published numbers"),
    Command(("export",), "pasa.export", "turn a saved result into BibTeX, RIS, CSV, HTML and more"),
    Command(("library", "build"), "scripts/build_library.py", "build a library of papers, or add to one"),
    Command(("library", "embed"), "scripts/embed_library.py", "let a library be searched by meaning"),
    Command(("serve",), "scripts/serve_library.py", "serve a library as Google's stand-in"),
    Command(("web",), "pasa.web", "serve the page to search with"),
    Command(("mcp",), "pasa.mcp", "serve chat clients and editors (Model Context Protocol)"),
    Command(("doctor",), "pasa.doctor", "check keys, network, GPU, checkpoints and library; say what to do"),
    Command(("download",), "scripts/download_data.py", "download data sets and checkpoints"),
    Command(("data", "queries"), "scripts/build_queries.py", "make training queries from a library"),
    Command(("data", "selector"), "scripts/build_sft_selector.py", "make training pairs for a Selector"),
    Command(("data", "crawler"), "scripts/build_sft_crawler.py", "make training sessions for a Crawler"),
    Command(("data", "judge"), "scripts/judge_pairs.py", "have a panel of judges vote on pairs"),
    Command(("train", "sft"), "scripts/train_sft.py", "fine-tune a Crawler or Selector"),
    Command(("train", "ppo"), "scripts/train_ppo.py", "train a Crawler by reinforcement (session-level PPO)"),
    Command(("train", "curves"), "scripts/plot_ppo.py", "draw the curves of PPO runs"),
    Command(("train", "compare"), "scripts/compare_crawlers.py", "compare Crawlers on held-out queries"),
    Command(("train", "embedder"), "scripts/train_embedder.py", "train the encoder of rules and of dense search"),
    Command(("train", "ranker"), "scripts/train_ranker.py", "train the final ranking of rules"),
    Command(("completion",), "pasa.completion", "print what completes these commands in bash, zsh or fish"),
)


def find_command(words: Sequence[str]) -> tuple[Command, list[str]] | None:
    """The command that `words` begin with, and the words behind it; None for none."""
    for command in COMMANDS:
        if tuple(words[: len(command.words)]) == command.words:
            return command, list(words[len(command.words) :])
    return None


def commands_under(word: str) -> list[Command]:
    """Those of two words that begin with `word`."""
    return [command for command in COMMANDS if len(command.words) > 1 and command.words[0] == word]

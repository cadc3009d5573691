"""Result files: what is written for a query, where, and whether it is there already."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pasa.config import Settings, to_dict
from pasa.errors import ConfigError
from pasa.events import RunResult, RunStats
from pasa.query import Query
from pasa.result_tree import CITED_BY, SEED_BRANCH, RankedPaper
from pasa.search_record import ways_json

SLUG_LENGTH = 80
_DOLLAR_DIGITS = 8


def tree_json(result: RunResult, run_record: dict[str, Any]) -> dict[str, Any]:
    """The result tree in upstream's form; `extra.run` holds how it was made and what was skipped."""
    tree = result.root.to_dict()
    seeds = {"seeds": list(result.query.seeds)} if result.query.seeds else {}
    tree["extra"] = {
        **tree["extra"],
        "papers": _described(result),
        **ways_json(result),
        "run": {**run_record, **seeds, **stats_json(result.stats)},
    }
    if any(result.query.answer_ids):
        tree["extra"]["answer_arxiv_id"] = [arxiv_id or "" for arxiv_id in result.query.answer_ids]
    if result.query.qid:
        tree["extra"]["qid"] = result.query.qid
    if result.query.end_date:
        tree["extra"]["end_date"] = result.query.end_date.isoformat()
    return tree


def _described(result: RunResult) -> dict[str, Any]:
    """Dates and authors, which upstream's form has no place for, by the papers' keys."""
    known = {node.paper.key: node.paper for node in result.root.walk()}
    facts = {key: {"date": paper.date, "authors": list(paper.authors)} for key, paper in known.items()}
    return {key: {name: value for name, value in of.items() if value} for key, of in facts.items() if any(of.values())}


def stats_json(stats: RunStats) -> dict[str, Any]:
    """A run's totals as plain data."""
    return {
        "papers_found": stats.papers_found,
        "papers_scored": stats.papers_scored,
        "papers_selected": stats.papers_selected,
        "searches": stats.searches,
        "papers_expanded": stats.papers_expanded,
        "crawler_calls": stats.crawler_calls,
        "selector_calls": stats.selector_calls,
        **_tokens(stats),
        **({"started": stats.started} if stats.started else {}),
        "seconds": round(stats.seconds, 3),
        "budget_reached": stats.budget_reached,
        "problems": dict(sorted(stats.problems.items())),
    }


def _tokens(stats: RunStats) -> dict[str, Any]:
    """Tokens and dollars, where they were counted."""
    tokens = {"prompt_tokens": stats.prompt_tokens, "reply_tokens": stats.reply_tokens}
    dollars = {"dollars": round(stats.dollars, _DOLLAR_DIGITS)} if stats.dollars else {}
    return {**tokens, **dollars} if any(tokens.values()) else {}


def ranking_json(papers: Sequence[RankedPaper]) -> list[dict[str, Any]]:
    """Ranked papers as plain data, in order."""
    return [
        {
            "rank": paper.rank,
            "title": paper.paper.title,
            "arxiv_id": paper.paper.arxiv_id,
            "url": paper.paper.url,
            "date": paper.paper.date,
            "authors": list(paper.paper.authors),
            "score": paper.score,
            "selected": paper.selected,
            "is_seed": paper.is_seed,
            "depth": paper.depth,
            "path": list(paper.path),
            **({"reason": paper.reason} if paper.reason else {}),
            "abstract": paper.paper.abstract,
        }
        for paper in papers
    ]


def check_writable(folder: Path) -> None:
    """Makes the folder; raises ConfigError where it cannot be made or written into."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigError(f"cannot write into {folder}: {error.strerror}; choose another folder") from error


def json_text(content: Any) -> str:
    """The content as result files hold it."""
    return json.dumps(content, indent=2, ensure_ascii=False)


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Adds one JSON line to a file. Raises ConfigError."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def write_json(path: Path, content: Any) -> None:
    """Writes the file whole or not at all. Raises ConfigError where it cannot be written."""
    write_whole(path, json_text(content))


def write_whole(path: Path, text: str) -> None:
    """Writes the file whole or not at all. Raises ConfigError where it cannot be written."""
    write_bytes(path, text.encode("utf-8", "replace"))  # JSON may hold lone surrogates


def write_bytes(path: Path, data: bytes) -> None:
    """Writes the file whole or not at all. Raises ConfigError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}; choose another place") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def is_finished(path: Path, query: Query) -> bool:
    """Whether `path` holds the whole result of `query`.

    Raises ConfigError when it holds another question's, which must not be mixed with this run's.
    """
    if not path.exists():
        return False
    try:
        title = _skimmed(path)["title"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if title != query.text:
        raise ConfigError(
            f"{path} holds the result of another question ({str(title)[:60]!r}); "
            "choose another --output_folder, or --overwrite"
        )
    return True


def made_otherwise(path: Path, settings: Settings, query: Query) -> bool:
    """Whether `path` holds a result of ours that was made under other settings of the crawl or from other seeds."""
    run = recorded_run(path)
    if "settings" not in run:
        return False
    now = to_dict(settings)["agent"]
    before = {**to_dict(Settings())["agent"], **run["settings"]}  # a setting that came since was as it is by default
    return bool(before != now or run.get("seeds", []) != list(query.seeds))


def recorded_run(path: Path) -> dict[str, Any]:
    """How the result in `path` was made, its `extra.run`; {} where it does not say."""
    try:
        run = _skimmed(path)["extra"]["run"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return run if isinstance(run, dict) else {}


def _skimmed(path: Path) -> dict[str, Any]:
    """At least `title` and `extra` of a whole result file; ten times as fast as reading it where we wrote it.

    Only then stands `}` alone at the start of a line at its end, and nowhere else. Raises as json.loads does.
    """
    data = path.read_bytes()
    extra = data.rfind(b'\n  "extra": {')
    if data.startswith(b'{\n  "title": "') and data.endswith(b"\n}") and extra > 0:
        title = data[2 : data.index(b"\n", 2)].rstrip(b",")
        return {**json.loads(b"{" + title + b"}"), **json.loads(b"{" + data[extra:])}
    return dict(json.loads(data))


def slug(text: str) -> str:
    """A file name made of the text's words: lower case, dashes, at most 80 characters.

    A text that does not fit into that gets a hash of itself behind it, so that two such texts have two names.
    """
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if text.isascii() and 0 < len(name) <= SLUG_LENGTH:
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name[:SLUG_LENGTH].rstrip('-') or 'query'}-{digest}"


def describe_path(path: tuple[str, ...]) -> str:
    """How a paper was found, in words: the search or seed, then title and section of each paper on the way."""
    words = [_describe_start(path[0])] if path else []
    for title, branch in zip(path[1::2], path[2::2], strict=False):
        where = f"cited by {_shorten(title)} in {_shorten(branch)}"
        words.append(f"cites {_shorten(title)}" if branch == CITED_BY else where)
    return " > ".join(words)


def _describe_start(branch: str) -> str:
    if branch.startswith(SEED_BRANCH):
        return f"seed {_shorten(branch.removeprefix(SEED_BRANCH))}"
    return f'search "{_shorten(branch)}"'


def _shorten(text: str) -> str:
    return textwrap.shorten(text, 60, placeholder=" ...")

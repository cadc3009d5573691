"""A run kept whole in a folder: enough to write it up, and to repeat it without network or models.

record.json          question, settings, versions
answers.jsonl.zst    all that was asked of models, search engines and sources, and what they answered (tape.py)
result.json          the result tree
methods.md           the search in words, for a methods section
decisions.csv        every paper found, with its score and what was decided
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import zstandard

from pasa.config import AgentSettings, Settings, make_record, to_dict
from pasa.errors import UserError
from pasa.evaluation.trees import read_tree
from pasa.events import Event, RunResult
from pasa.export.formats import export
from pasa.export.run_view import of_result
from pasa.query import Query, parse_date
from pasa.results import tree_json, write_bytes, write_json, write_whole
from pasa.runtime import PaperAgent
from pasa.tape import NotRecordedError, RecordingWorkers, ReplayedWorkers, Tape, recorded_rerank, replayed_rerank

FORMAT = 1  # raised when the files' meaning changes
RECORD, ANSWERS, RESULT, METHODS, DECISIONS = (
    *("record.json", "answers.jsonl.zst", "result.json"),
    *("methods.md", "decisions.csv"),
)
# Ends of a run that depend on the clock: what would have been asked next is not on the tape.
_NOT_REPEATABLE = frozenset({"seconds", "stopped"})
# How problems begin that tools count themselves, of what they made up for; a crawl's own are "... failed".
_OF_TOOLS = ("search: ", "look-up: ", "cited by: ", "asked again: ")


class ReplayError(UserError):
    """A recorded run cannot be repeated; the message says why and what to do."""


@dataclass(frozen=True)
class RecordedRun:
    """A run read back from its folder."""

    folder: Path
    query: Query
    settings: AgentSettings
    made: dict[str, Any]  # how the agent was made, for the result tree
    tape: Tape
    tree: dict[str, Any]


def save(folder: Path, result: RunResult, made: Mapping[str, Any], settings: Settings, tape: Tape) -> None:
    """Writes the folder's files, each whole or not at all. Raises ConfigError."""
    query = asdict(result.query)
    query["end_date"] = result.query.end_date.isoformat() if result.query.end_date else None
    record = {
        "format": FORMAT,
        "query": query,
        "settings": to_dict(settings),
        "made": dict(made),
        "ended_by": result.stats.budget_reached,
    }
    run = of_result(result, made)
    write_bytes(folder / ANSWERS, zstandard.compress("\n".join(tape.lines()).encode("utf-8", "surrogatepass")))
    write_json(folder / RESULT, tree_json(result, dict(made)))
    write_whole(folder / METHODS, export(run, "methods"))
    write_whole(folder / DECISIONS, export(run, "decisions"))
    write_json(folder / RECORD, record)


def load(folder: Path) -> RecordedRun:
    """The run in a folder that `save` wrote. Raises ReplayError, ConfigError."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise ReplayError(f"{folder} is a record of format {record['format']}, this version reads {FORMAT}")
        if record["ended_by"] in _NOT_REPEATABLE:
            raise ReplayError(
                f"{folder} holds a run that was {_ended(record['ended_by'])}, which cannot be repeated; record one "
                "with --max_model_calls or --max_papers_scored instead"
            )
        packed = zstandard.ZstdDecompressor().stream_reader(io.BytesIO((folder / ANSWERS).read_bytes()))
        tape = Tape.from_lines(packed.read().decode("utf-8", "surrogatepass").split("\n"))
        asked = record["query"]
        query = Query(**{**asked, **{name: tuple(v) for name, v in asked.items() if isinstance(v, list)}})
    except OSError as error:
        raise ReplayError(f"{folder} is no record of a run ({error.strerror}); --record DIR makes one") from error
    except (ValueError, KeyError, TypeError, zstandard.ZstdError) as error:
        raise ReplayError(f"{folder} cannot be read ({error}); record the run again with --record") from error
    if query.end_date:
        query = replace(query, end_date=parse_date(str(query.end_date)))
    settings = make_record(AgentSettings, record["settings"]["agent"], f"{folder / RECORD}: settings")
    return RecordedRun(folder, query, settings, record["made"], tape, read_tree(folder / RESULT))


def _ended(reason: str) -> str:
    return "stopped by hand" if reason == "stopped" else "ended by the clock (--max_seconds)"


def record_on(tape: Tape, agent: PaperAgent) -> None:
    """Puts on the tape, from now on, all that the agent asks and is answered."""
    agent.put_between(
        lambda workers: RecordingWorkers(tape, workers),
        lambda rerank: recorded_rerank(tape, rerank) if rerank else None,
    )


def replay(recorded: RecordedRun, on_event: Callable[[Event], None] | None = None) -> RunResult:
    """The run once more, answered from its tape alone. Raises ReplayError where the tape lacks what is asked for."""
    nobody = _Nobody()
    with PaperAgent(nobody, nobody, nobody, nobody, recorded.settings, citations=nobody) as agent:
        is_reranked = bool(recorded.made.get("reranked"))
        rerank = replayed_rerank(recorded.tape)
        agent.put_between(lambda _: ReplayedWorkers(recorded.tape), lambda _: rerank if is_reranked else None)
        try:
            result = agent.run(recorded.query, on_event)
        except NotRecordedError as error:
            made_by = (recorded.made.get("versions") or {}).get("code", "another version")
            raise ReplayError(
                f"{recorded.folder} does not hold the answer to: {error}; the crawl goes another way than when it was "
                f"recorded, by {made_by}: replay it with that version"
            ) from error
    before = (recorded.tree["extra"].get("run") or {}).get("problems") or {}
    result.stats.problems.update({reason: n for reason, n in before.items() if _is_of_tools(reason)})
    return result


def _is_of_tools(reason: str) -> bool:
    return any(reason.startswith(kind) and not reason.startswith(f"{kind}failed") for kind in _OF_TOOLS)


def is_same(tree: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two result trees say the same, times aside."""
    return _timeless(tree) == _timeless(other)


def _timeless(tree: Mapping[str, Any]) -> Any:
    plain = json.loads(json.dumps(tree))
    for name in ("seconds", "started"):
        (plain["extra"].get("run") or {}).pop(name, None)
    return plain


class _Nobody:
    """Stands where a replay has neither models nor tools; is never asked."""

    name = "replay"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name in ("failures", "requests_at_once"):
            raise AttributeError(name)

        def refuse(*_: Any) -> Any:
            raise AssertionError(f"a replay asks nobody to {name}")

        return refuse

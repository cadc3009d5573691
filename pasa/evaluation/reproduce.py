"""Rows of configs/reproduce.yaml: what to run, what comes out, how far off that may be. No I/O but reading the file.

One entry drives the run, the check and the published table.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pasa.config import read_yaml
from pasa.errors import ConfigError
from pasa.evaluation.worlds import World, missing_files

PAPER = "paper"  # `source` of published numbers
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]+")
_PLACEHOLDERS = {"library", "questions", "output", "runs", "cache"}
ROUNDING = 5e-5  # numbers are given to four digits


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: a way to find papers, on one world."""

    name: str  # world/way
    world: World
    title: str
    expected: Mapping[str, float]  # metric -> value
    source: str  # "paper", or where and when it was measured
    command: tuple[str, ...] = ()  # run one after the other; () = nothing to run
    trees: str = ""  # trees that are there already, instead of a command's
    scores: str = ""  # a JSON file of numbers that the command writes, in {output}, instead of trees
    after: tuple[str, ...] = ()  # ways whose rows on the same world are run before
    first: int | None = None  # only so many questions
    vectors: bool = False  # the library is searched by meaning
    needs: tuple[str, ...] = ()  # variables, paths, "gpu", or words for what nobody can have
    tolerance: float = ROUNDING  # of numbers up to 1; of larger ones, such as actions, the share of them
    intervals: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)  # 95%
    hardware: str = "2 CPU cores"
    time: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Deviation:
    """A number that came out otherwise than expected; `got` None where it did not come out."""

    metric: str
    expected: float
    got: float | None

    def __str__(self) -> str:
        got = "nothing" if self.got is None else f"{self.got:.4f}"
        return f"{self.metric} expected {self.expected:.4f} got {got}"


def deviations(row: Row, means: Mapping[str, float]) -> list[Deviation]:
    """The row's numbers that `means` misses by more than its tolerance."""
    found = [Deviation(metric, value, means.get(metric)) for metric, value in row.expected.items()]
    return [d for d in found if d.got is None or not abs(d.got - d.expected) <= _allowed(row, d.expected)]


def _allowed(row: Row, expected: float) -> float:
    return max(row.tolerance, ROUNDING) * max(1.0, abs(expected))


def unmet_needs(row: Row, root: Path, environment: Mapping[str, str]) -> list[str]:
    """What the row needs and this machine lacks, in words; the world's files first."""
    unmet = missing_files(row.world, root)
    for need in row.needs:
        if need == "gpu":
            met = bool(list(Path("/dev").glob("nvidia[0-9]*")))
        elif _VARIABLE.fullmatch(need):
            met = bool(environment.get(need, "").strip())
        elif "/" in need and " " not in need:
            met = (root / need).exists()
        else:
            met = False
        if not met and need not in unmet:
            unmet.append(need)
    if row.trees and not (root / row.trees).is_dir():
        unmet.append(row.trees)
    return unmet


def choose_rows(rows: Sequence[Row], patterns: Sequence[str]) -> list[Row]:
    """The rows whose names match a pattern (`frozen/*`), in the file's order; all without patterns.

    Raises ConfigError for a pattern that matches none.
    """
    for pattern in patterns:
        if not any(fnmatchcase(row.name, pattern) for row in rows):
            raise ConfigError(f"no row {pattern!r}; --list shows what there is")
    return [row for row in rows if not patterns or any(fnmatchcase(row.name, pattern) for pattern in patterns)]


def rows_before(row: Row, rows: Sequence[Row]) -> list[Row]:
    """The rows that must have run before this one, in the file's order."""
    return [other for other in rows if other.world.name == row.world.name and other.name.split("/")[1] in row.after]


def commands(row: Row, places: Mapping[str, str]) -> list[list[str]]:
    """The row's commands as words, with `places` (by the names in _PLACEHOLDERS) put in."""
    return [[word.format(**places) for word in line.split()] for line in row.command]


# -- the file --------------------------------------------------------------------------------------------------------


def read_rows(path: Path) -> list[Row]:
    """The rows of a file such as configs/reproduce.yaml, in its order. Raises ConfigError naming entry and key."""
    content = read_yaml(path)
    if not isinstance(content, dict) or not content.keys() >= {"worlds", "rows"}:
        raise ConfigError(f"{path} must hold `worlds` and `rows`")
    worlds = {name: _world(name, entry, path.name) for name, entry in content["worlds"].items()}
    rows = [row for entry in content["rows"] for row in _rows(entry, worlds, path.name)]
    names = [row.name for row in rows]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"{path.name}: {twice} stands there twice")
    for row in rows:
        if unknown := {f"{row.world.name}/{way}" for way in row.after} - set(names):
            raise ConfigError(f"{path.name}: {row.name} is to run after {min(unknown)}, which is not there")
    return sorted(rows, key=lambda row: [*worlds].index(row.world.name))


def _world(name: str, entry: Any, where: str) -> World:
    entry = _checked(entry, World, f"{where}: worlds.{name}")
    files = tuple((str(path), str(sha256 or "")) for path, sha256 in (entry.pop("files", None) or {}).items())
    return World(name, files=files, build=tuple(entry.pop("build", ())), **entry)


def _rows(entry: Any, worlds: Mapping[str, World], where: str) -> Iterator[Row]:
    """A row for each world under the entry's `worlds`, whose keys go before the entry's own."""
    if not isinstance(entry, dict) or not isinstance(entry.get("worlds"), dict) or "name" not in entry:
        raise ConfigError(f"{where}: a row needs `name` and `worlds` (world -> what comes out): {str(entry)[:60]}")
    shared = {key: value for key, value in entry.items() if key not in ("name", "worlds")}
    for name, own in entry["worlds"].items():
        place = f"{where}: {name}/{entry['name']}"
        if name not in worlds:
            raise ConfigError(f"{place}: no world {name!r}; there are {', '.join(worlds)}")
        values = _checked(shared | _checked(own, Row, place), Row, place)
        command = values.pop("command", ())
        lines = (command,) if isinstance(command, str) else tuple(command or ())
        _check_row(values, lines, place)
        needs, after = tuple(values.pop("needs", ())), tuple(values.pop("after", ()))
        intervals = {metric: (low, high) for metric, (low, high) in (values.pop("intervals", None) or {}).items()}
        yield Row(
            f"{name}/{entry['name']}",
            worlds[name],
            command=lines,
            needs=needs,
            after=after,
            intervals=intervals,
            **values,
        )


def _check_row(values: Mapping[str, Any], lines: Sequence[str], place: str) -> None:
    for key in ("title", "expected", "source"):
        if not values.get(key):
            raise ConfigError(f"{place}: `{key}` is missing")
    if not lines and not values.get("trees") and not values.get("needs"):
        raise ConfigError(f"{place}: give a `command`, `trees`, or what it `needs`")
    for line in lines:
        if unknown := set(re.findall(r"{(\w+)}", line)) - _PLACEHOLDERS:
            raise ConfigError(f"{place}: unknown {{{min(unknown)}}} in the command; there are {sorted(_PLACEHOLDERS)}")
    for metric, value in values["expected"].items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{place}: expected {metric} is {value!r}; it takes a number")


def _checked(entry: Any, record: type[Any], place: str) -> dict[str, Any]:
    """A copy of the entry. Raises ConfigError for what is no mapping and for a key that `record` does not have."""
    if not isinstance(entry, dict):
        raise ConfigError(f"{place} must be `key: value` lines")
    known = typing.get_type_hints(record).keys() - {"name", "world"}
    if unknown := entry.keys() - known:
        raise ConfigError(f"{place}: unknown key {min(unknown)!r}; there are {', '.join(sorted(known))}")
    return dict(entry)


# -- the page --------------------------------------------------------------------------------------------------------

_COLUMNS = {
    "crawler_recall": "crawler recall",
    "precision": "precision",
    "recall": "recall",
    "recall@20": "R@20",
    "recall@50": "R@50",
    "recall@100": "R@100",
}

_HEAD = """\
# Reproducing the numbers

Written by `python scripts/reproduce.py --table docs/REPRODUCE.md` from configs/reproduce.yaml; do not edit it here.

```
python scripts/reproduce.py --list                      # every row, and what this machine lacks for it
python scripts/reproduce.py --check                     # runs and checks all rows that can run here
python scripts/reproduce.py --check --row 'frozen/*'    # the frozen benchmark
python scripts/reproduce.py --dry-run --row auto/google # what would be run
```

A check runs the row's command and compares: `OK`, or `FAIL recall@20 expected .5231 got ...`. Rows that need what this
machine lacks are named with it and not run; a number of theirs is the paper's, never ours.
"""


def page(rows: Sequence[Row]) -> str:
    """The results page in Markdown: a table and the commands for each world."""
    parts = [_HEAD]
    for world in dict.fromkeys(row.world for row in rows):
        of_world = [row for row in rows if row.world is world]
        parts.append("\n".join([f"## {world.title}", "", *_about(world), *_table(of_world), "", *_how(of_world)]))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _about(world: World) -> Iterator[str]:
    if world.about:
        yield from (*world.about.strip().splitlines(), "")


def _table(rows: Sequence[Row]) -> Iterator[str]:
    named = dict.fromkeys(metric for row in rows for metric in row.expected)
    metrics = [*(m for m in _COLUMNS if m in named), *(m for m in named if m not in _COLUMNS)]
    yield "| " + " | ".join(["row", "", *(_COLUMNS.get(m, m) for m in metrics), "from"]) + " |"
    yield "|" + "---|" * (len(metrics) + 3)
    for row in rows:
        numbers = [_number(row, metric) for metric in metrics]
        yield (
            "| "
            + " | ".join([f"`{row.name}`", row.title, *numbers, row.source + ", not run here" * (row.source == PAPER)])
            + " |"
        )


def _number(row: Row, metric: str) -> str:
    if metric not in row.expected:
        return ""
    value = row.expected[metric]
    text = f"{value:.4f}".removeprefix("0") if abs(value) < 1 else f"{value:.1f}"
    if metric in row.intervals:
        low, high = (f"{end:.3f}".removeprefix("0") if abs(end) < 1 else f"{end:.1f}" for end in row.intervals[metric])
        text += f" ({low}-{high})"
    return text


def _how(rows: Sequence[Row]) -> Iterator[str]:
    """How each row is run."""
    for row in rows:
        needs = f"; needs {', '.join(row.needs)}" if row.needs else ""
        first = f"; the first {row.first} questions" if row.first else ""
        tolerance = f"; ±{max(row.tolerance, ROUNDING):g}"
        yield f"- `{row.name}`: {row.hardware}{', ' + row.time if row.time else ''}{first}{needs}{tolerance}"
        for line in row.command:
            yield f"  - `{line}`"
        if row.trees:
            yield f"  - trees: `{row.trees}`"
        if row.note:
            yield f"  - {' '.join(row.note.split())}"

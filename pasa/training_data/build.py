"""A build of training data on disk: rows are streamed out, an interrupted build goes on, what was left out is counted.

FOLDER/train.jsonl dev.jsonl test.jsonl   whole, once the build is done (while it runs: NAME.part)
FOLDER/manifest.json                      counts, sources, checksums, what was left out and why
FOLDER/progress.json                      while the build runs: how far the files are good
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pasa.errors import ConfigError
from pasa.results import write_whole

SPLITS = ("train", "dev", "test")
DEV_SHARE = TEST_SHARE = 0.05
FORMAT = 1
UNITS_BETWEEN_SAVES = 200
PROGRESS, MANIFEST = "progress.json", "manifest.json"

Row = dict[str, Any]


def split_of(source_key: str, seed: int) -> str:
    """The split that everything made from one source paper goes to; the same on every machine."""
    at = int.from_bytes(hashlib.sha256(f"{seed}:{source_key}".encode()).digest()[:8]) / 2**64
    return "test" if at < TEST_SHARE else "dev" if at < TEST_SHARE + DEV_SHARE else "train"


def rng_of(seed: int, *names: str) -> random.Random:
    """Randomness that depends on what it is for, not on what was done before: a build that goes on is the same."""
    return random.Random(":".join([str(seed), *names]))


@dataclass(slots=True)
class Made:
    """What was made of some of the input."""

    rows: list[Row] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    drops: Counter[str] = field(default_factory=Counter)  # what was left out, by reason


class Build:
    """One build under way. Units (source papers, queries) come in a fixed order; each is written and then `done`.

    Use as a context: leaving it closes the files; `finish` makes them whole.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], fresh: bool = False) -> None:
        """Goes on where an interrupted build of the same settings stopped; with `fresh` from the start.

        `settings`: all that the rows depend on, in JSON's types. Raises ConfigError where another build stands.
        """
        self.folder = folder
        self._settings = json.loads(json.dumps(settings))
        folder.mkdir(parents=True, exist_ok=True)
        state = None if fresh else self._saved()
        self.units = state["units"] if state else 0  # done before; the caller passes over as many
        self.counts: Counter[str] = Counter(state["counts"] if state else {})
        self.drops: Counter[str] = Counter(state["drops"] if state else {})
        self._files = {split: self._open(split, state["bytes"][split] if state else 0) for split in SPLITS}
        self._rows: Counter[str] = Counter(state["rows"] if state else {})
        self._started_at = self.units

    def _saved(self) -> dict[str, Any] | None:
        if (self.folder / MANIFEST).exists():
            raise ConfigError(
                f"{self.folder} holds a finished build: give another --output_folder, or --fresh to replace it"
            )
        try:
            state = json.loads((self.folder / PROGRESS).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.folder / PROGRESS} cannot be read ({error}): start again with --fresh") from error
        if state.get("settings") != self._settings or state.get("format") != FORMAT:
            raise ConfigError(f"{self.folder} was begun with other settings: go on with those, or pass --fresh")
        return state

    def _open(self, split: str, good_bytes: int) -> IO[bytes]:
        file = (self.folder / f"{split}.jsonl.part").open("ab")
        file.truncate(good_bytes)
        file.seek(good_bytes)
        return file

    @property
    def went_on(self) -> bool:
        return self._started_at > 0

    def rows_before(self) -> Iterator[Row]:
        """The rows that the interrupted build had written."""
        for split in SPLITS:
            with (self.folder / f"{split}.jsonl.part").open(encoding="utf-8") as lines:
                yield from map(json.loads, lines)

    def write(self, split: str, row: Row) -> None:
        self.write_line(split, row_line(row))

    def write_line(self, split: str, line: bytes) -> None:
        """`line` as row_line gives it."""
        self._files[split].write(line)
        self._rows[split] += 1

    def drop(self, reason: str, times: int = 1) -> None:
        """Counts what was left out."""
        if times:
            self.drops[reason] += times

    def done(self, units: int = 1) -> None:
        """So many more units are complete."""
        before, self.units = self.units, self.units + units
        if self.units // UNITS_BETWEEN_SAVES > before // UNITS_BETWEEN_SAVES:
            self.save()

    def save(self) -> None:
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        state = {
            "format": FORMAT,
            "settings": self._settings,
            "units": self.units,
            "rows": self._rows,
            "bytes": {split: file.tell() for split, file in self._files.items()},
            "counts": self.counts,
            "drops": self.drops,
        }
        write_whole(self.folder / PROGRESS, json.dumps(state, indent=1))

    def finish(self, builder: str, sources: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Puts the files in their places and writes the manifest, which comes back."""
        self.save()
        files = {}
        for split, file in self._files.items():
            file.close()
            whole = self.folder / f"{split}.jsonl"
            os.replace(self.folder / f"{split}.jsonl.part", whole)
            files[whole.name] = {
                "rows": self._rows[split],
                "bytes": whole.stat().st_size,
                "sha256": file_checksum(whole),
            }
        manifest = {
            "format": FORMAT,
            "builder": builder,
            "built": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "went_on_after_units": self._started_at,
            "settings": self._settings,
            "sources": dict(sources),
            "units": self.units,
            "files": files,
            "counts": dict(sorted(self.counts.items())),
            "drops": dict(sorted(self.drops.items())),
        }
        write_whole(self.folder / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
        (self.folder / PROGRESS).unlink(missing_ok=True)
        return manifest

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def __enter__(self) -> Build:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def row_line(row: Row) -> bytes:
    """The row as a line of a JSON-lines file."""
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


class BadRows:
    """Input rows that cannot be used: each is told by its line; too many end the build."""

    def __init__(self, limit: int, tell: Callable[[str], None]) -> None:
        self.limit = limit
        self.count = 0
        self._tell = tell

    def add(self, where: str, why: str) -> None:
        """Raises ConfigError once there are more than `limit`."""
        self.count += 1
        self._tell(f"skipped {where}: {why}")
        if self.count > self.limit:
            raise ConfigError(
                f"{self.count} bad rows, more than the {self.limit} that are let pass: mend the input named above, "
                "or raise --max_bad_rows"
            )


def numbered_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """(file and number from 1, the line) of each line that is not blank; json.loads reads it, or says what is wrong.

    Raises ConfigError where the file cannot be read.
    """
    try:
        with path.open("rb") as lines:
            yield from ((f"{path.name}:{number}", line) for number, line in enumerate(lines, 1) if line.strip())
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror})") from error


def file_checksum(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sample_rows(folder: Path, number: int, seed: int) -> list[Row]:
    """`number` rows of a finished build's train.jsonl, drawn evenly, in the file's order. Raises ConfigError."""
    path = folder / "train.jsonl"
    try:
        with path.open(encoding="utf-8") as lines:
            kept: list[tuple[int, str]] = []
            rng = random.Random(seed)
            for at, line in enumerate(lines):  # reservoir sampling: the file may be larger than memory
                if at < number:
                    kept.append((at, line))
                elif (slot := rng.randrange(at + 1)) < number:
                    kept[slot] = (at, line)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): build the data first") from error
    return [json.loads(line) for _, line in sorted(kept)]


def tell_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

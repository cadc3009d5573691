"""Builds a library with the reading of its inputs spread over a Ray cluster: same files in, same library out.

Inputs are cut into shards: plain JSON lines by bytes, upstream's zip by members; a packed file is one shard, since it
can only be read from its start. A task a shard unpacks, parses and normalises rows on any machine of the cluster; this
process alone writes, taking the shards' papers in the order of the inputs, so that merging, numbers and order are those
of `build_library`. Every machine needs the inputs under the same paths (a shared disk) and the packages of
requirements.txt and requirements-ray.txt; this project's code is sent along.
"""

from __future__ import annotations

import logging
import os
import socket
import zipfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

from pasa.errors import LibraryError
from pasa.library import generations
from pasa.library.build import BuildReport, Progress, build_alone
from pasa.library.ingest import LINE_SUFFIXES, Count, PaperReader, Problems, RawRow
from pasa.library.unpacking import read_line
from pasa.library.zip_members import ZipMembers
from pasa.paper import Paper

SHARD_BYTES = 32 << 20  # of plain JSON lines
SHARD_MEMBERS = 50_000  # of a zip; each task reads the zip's directory first
_BATCH_PAPERS = 500
_BATCHES_AHEAD = 16  # that a task may be ahead of the writer: bounds the memory a shard holds
_KNOCK_SECONDS = 10.0
_PACKAGE = Path(__file__).parents[1]


def build_with_ray(
    inputs: Sequence[str | Path],
    out: str | Path,
    address: str | None = None,
    progress: Progress | None = None,
    id2paper: str | Path | None = None,
    fresh: bool = False,
) -> tuple[BuildReport, int]:
    """`build_library` with its inputs read by the cluster at `address`; its report, and how many machines read.

    Without an address: the cluster that RAY_ADDRESS or Ray's own files name, else one on this machine. Raises
    LibraryError as `build_library` does, and where Ray is not installed or does not answer.
    """
    problems = Problems()
    paths = [Path(path) for path in inputs]
    for path in paths:
        PaperReader(path, problems)  # tells a missing or unknown input before Ray is started
    ids = Path(id2paper) if id2paper else None
    if ids and not ids.is_file():
        raise LibraryError(f"{ids} is not a file: name upstream's id2paper.json")
    ray = connect(address)
    try:
        readers = [_ClusterReader(path, problems, ray) for path in paths]
        with generations.writing(Path(out)):
            report = build_alone(readers, Path(out), problems, progress, ids, fresh)
    finally:
        ray.shutdown()
    return report, len(set[str]().union(*(reader.nodes for reader in readers)))


def connect(address: str | None) -> Any:
    """The ray module, connected to the cluster at `address`, which runs this project's code.

    Without one: to the cluster that RAY_ADDRESS or Ray's own files name, else to one started here. Raises LibraryError
    where Ray is not installed or does not answer.
    """
    try:
        import ray
    except ImportError as error:
        raise LibraryError("--ray needs Ray: pip install -r requirements-ray.txt") from error
    try:
        if named := address or os.environ.get("RAY_ADDRESS"):
            _knock(named)
        ray.init(address, runtime_env={"py_modules": [str(_PACKAGE)]}, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LibraryError(
            f"no Ray cluster at {address or 'this machine'} ({reason}): start one with ray start"
        ) from error
    return ray


def _knock(address: str) -> None:
    """Raises OSError where nothing answers at "host:port": Ray itself would try for a minute."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_SECONDS).close()


# -- shards: what a task reads ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of an input: all of it, the lines that begin in bytes [start, end), or members [start, end) of a zip."""

    path: Path
    kind: Literal["whole", "lines", "members"] = "whole"
    start: int = 0
    end: int = 0


def shards_of(path: Path, shard_bytes: int = SHARD_BYTES, shard_members: int = SHARD_MEMBERS) -> list[Shard]:
    """The shards of an input, in order; together they hold each of its rows once."""
    if path.name.lower().endswith(LINE_SUFFIXES):
        return _cut(path, "lines", path.stat().st_size, shard_bytes)
    members = _count_members(path) if path.suffix.lower() == ".zip" else 0
    return _cut(path, "members", members, shard_members) if members else [Shard(path)]


def _cut(path: Path, kind: Literal["lines", "members"], total: int, step: int) -> list[Shard]:
    return [Shard(path, kind, start, min(start + step, total)) for start in range(0, max(1, total), step)]


def _count_members(path: Path) -> int:
    """How many members upstream's zip has; 0 for a zip of JSON lines or a damaged one, which are read as a whole."""
    try:
        with path.open("rb") as file:
            members = ZipMembers(file, LINE_SUFFIXES)
    except (zipfile.BadZipFile, OSError):
        return 0
    return 0 if members.holds_lines else len(members)


class ShardReader(PaperReader):
    """The papers of one shard. Problems are told with the line's number in the shard, `lines` of which were met."""

    def __init__(self, shard: Shard, problems: Problems) -> None:
        super().__init__(shard.path, problems)
        self.lines = 0
        self._shard = shard

    def _packed_lines(self, file: IO[bytes]) -> Iterator[RawRow]:
        if self._shard.kind != "lines":
            yield from super()._packed_lines(file)
            return
        for row in self._lines(self._own_lines(file)):
            self.done = file.tell() - self._shard.start
            yield row

    def _own_lines(self, file: IO[bytes]) -> Iterator[bytes | None]:
        if self._shard.start:
            file.seek(self._shard.start - 1)
            read_line(file)  # the rest of a line that is the shard before's, or that line's end alone
        while file.tell() < self._shard.end and (line := read_line(file)) != b"":
            self.lines += 1
            yield line

    def _zip(self, file: IO[bytes]) -> Iterator[RawRow]:
        if self._shard.kind != "members":
            yield from super()._zip(file)
            return
        yield from self._members(ZipMembers(file), self._shard.start, self._shard.end)


@dataclass(frozen=True, slots=True)
class Batch:
    """What a task sends: papers, and with the last batch what could not be used."""

    papers: list[Paper]
    done: int  # of the shard, in the units of its kind
    node: str  # the machine
    problems: Problems | None = None
    lines: int = 0


def read_shard(shard: Shard) -> Iterator[Batch]:
    """The shard's papers in batches; runs on the cluster."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    problems = Problems()
    reader = ShardReader(shard, problems)
    papers = iter(reader)
    while batch := list(islice(papers, _BATCH_PAPERS)):
        yield Batch(batch, reader.done, node)
    yield Batch([], reader.done, node, problems, reader.lines)


# -- the writer's side -----------------------------------------------------------------------------------------------


class _ClusterReader(PaperReader):
    """The papers of one input in their order, read by tasks ahead of where they are used."""

    def __init__(self, path: Path, problems: Problems, ray: Any) -> None:
        super().__init__(path, problems)
        self.nodes: set[str] = set()  # machines that read for it
        self._ray = ray
        self._lines_before = 0

    def __iter__(self) -> Iterator[Paper]:
        shards = shards_of(self.path)
        self.total = max(1, sum(shard.end - shard.start for shard in shards)) if shards[0].end else self.total
        finished = 0
        for shard, batches in self._ahead(shards):
            for batch in self._received(batches):
                self.nodes.add(batch.node)
                self.done = finished + batch.done
                yield from batch.papers
                self._note(shard, batch)
            finished += shard.end - shard.start
        self.done = self.total

    def _ahead(self, shards: Iterable[Shard]) -> Iterator[tuple[Shard, Any]]:
        """Each shard with its batches. At most as many tasks as the cluster has cores: one that had to wait for a
        core behind tasks that wait for the writer would stop everything."""
        read = self._ray.remote(num_cpus=1, num_returns="streaming")(read_shard)
        read = read.options(_generator_backpressure_num_objects=_BATCHES_AHEAD)
        cores = max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        waiting = iter(shards)
        running = deque((shard, read.remote(shard)) for shard in islice(waiting, cores))
        while running:
            yield running.popleft()
            running.extend((shard, read.remote(shard)) for shard in islice(waiting, 1))

    def _received(self, batches: Any) -> Iterator[Batch]:
        try:
            for reference in batches:
                yield self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            reason = str(getattr(error, "cause", None) or error).strip().splitlines()[-1]
            raise LibraryError(
                f"{self.path.name} could not be read on the cluster ({reason}): put it where every machine finds it "
                "under the same path"
            ) from error

    def _note(self, shard: Shard, batch: Batch) -> None:
        """Takes over what the shard could not use, under its line numbers in the whole file."""
        if batch.problems is None:
            return
        for ours, theirs in (
            (self.problems.skipped, batch.problems.skipped),
            (self.problems.repaired, batch.problems.repaired),
        ):
            for reason, count in theirs.items():
                ours.setdefault(reason, Count(0, self._place(shard, count.first))).times += count.times
        self.problems.damaged |= batch.problems.damaged
        self._lines_before += batch.lines

    def _place(self, shard: Shard, place: str) -> str:
        if shard.kind != "lines":
            return place
        return f"{self.path.name}:{int(place.rpartition(':')[2]) + self._lines_before}"

"""Inputs parsed by several processes: the same library, the same problems told, and no hang when a process dies."""

from __future__ import annotations

import os
import signal
import subprocess
import zipfile
from pathlib import Path

import orjson
import pytest

from pasa.errors import LibraryError
from pasa.library import build_library
from pasa.library.ingest import RawRow
from pasa.library.packing import Packers


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A file of lines and a zip, of more rows than the first that are read alone; some bad, some merged."""
    monkeypatch.setattr("pasa.library.build.MAX_TRAINING_PAPERS", 10)
    monkeypatch.setattr("pasa.library.packing._BATCH_ROWS", 7)
    rows = [{"title": f"Paper {'x' * (n % 50)}", "abstract": "word " * n, "date": f"2{n:03}"} for n in range(200)]
    lines = [orjson.dumps(row) for row in rows]
    lines[40:40] = [b"not JSON", b'{"title": 3}', b'{"title": "Dated", "date": "some day"}', b"nor this"]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(lines))
    with zipfile.ZipFile(tmp_path / "upstream.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(60):
            archive.writestr(f"cited{n}", orjson.dumps({"title": f"Cited {'y' * n}", "sections": {"1 A": [f"t{n}"]}}))
        archive.writestr("bad", b"{")
    return [tmp_path / "rows.jsonl", tmp_path / "upstream.zip"]


def test_several_processes_build_the_same_library(inputs: list[Path], tmp_path: Path) -> None:
    alone = build_library(inputs, tmp_path / "alone", processes=1)
    several = build_library(inputs, tmp_path / "several", processes=2)
    assert several.problems == alone.problems
    assert several.problems.skipped["not JSON"].times == 3
    assert (several.rows, several.added, several.changed) == (alone.rows, alone.added, alone.changed)
    assert several.rows == 261
    for name in ("papers.sqlite", "titles/letters.npy"):
        assert (tmp_path / "several/gen-000001" / name).read_bytes() == (
            tmp_path / "alone/gen-000001" / name
        ).read_bytes()


def test_a_process_that_dies_ends_the_build_with_a_line(tmp_path: Path) -> None:
    rows = (RawRow(f"f:{n}", b'{"title": "A"}') for n in range(100_000))
    with Packers(2, None) as packers:
        packed = packers.pack(rows)
        next(packed)
        for child in _children():
            os.kill(child, signal.SIGKILL)
        with pytest.raises(LibraryError, match="--processes 1"):
            list(packed)


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    with Packers(2, None) as packers:
        assert len(_children()) == 2
        assert [row[1] for rows, _ in packers.pack([RawRow("f:1", b'{"title": "A"}')]) for row in rows] == ["A"]
    assert _children() == []


def _children() -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "pasa.library.packing" in line]

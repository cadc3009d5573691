"""Packed files read in bounded memory, whatever they hold: no few bytes may unpack to more than the machine has."""

from __future__ import annotations

import gzip
import io
import lzma
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

import zstandard

MAX_ROW_BYTES = 16 << 20  # of a row as text; the largest papers with all they cite take some hundred kilobytes
MAX_LINE_BYTES = 64 << 20  # beyond it no end of the line is looked for

_READ_BYTES = 1 << 20
_XZ_MEMORY_BYTES = 256 << 20  # its strongest preset takes 65 MiB to unpack
_ZSTD_STEP_BYTES = 1 << 9  # zstd unpacks a step as a whole, and one byte of it may stand for 32 KiB
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})  # the others zipfile unpacks without a bound


def unpacked(file: IO[bytes], suffix: str) -> IO[bytes]:
    """What a .gz, .xz or .zst file holds; another file as it is. Reading may raise any of UNREADABLE."""
    if suffix == ".gz":
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if suffix == ".xz":
        return io.BufferedReader(_Unpacked(file, _XzFrame), _READ_BYTES)
    if suffix == ".zst":
        return io.BufferedReader(_Unpacked(file, _ZstdFrame), _READ_BYTES)
    return file


class _XzFrame:
    """One xz stream."""

    def __init__(self) -> None:
        self._stream = lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES)

    @property
    def is_over(self) -> bool:
        return self._stream.eof

    @property
    def has_more(self) -> bool:
        """Whether it can unpack some without being given more."""
        return not self._stream.needs_input

    def unpack(self, packed: memoryview) -> tuple[bytes, memoryview]:
        """(some of what it holds, what is left of `packed`)."""
        return self._stream.decompress(packed, _READ_BYTES), memoryview(self._stream.unused_data)


class _ZstdFrame:
    """One zstd frame; unlike zstandard's own reader what reads it can tell that the file is cut off."""

    has_more = False

    def __init__(self) -> None:
        self._frame = zstandard.ZstdDecompressor().decompressobj()

    @property
    def is_over(self) -> bool:
        return self._frame.eof

    def unpack(self, packed: memoryview) -> tuple[bytes, memoryview]:
        step, rest = packed[:_ZSTD_STEP_BYTES], packed[_ZSTD_STEP_BYTES:]
        some = self._frame.decompress(step)
        return some, memoryview(self._frame.unused_data + bytes(rest)) if self._frame.eof else rest


class _Unpacked(io.RawIOBase):
    """The contents of the frames of a file; EOFError when the last one is cut off."""

    def __init__(self, file: IO[bytes], new_frame: Callable[[], Any]) -> None:
        self._file = file
        self._new_frame = new_frame
        self._frame: Any = None
        self._packed = memoryview(b"")
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        while not self._ready and self._fill():
            pass
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _fill(self) -> bool:
        """Unpacks some more; False at the end."""
        if not self._packed and not (self._frame and self._frame.has_more):
            self._packed = memoryview(self._file.read(_READ_BYTES // 8))
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("Compressed file ended before the end-of-stream marker was reached")
                return False
        self._frame = self._frame or self._new_frame()
        some, self._packed = self._frame.unpack(self._packed)
        self._ready = memoryview(some)
        if self._frame.is_over:
            self._frame = None
            self._packed = memoryview(bytes(self._packed).lstrip(b"\0"))  # xz pads
        return True


def open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    """A member's contents. Raises BadZipFile for one packed in a way that cannot be unpacked in bounded memory."""
    if member.compress_type not in _METHODS:
        raise zipfile.BadZipFile(f"{member.filename} is packed in an unusual way: pack it anew")
    return io.BufferedReader(cast(io.RawIOBase, archive.open(member)), _READ_BYTES)


# -- lines -------------------------------------------------------------------------------------------------------------


class EndlessLine(Exception):
    """A line so long that the file holds no lines."""


def read_lines(file: IO[bytes]) -> Iterator[bytes | None]:
    """The file's lines with their ends; None for one too long to be a row. Raises EndlessLine."""
    while (line := read_line(file)) != b"":
        yield line


def read_line(file: IO[bytes]) -> bytes | None:
    """The next line with its end, b"" after the last; None for one too long to be a row, which is passed over.

    Raises EndlessLine.
    """
    line = file.readline(MAX_ROW_BYTES)
    if len(line) < MAX_ROW_BYTES or line.endswith(b"\n"):
        return line
    for _ in range(MAX_ROW_BYTES, MAX_LINE_BYTES, _READ_BYTES):
        line = file.readline(_READ_BYTES)
        if len(line) < _READ_BYTES or line.endswith(b"\n"):
            return None
    raise EndlessLine(f"a line of more than {MAX_LINE_BYTES >> 20} MB: write one JSON object a line")

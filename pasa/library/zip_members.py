"""Zips of very many small members, read without holding their list: zipfile takes half a kilobyte of memory and some
25 us for each. The format: PKWARE's APPNOTE 6.3.10, sections 4.3 (records) and 4.5.3 (zip64).

Only what upstream's archives need: members stored or deflated, on one disk, not encrypted.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import IO, NamedTuple

import numpy as np

MAX_MEMBERS = 3_000_000  # of a zip; zipfile, for those of JSON lines, keeps about half a kilobyte for each

_MAX_DIRECTORY_BYTES = 320 << 20  # of a zip's list of members, which zipfile reads at once
_READ_BYTES = 1 << 20

_END, _END_MARK, _MAX_COMMENT = struct.Struct("<4s4H2LH"), b"PK\x05\x06", 0xFFFF
_END64_PLACE, _END64_PLACE_MARK = struct.Struct("<4sLQL"), b"PK\x06\x07"
_END64, _END64_MARK = struct.Struct("<4sQ2H2L4Q"), b"PK\x06\x06"
_ENTRY, _ENTRY_MARK = struct.Struct("<4s4x2H4x3L3H8xL"), b"PK\x01\x02"
_HEADER, _HEADER_MARK = struct.Struct("<4s22x2H"), b"PK\x03\x04"
_EXTRA, _EXTRA64 = struct.Struct("<2H"), 1
_LARGEST = 0xFFFFFFFF  # stands for a number that is in the zip64 extra field
_ENCRYPTED, _UTF8 = 0x1, 0x800
_USUAL_HEADER_BYTES = 256  # read together with a member's contents


class Member(NamedTuple):
    """A member as the archive's list states it."""

    name: str
    start: int  # of its header in the file
    is_encrypted: bool
    method: int
    crc: int
    packed_bytes: int
    bytes: int


class ZipMembers:
    """The members of an archive, in the order of its list, which is read anew each time it is gone through."""

    def __init__(self, file: IO[bytes], line_suffixes: tuple[str, ...] = ()) -> None:
        """Looks through the list once. Raises BadZipFile: no zip, too many members, members that share bytes."""
        self._file = file
        self._start, self._bytes, self._shift = _directory(file)
        self.holds_lines = False  # whether some member's name ends in one of `line_suffixes`
        self._count = 0
        places = np.empty((self._bytes // _ENTRY.size, 2), dtype=np.int64)
        listed = 0
        for listed, member in enumerate(self._entries(), start=1):
            places[listed - 1] = member.start, member.start + member.packed_bytes
            self._count += not member.name.endswith("/")
            self.holds_lines = self.holds_lines or member.name.lower().endswith(line_suffixes)
        places = places[np.argsort(places[:listed, 0], kind="stable")]
        if (places[1:, 0] < places[:-1, 1]).any():
            raise zipfile.BadZipFile("its members overlap")

    def __len__(self) -> int:
        """How many members hold something, that is, are no folders."""
        return self._count

    def __iter__(self) -> Iterator[Member]:
        return (member for member in self._entries() if not member.name.endswith("/"))

    def packed(self, member: Member) -> bytes:
        """The member's contents as they lie in the file. Raises BadZipFile."""
        self._file.seek(member.start)
        data = self._file.read(_USUAL_HEADER_BYTES + member.packed_bytes)
        if len(data) < _HEADER.size or not data.startswith(_HEADER_MARK):
            raise zipfile.BadZipFile(f"{member.name}: no member where the list says")
        start = _HEADER.size + sum(_HEADER.unpack_from(data)[1:])
        if start > _USUAL_HEADER_BYTES:
            self._file.seek(member.start + start)
            data, start = self._file.read(member.packed_bytes), 0
        return data[start : start + member.packed_bytes]

    def _entries(self) -> Iterator[Member]:
        place, data, at = self._start, b"", 0
        end = self._start + self._bytes
        while place < end or at < len(data):
            if len(data) - at < _ENTRY.size + 3 * 0xFFFF and place < end:
                self._file.seek(place)
                more = self._file.read(min(_READ_BYTES, end - place))
                place = place + len(more) if more else end
                data, at = data[at:] + more, 0
            if len(data) - at < _ENTRY.size or data[at : at + 4] != _ENTRY_MARK:
                raise zipfile.BadZipFile("its list of members is damaged")
            member, at = _entry(data, at, self._shift)
            yield member


def _entry(data: bytes, at: int, shift: int) -> tuple[Member, int]:
    """The entry at `at` of the list, and where the next one begins."""
    _, flags, method, crc, packed, size, name_bytes, extra_bytes, comment_bytes, start = _ENTRY.unpack_from(data, at)
    at += _ENTRY.size
    name = data[at : at + name_bytes].decode("utf-8" if flags & _UTF8 else "cp437", "replace")
    at += name_bytes
    if _LARGEST in (size, packed, start):
        size, packed, start = _wide(data[at : at + extra_bytes], size, packed, start)
    member = Member(name, start + shift, bool(flags & _ENCRYPTED), method, crc, packed, size)
    return member, at + extra_bytes + comment_bytes


def _wide(extra: bytes, *numbers: int) -> list[int]:
    """The numbers, those that did not fit from the zip64 extra field. Raises BadZipFile where it has them not."""
    while len(extra) >= _EXTRA.size:
        kind, size = _EXTRA.unpack_from(extra)
        if kind == _EXTRA64:
            wide = struct.iter_unpack("<Q", extra[_EXTRA.size : _EXTRA.size + size // 8 * 8])
            found = [next(wide, (n,))[0] if n == _LARGEST else n for n in numbers]
            return found
        extra = extra[_EXTRA.size + size :]
    raise zipfile.BadZipFile("its list of members is damaged")


def unpack_member(member: Member, packed: bytes) -> bytes:
    """A member's contents. Raises BadZipFile, zlib.error where they are damaged or packed in an unusual way."""
    if member.is_encrypted or member.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile(f"{member.name} is packed in an unusual way: pack it anew")
    data = packed
    if member.method == zipfile.ZIP_DEFLATED:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, member.bytes + 1)
    if len(data) != member.bytes or zlib.crc32(data) != member.crc:
        raise zipfile.BadZipFile(f"{member.name} is damaged")
    return data


def open_zip(file: IO[bytes]) -> zipfile.ZipFile:
    """The archive as zipfile reads it, of which no member shares bytes with another. Raises BadZipFile."""
    _directory(file)
    archive = zipfile.ZipFile(file)
    places = sorted((m.header_offset, m.compress_size) for m in archive.infolist())
    if any(start + length > after for (start, length), (after, _) in pairwise(places)):
        raise zipfile.BadZipFile("its members overlap")
    return archive


def _directory(file: IO[bytes]) -> tuple[int, int, int]:
    """(start, bytes) of the list of members, and by how much all places stated are too low: what stands before the
    archive. Raises BadZipFile for no zip, and for one of too many members whatever number it states."""
    end = file.seek(0, io.SEEK_END)
    file.seek(max(0, end - _END.size - _MAX_COMMENT))
    tail_start, tail = file.tell(), file.read()
    at = tail.rfind(_END_MARK)
    if at < 0 or len(tail) < at + _END.size:
        raise zipfile.BadZipFile("File is not a zip file")
    place = tail_start + at
    _, _, _, _, entries, size, offset, _ = _END.unpack_from(tail, at)
    if wide := _end64(file, place):
        place, (entries, size, offset) = wide
    if entries > MAX_MEMBERS or size > _MAX_DIRECTORY_BYTES:
        raise zipfile.BadZipFile(f"more than {MAX_MEMBERS:,} members: split it")
    start = place - size
    if start < 0 or start < offset:
        raise zipfile.BadZipFile("its list of members is damaged")
    if size > MAX_MEMBERS * _ENTRY.size and _count(file, start, size) > MAX_MEMBERS:  # the number stated may be a lie
        raise zipfile.BadZipFile(f"more than {MAX_MEMBERS:,} members: split it")
    return start, size, start - offset


def _end64(file: IO[bytes], end: int) -> tuple[int, tuple[int, int, int]] | None:
    """Where zip64's end record lies before the end record at `end`, and its (members, bytes, start) of the list."""
    place = end - _END64_PLACE.size - _END64.size
    if place < 0:
        return None
    file.seek(place)
    record, mark = file.read(_END64.size), file.read(4)
    if mark != _END64_PLACE_MARK or not record.startswith(_END64_MARK):
        return None
    entries, size, offset = _END64.unpack(record)[7:]
    return place, (entries, size, offset)


def _count(file: IO[bytes], start: int, size: int) -> int:
    """At least how many members a list of `size` bytes at `start` names; more where a name holds the mark."""
    file.seek(start)
    members, before = 0, b""
    while size > 0 and (piece := file.read(min(_READ_BYTES, size))):
        size -= len(piece)
        members += (before + piece).count(_ENTRY_MARK)
        before = piece[-len(_ENTRY_MARK) + 1 :]
    return members

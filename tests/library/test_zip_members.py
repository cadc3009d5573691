"""Zips read without zipfile's list: the same members and contents as zipfile gives, and nothing from damaged ones."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasa.library.zip_members import ZipMembers, unpack_member

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/\\", exclude_categories=["Cs"]), min_size=1, max_size=300
)
METHODS = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])


def contents(data: bytes) -> dict[str, bytes]:
    members = ZipMembers(io.BytesIO(data))
    return {member.name: unpack_member(member, members.packed(member)) for member in members}


def packed(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.comment = comment
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


@given(
    st.dictionaries(NAMES, st.binary(max_size=400), max_size=6), METHODS, st.binary(max_size=30), st.binary(max_size=30)
)
@settings(max_examples=60, deadline=None)
def test_members_are_those_zipfile_reads(members: dict[str, bytes], method: int, prefix: bytes, comment: bytes) -> None:
    data = prefix + packed(members, method, comment)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        expected = {info.filename: archive.read(info) for info in archive.infolist()}
    assert contents(data) == expected


def test_members_with_zip64_fields_and_folders_are_read() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.mkdir("folder")
        with archive.open("a", "w", force_zip64=True) as member:
            member.write(b"one")
    members = ZipMembers(file)
    assert [member.name for member in members] == ["a"]
    assert len(members) == 1
    assert contents(file.getvalue()) == {"a": b"one"}


def test_places_beyond_four_gigabytes_come_from_the_zip64_field() -> None:
    data = bytearray(packed({"a": b"one"}, zipfile.ZIP_STORED))
    entry = data.index(b"PK\x01\x02")
    extra = struct.pack("<2HQ", 1, 8, 0)
    data[entry + 30 : entry + 32] = struct.pack("<H", len(extra))
    data[entry + 42 : entry + 46] = b"\xff" * 4  # the start of the member is in the extra field
    data[entry + 47 : entry + 47] = extra
    end = data.rindex(b"PK\x05\x06")
    (size,) = struct.unpack_from("<L", data, end + 12)
    struct.pack_into("<L", data, end + 12, size + len(extra))
    assert contents(bytes(data)) == {"a": b"one"}


def test_a_list_longer_than_one_read_is_gone_through_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pasa.library.zip_members._READ_BYTES", 100)
    members = {f"member{n}" * 5: b"%d" % n for n in range(50)}
    assert contents(packed(members)) == members


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_with_a_changed_byte_is_refused(method: int) -> None:
    data = bytearray(packed({"a": b"some text that is long enough"}, method))
    data[40] ^= 1
    with pytest.raises((zipfile.BadZipFile, zlib.error)):
        contents(bytes(data))


def test_an_encrypted_member_is_refused() -> None:
    data = bytearray(packed({"a": b"one"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(zipfile.BadZipFile, match="pack it anew"):
        contents(bytes(data))


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_a_damaged_archive_gives_its_contents_or_an_error(data: st.DataObject) -> None:
    members = {"a": b"one", "b": b"two" * 50}
    archive = bytearray(packed(members))
    for _ in range(data.draw(st.integers(1, 4))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = contents(bytes(archive[: data.draw(st.integers(0, len(archive)))]))
    except (zipfile.BadZipFile, zlib.error):
        return
    assert set(read.values()) <= set(members.values())

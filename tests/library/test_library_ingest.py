"""Every format is read row by row; what cannot be used is counted by reason and never stops the rest."""

from __future__ import annotations

import gzip
import json
import lzma
import random
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pasa.errors import LibraryError
from pasa.library.ingest import PaperReader, Problems, read_id2paper
from pasa.library.rows import MalformedRow, paper_from_row
from pasa.paper import Paper, parse_arxiv_id, sections_to_titles

PACK: dict[str, Callable[[bytes], bytes]] = {
    ".jsonl": bytes,
    ".jsonl.gz": gzip.compress,
    ".json.xz": partial(lzma.compress, preset=0),
    ".ndjson.zst": zstandard.ZstdCompressor().compress,
}
SNAPSHOT_ROW = {
    "id": "0704.0001",
    "authors": "C. Bal\\'azs, E. L. Berger",
    "title": "Calculation of prompt diphoton\n  production",
    "categories": "hep-ph",
    "abstract": "  A fully differential\ncalculation.\n",
    "versions": [
        {"version": "v1", "created": "Mon, 2 Apr 2007 19:18:42 GMT"},
        {"version": "v2", "created": "Tue, 24 Jul 2007 20:10:27 GMT"},
    ],
    "update_date": "2008-11-26",
    "authors_parsed": [["Balázs", "C.", ""], ["Berger", "E. L.", "Jr"]],
}


def read(path: Path) -> tuple[list[Paper], Problems]:
    problems = Problems()
    return list(PaperReader(path, problems)), problems


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.mark.parametrize("suffix", PACK)
def test_packed_json_lines_give_their_papers(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"papers{suffix}"
    path.write_bytes(PACK[suffix](lines(*({"title": f"Paper {'x' * i}"} for i in range(2000)))))
    papers, problems = read(path)
    assert [paper.title for paper in papers] == [f"Paper {'x' * i}".strip() for i in range(2000)]
    assert problems == Problems()


@pytest.mark.parametrize("suffix", [suffix for suffix in PACK if suffix != ".jsonl"])
def test_a_file_cut_off_gives_what_came_before_and_is_reported(tmp_path: Path, suffix: str) -> None:
    dice = random.Random(5)
    rows = [{"title": f"Paper {'xy'[i % 2] * (i % 50)}", "abstract": dice.randbytes(20).hex()} for i in range(20_000)]
    packed = PACK[suffix](lines(*rows))
    (path := tmp_path / f"papers{suffix}").write_bytes(packed[: len(packed) * 2 // 3])
    papers, problems = read(path)
    assert 0 < len(papers) < len(rows)
    assert list(problems.damaged) == [path.name]


def test_zstd_frames_behind_one_another_are_one_file(tmp_path: Path) -> None:
    pack = PACK[".ndjson.zst"]
    (path := tmp_path / "papers.jsonl.zst").write_bytes(pack(lines({"title": "A"})) + pack(lines({"title": "B"})))
    assert [paper.title for paper in read(path)[0]] == ["A", "B"]


@pytest.mark.parametrize("suffix", [*PACK, ".zip"])
def test_garbage_is_reported_not_raised(tmp_path: Path, suffix: str) -> None:
    (path := tmp_path / f"papers{suffix}").write_bytes(b"\x00\xffnot what it says\n" * 50)
    papers, problems = read(path)
    assert papers == []
    assert problems.damaged or problems.skipped["not JSON"].times == 50


def test_malformed_rows_are_counted_by_reason_with_their_first_line(tmp_path: Path) -> None:
    good = {"title": "Good"}
    bad = [
        b"{cut",
        b'"text"',
        b"[]",
        b'{"title": null}',
        b'{"title": 5}',
        b'{"title": "  "}',
        b'{"title": "12"}',
        b"\xff",
    ]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(good) + b"\n" + b"\n".join(bad) + b"\n" + lines(good) + b'{"title": "Last')
    papers, problems = read(path)
    assert [paper.title for paper in papers] == ["Good", "Good"]
    assert {reason: (count.times, count.first) for reason, count in problems.skipped.items()} == {
        "not JSON": (3, "rows.jsonl:3"),
        "not a JSON object": (2, "rows.jsonl:4"),
        "no title": (2, "rows.jsonl:6"),
        "title is not text": (1, "rows.jsonl:7"),
        "neither an arXiv id nor a letter in the title": (1, "rows.jsonl:9"),
    }


def test_a_field_that_cannot_be_used_is_left_out_and_counted(tmp_path: Path) -> None:
    row = {
        "title": "T",
        "abstract": 7,
        "arxiv_id": "doi:10.1/2",
        "date": "Spring",
        "authors": "A. Body",
        "sections": ["Intro"],
    }
    (path := tmp_path / "rows.jsonl").write_bytes(lines(row, {"title": "U", "sections": {"Intro": ["Cited", 7]}}))
    papers, problems = read(path)
    assert papers[0] == Paper("T")
    assert sections_to_titles(papers[1].sections) == {"Intro": ["Cited"]}
    assert len(problems.repaired) == 6
    assert {count.times for count in problems.repaired.values()} == {1}


@pytest.mark.parametrize(
    ("date", "kept"),
    [
        ("2021", "2021"),
        (2021, "2021"),
        ("2021-05", "2021-05"),
        ("20210506", "2021-05-06"),
        ("2021-05-06T10:00:00Z", "2021-05-06"),
        ("2021-13", None),
        ("2021-02-30", None),
        ("", None),
        (None, None),
        (True, None),
        ([2021], None),
    ],
)
def test_dates_are_kept_as_precise_as_they_are(date: object, kept: str | None) -> None:
    assert paper_from_row({"title": "T", "date": date}, lambda _: None).date == kept


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1903.0153899999998", "1903.01539"),
        ("1404.552", "1404.5520"),
        ("1904.13", "1904.13000"),
        ("704.0001", "0704.0001"),
        (1706.03762, "1706.03762"),
        ("1906.0066800000002", "1906.00668"),
        ("1706.03762v5", "1706.03762"),
        ("1404.5520", "1404.5520"),
        ("math/0309136", "math/0309136"),
    ],
)
def test_an_arxiv_id_taken_for_a_number_is_restored(written: object, meant: str) -> None:
    assert paper_from_row({"title": "T", "arxiv_id": written}, lambda _: None).arxiv_id == meant


@given(st.integers(7, 26), st.integers(1, 12), st.integers(1, 99999))
def test_a_true_arxiv_id_survives_being_a_number(year: int, month: int, number: int) -> None:
    digits = 5 if year >= 15 else 4
    arxiv_id = f"{year:02d}{month:02d}.{number % 10**digits:0{digits}d}"
    for written in (arxiv_id, str(float(arxiv_id)), float(arxiv_id)):
        assert paper_from_row({"title": "T", "arxiv_id": written}, lambda _: None).arxiv_id == arxiv_id


def test_arxiv_snapshot_rows_are_dated_by_their_first_version(tmp_path: Path) -> None:
    undated = {**SNAPSHOT_ROW, "id": "hep-th/9901001", "versions": []}
    (path := tmp_path / "arxiv-metadata-oai-snapshot.json").write_bytes(lines(SNAPSHOT_ROW, undated))
    papers, problems = read(path)
    assert problems == Problems()
    assert papers[0] == Paper(
        title="Calculation of prompt diphoton production",
        abstract="A fully differential calculation.",
        arxiv_id="0704.0001",
        date="2007-04-02",
        authors=("C. Balázs", "E. L. Berger Jr"),
    )
    assert papers[1].date is None  # the id's month says more than the day of the last change
    assert papers[1].last_possible_day().isoformat() == "1999-01-31"


def test_a_snapshot_packed_as_zip_is_read_as_lines(tmp_path: Path) -> None:
    with zipfile.ZipFile(path := tmp_path / "arxiv.zip", "w") as archive:
        archive.writestr("arxiv-metadata-oai-snapshot.json", lines(SNAPSHOT_ROW, {**SNAPSHOT_ROW, "id": "0704.0002"}))
    assert [paper.arxiv_id for paper in read(path)[0]] == ["0704.0001", "0704.0002"]


def upstream_zip(path: Path, members: dict[str, object]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content if isinstance(content, bytes) else json.dumps(content))
    return path


def test_upstream_zip_members_are_papers_and_damaged_ones_are_counted(tmp_path: Path) -> None:
    paper = {"title": "Deep Sets", "abstract": "About sets.", "sections": {"Intro": ["Another Paper"]}}
    path = upstream_zip(tmp_path / "db.zip", {"deepsets": paper, "bad": b"{", "nosections": {**paper, "sections": ""}})
    data = bytearray(path.read_bytes())
    papers, problems = read(path)
    assert [sections_to_titles(paper.sections) for paper in papers] == [{"Intro": ["Another Paper"]}, {}]
    assert problems.skipped["not JSON"].first == "db.zip:bad"
    data[60] ^= 0xFF  # inside the first member
    path.write_bytes(data)
    papers, problems = read(path)
    assert len(papers) == 1
    assert problems.skipped["damaged member"].first == "db.zip:deepsets"


def test_a_zip_cut_off_is_reported(tmp_path: Path) -> None:
    path = upstream_zip(tmp_path / "db.zip", {"a": {"title": "A"}})
    path.write_bytes(path.read_bytes()[:-30])
    assert read(path)[0] == []
    assert list(read(path)[1].damaged) == ["db.zip"]


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.from_regex(r"[0-2][0-9](0[1-9]|1[0-2])\.[0-9]{5}", fullmatch=True), st.text(), max_size=30))
def test_id2paper_streams_the_pairs_that_json_holds(tmp_path_factory, pairs: dict[str, str]) -> None:
    path = tmp_path_factory.mktemp("ids") / "id2paper.json"
    for text in (json.dumps(pairs), json.dumps(pairs, indent=1, ensure_ascii=False)):
        path.write_text(text, encoding="utf-8")
        assert dict(read_id2paper(path, Problems())) == pairs


def test_id2paper_longer_than_a_read_loses_no_pair(tmp_path: Path) -> None:
    pairs = {f"2101.{i:05d}": f'Title "{i}" \\ ' + "é" * 40 for i in range(12_000)}
    (path := tmp_path / "id2paper.json").write_text(json.dumps(pairs), encoding="utf-8")
    assert path.stat().st_size > 3_000_000
    assert dict(read_id2paper(path, Problems())) == pairs


def test_id2paper_of_another_shape_is_one_line(tmp_path: Path) -> None:
    (path := tmp_path / "id2paper.json").write_text('["a"]')
    with pytest.raises(LibraryError, match="must be one JSON object"):
        list(read_id2paper(path, Problems()))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = ["title", "abstract", "arxiv_id", "date", "authors", "sections", "id", "versions", "authors_parsed"]


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(_FIELDS), _JSON), st.text(min_size=1) | _JSON)
def test_no_row_does_more_than_be_malformed(row: dict, title: object) -> None:
    try:
        paper = paper_from_row({**row, "title": title}, lambda _: None)
    except MalformedRow:
        return
    assert paper.title == paper.title.strip() != ""
    assert paper.arxiv_id is None or parse_arxiv_id(paper.arxiv_id) == paper.arxiv_id
    assert paper.date is None or paper.last_possible_day()
    assert isinstance(paper.abstract, str)

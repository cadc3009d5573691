"""Queries and files of them: pasa/query.py."""

import datetime as dt
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pasa.errors import ConfigError
from pasa.query import Query, make_query, parse_date, read_queries


@pytest.fixture
def write(tmp_path):
    def write_rows(*rows, encoding="utf-8"):
        path = tmp_path / "queries.jsonl"
        path.write_text(
            "\n".join(r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in rows), encoding
        )
        return path

    return write_rows


def test_a_users_words_lose_their_needless_blanks():
    assert make_query("  which\n papers? ").text == "which papers?"
    with pytest.raises(ConfigError, match="empty"):
        make_query(" \n")


@settings(max_examples=40, deadline=None)
@given(st.dates(min_value=dt.date(1000, 1, 1)))
def test_both_forms_of_a_date_are_read(day):
    assert parse_date(f"{day:%Y-%m-%d}") == parse_date(f" {day:%Y%m%d} ") == day


@pytest.mark.parametrize(
    "text", ["", "soon", "2024", "202411", "2024111", "2024-1-1", "20241301", "2024-02-30", "１２"]
)
def test_what_is_not_a_full_date_is_refused_with_its_name(text):
    with pytest.raises(ConfigError, match=r"--end_date .*YYYY-MM-DD"):
        parse_date(text, "--end_date")


def test_a_row_of_upstreams_file_is_read(write):
    path = write(
        {
            "question": "which papers?",
            "answer": ["A", "B"],
            "answer_arxiv_id": ["2501.10120"],
            "source_meta": {"published_time": "20240513"},
            "qid": "Q_1",
        },
        "",
        {"question": "  kept as written ", "source_meta": {"published_time": 20240513}},
    )
    first, second = read_queries(path)
    assert first == Query("which papers?", dt.date(2024, 5, 6), ("A", "B"), "Q_1")
    assert second == Query("  kept as written ", dt.date(2024, 5, 6))


def test_a_given_end_date_replaces_the_rows(write):
    day = dt.date(2020, 1, 1)
    path = write({"question": "q", "source_meta": {"published_time": "20240513"}}, {"question": "r"})
    assert [q.end_date for q in read_queries(path, day)] == [day, day]


def test_line_breaks_that_json_allows_in_texts_do_not_cut_rows(write):
    questions = ["a\u2028b", "a\u2029b", "a\x85b", "a\x0bb".replace("\x0b", "\u2028")]
    assert [q.text for q in read_queries(write(*({"question": q} for q in questions)))] == questions


def test_a_byte_order_mark_and_windows_line_ends_are_passed_over(write):
    path = write('{"question": "a"}\r', '{"question": "b"}\r', encoding="utf-8-sig")
    assert [q.text for q in read_queries(path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{broken", "queries.jsonl:2 is not JSON"),
        ("[" * 100_000, "queries.jsonl:2 is not JSON"),
        ("[1]", "queries.jsonl:2: `question`"),
        ({"question": " "}, "queries.jsonl:2: `question`"),
        ({"question": 7}, "queries.jsonl:2: `question`"),
        ({"question": "q", "answer": "A"}, "queries.jsonl:2: `answer`"),
        ({"question": "q", "source_meta": {"published_time": "May"}}, "queries.jsonl:2: source_meta.published_time"),
        (
            {"question": "q", "source_meta": {"published_time": "00010101"}},
            "queries.jsonl:2: source_meta.published_time",
        ),
    ],
)
def test_a_bad_row_is_one_line_with_file_line_and_field(write, row, message):
    with pytest.raises(ConfigError) as caught:
        read_queries(write({"question": "fine"}, row))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_used_is_named(tmp_path, write):
    empty = write("", "  ")
    with pytest.raises(ConfigError, match="holds no query"):
        read_queries(empty)
    with pytest.raises(ConfigError, match="cannot read the input file"):
        read_queries(tmp_path / "absent.jsonl")
    empty.write_bytes(b'{"question": "\xff"}')
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_queries(empty)

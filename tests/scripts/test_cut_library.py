import json

from pasa.library import Library, build_library
from scripts.cut_library import main


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_full_texts_and_what_they_cite_stay_with_their_sections(tmp_path, capfd):
    rows = [
        {"title": "On Agents", "abstract": "a", "sections": {"Intro": ["On Search", "A Book"], "End": ["On Maps"]}},
        {"title": "On Search", "abstract": "b", "arxiv_id": "2001.00001", "date": "2020-01-02"},
        {"title": "On Maps", "abstract": "c", "sections": {"Intro": ["On Agents"]}},
        {"title": "On Nothing", "abstract": "d"},
        {"title": "On Silence", "abstract": "e", "sections": {"Intro": []}},
    ]
    build_library([write(tmp_path / "papers.jsonl", rows)], tmp_path / "library")
    assert main([str(tmp_path / "library"), "--out", str(tmp_path / "cut")]) == 0
    assert "3 papers, 2 of them with full text, of 5" in capfd.readouterr().err
    with Library.open(tmp_path / "cut") as library:
        assert {paper.title for paper in library} == {"On Agents", "On Search", "On Maps"}
        assert [s.name for s in library.paper_by_title("On Agents").sections] == ["Intro", "End"]
        assert library.paper("2001.00001").date == "2020-01-02"


def test_a_missing_library_is_told_in_a_line(tmp_path, capfd):
    assert main([str(tmp_path / "none"), "--out", str(tmp_path / "cut")]) == 2
    assert capfd.readouterr().err.startswith("error: ")

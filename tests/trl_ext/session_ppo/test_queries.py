import json

import pytest

from pasa.errors import ConfigError
from pasa.library import Library, build_library
from pasa.paper import Paper
from pasa.tools.base import SearchHit
from trl_ext.session_ppo.queries import QuerySampler, read_training_queries, training_query

SOURCE = Paper("A Survey of Ice on Northern Lakes in Spring", arxiv_id="2401.00001")


def row(number, **others):
    meta = {"published_time": "20240110", "title": f"Source {number}", "arxiv_id": None}
    return {"question": f"Which {number}?", "answer": ["A B", "C"], "source_meta": meta, "qid": f"q{number}"} | others


def write(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_a_row_tells_golds_and_what_to_hide(tmp_path):
    [query] = read_training_queries(write(tmp_path / "q.jsonl", [row(1)]))
    assert query.golds == {"ab", "c"}
    assert query.hidden.hides(Paper("SOURCE-1"))
    assert not query.hidden.hides(Paper("A B"))


@pytest.mark.parametrize("named", [{"title": SOURCE.title}, {"arxiv_id": SOURCE.arxiv_id}])
def test_what_a_row_leaves_out_of_its_source_the_library_tells(tmp_path, named):
    """So that near duplicates of its title are hidden, and what an engine knows by its id alone."""
    rows = tmp_path / "papers.jsonl"
    rows.write_text(json.dumps({"title": SOURCE.title, "arxiv_id": SOURCE.arxiv_id, "abstract": "About lakes."}) + "\n")
    build_library([rows], tmp_path / "L")
    with Library.open(tmp_path / "L") as library:
        query = training_query(row(1, source_meta=named), "here", library)
    assert query.hidden.hides(Paper(f"{SOURCE.title} Revisited"))
    assert query.hidden.hides_hit(SearchHit(arxiv_id=SOURCE.arxiv_id, title="A Title Cut ..."))


def test_the_date_holds_only_where_the_environment_cuts_off():
    query = training_query(row(1), "here")
    assert str(query.dated(True).end_date) == "2024-01-03"
    assert query.dated(False).end_date is None


def test_rows_that_teach_nothing_are_refused(tmp_path):
    for rows, said in (
        ([row(1, answer=[])], "q.jsonl:1: `answer` holds no title"),
        ([row(1), row(1)], "q.jsonl:2: the qid 'q1' comes twice"),
        ([], "holds no query"),
    ):
        with pytest.raises(ConfigError, match=said):
            read_training_queries(write(tmp_path / "q.jsonl", rows))


QUERIES = [training_query(row(n), f"{n}") for n in range(10)]


def test_an_epoch_takes_each_query_once_and_processes_never_the_same():
    sampler, other = QuerySampler(QUERIES, 3), QuerySampler(QUERIES, 3)
    seen = []
    for _ in range(2):
        mine, theirs = sampler.take(2, 0, 2), other.take(2, 1, 2)
        seen += [q.id for q in (*mine, *theirs)]
    assert len(seen) == len(set(seen)) == 8
    assert sampler.taken == other.taken == 8


def test_a_sampler_goes_on_from_where_it_was():
    whole = QuerySampler(QUERIES, 3)
    steps = [[q.id for q in whole.take(4)] for _ in range(6)]
    later = QuerySampler(QUERIES, 3, taken=12)
    assert [[q.id for q in later.take(4)] for _ in range(3)] == steps[3:]


def test_no_query_comes_twice_in_a_step():
    sampler = QuerySampler(QUERIES[:3], 0)
    for _ in range(5):
        taken = [q.id for q in sampler.take(4)]
        assert len(taken) == len(set(taken)) <= 3

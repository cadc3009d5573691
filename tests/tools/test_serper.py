"""Google through Serper, over real HTTP."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pasa.errors import RefusedError, ResponseError, ServiceError
from pasa.paper import Paper
from pasa.tools.http import Response
from pasa.tools.serper import SerperSearch, _hit, _read_results, clean_title, query_text
from tests.services import CUT, RESET, FakeServices, Fault

RECORDED = Path(__file__).parents[3] / "shared/data/fixtures/serper/scholarquest_Q04_q00_page1.json"
KEY = "test-key"


def many(count: int) -> list[Paper]:
    return [Paper(f"Language agents, part {n}", arxiv_id=f"2301.{n:05d}", date="2023-01-01") for n in range(count)]


def test_a_search_sends_googles_query_and_keeps_googles_order(services, client_for):
    engine = SerperSearch(client_for(services), KEY, services.urls.serper)
    hits = engine.search("language models  that use\ntools", 3, dt.date(2024, 6, 30))
    sent = services.requests_to("serper")[0]
    assert sent.json == {
        "q": "language models that use tools before:2024-06-30 site:arxiv.org",
        "num": 10,
        "page": 1,
    }
    assert sent.headers["x-api-key"] == KEY
    assert [h.arxiv_id for h in hits] == ["2302.04761", "2210.03629", "1810.04805"]  # most shared words first
    assert hits[0].title == "Toolformer: Language Models Can Teach Themselves to Use Tools"
    assert hits[0].paper is None


def test_pages_are_asked_for_until_there_are_enough(client_for):
    with FakeServices(many(35)) as services:
        engine = SerperSearch(client_for(services), KEY, services.urls.serper)
        assert len(engine.search("language agents", 25)) == 25
        assert [r.json["page"] for r in services.requests_to("serper")] == [1, 2, 3]
        assert len(engine.search("language agents", 100)) == 35
        assert services.requests_to("serper")[-1].json["page"] == 5  # the first page without `organic`


def test_a_paper_that_google_shows_twice_counts_once_at_its_first_place(services, client_for):
    links = ["abs/2301.00002", "abs/2301.00001v1", "pdf/2301.00002v3", "html/2301.00003"]
    organic = [{"title": link, "link": f"https://arxiv.org/{link}"} for link in links]
    services.script("serper", Fault.garbage(json.dumps({"organic": organic}).encode()), Fault.garbage(b"{}"))
    hits = SerperSearch(client_for(services), KEY, services.urls.serper).search("agents", 10)
    assert [h.arxiv_id for h in hits] == ["2301.00002", "2301.00001", "2301.00003"]
    assert hits[0].title == "abs/2301.00002"


def test_no_hit_is_an_empty_list_after_one_request(services, client_for):
    assert SerperSearch(client_for(services), KEY, services.urls.serper).search("zzzz", 10) == []
    assert len(services.requests_to("serper")) == 1


def test_public_codes_order_is_a_sorted_set(client_for):
    with FakeServices([*many(3), Paper("Language agents exactly agents part", arxiv_id="1001.00001")]) as services:
        client = client_for(services)
        kept = SerperSearch(client, KEY, services.urls.serper).search("language agents exactly", 10)
        sorted_ = SerperSearch(client, KEY, services.urls.serper, keep_order=False).search("language part", 10)
    assert kept[0].arxiv_id == "1001.00001"
    assert [h.arxiv_id for h in sorted_] == ["1001.00001", "2301.00000", "2301.00001", "2301.00002"]


@pytest.mark.parametrize("key", ["", "  ", "schlüssel", "a\nb"])
def test_a_missing_or_impossible_key_is_refused_before_any_request(services, client_for, key):
    with pytest.raises(RefusedError, match="SERPER_API_KEY"):
        SerperSearch(client_for(services), key, services.urls.serper)


def test_a_wrong_key_says_what_to_do_without_showing_it(services, client_for):
    engine = SerperSearch(client_for(services), "wrong-secret", services.urls.serper)
    with pytest.raises(RefusedError, match="check SERPER_API_KEY") as caught:
        engine.search("agents", 5)
    assert "wrong-secret" not in str(caught.value)
    assert caught.value.status == 403


def test_no_credits_says_so(services, client_for):
    services.always("serper", Fault.status(400, body=b'{"message":"Not enough credits","statusCode":400}'))
    with pytest.raises(RefusedError, match="credits"):
        SerperSearch(client_for(services), KEY, services.urls.serper).search("agents", 5)


@pytest.mark.parametrize(
    "fault", [Fault.status(500), Fault.status(429, {"Retry-After": "0"}), CUT, RESET, Fault.garbage()]
)
def test_passing_faults_do_not_show(services, client_for, fault):
    services.script("serper", fault)
    assert SerperSearch(client_for(services), KEY, services.urls.serper).search("language models", 2)


@pytest.mark.parametrize("body", [b"<html>sorry</html>", b"[]", b'{"organic": 7}', b"", b"[" * 100_000])
def test_lasting_garbage_is_a_response_error(services, client_for, body):
    services.always("serper", Fault.garbage(body))
    with pytest.raises(ResponseError):
        SerperSearch(client_for(services), KEY, services.urls.serper).search("agents", 5)


def test_a_lasting_500_is_a_service_error(services, client_for):
    services.always("serper", Fault.status(500))
    with pytest.raises(ServiceError):
        SerperSearch(client_for(services), KEY, services.urls.serper).search("agents", 5)


@pytest.mark.parametrize(
    ("link", "arxiv_id"),
    [
        ("https://arxiv.org/abs/2211.05483", "2211.05483"),
        ("https://arxiv.org/html/2206.02909v3", "2206.02909"),
        ("http://arxiv.org/pdf/2405.00712.pdf", "2405.00712"),
        ("https://arxiv.org/pdf/cs/0112017v1", "cs/0112017"),
        ("https://arxiv.org/list/cs.CL/recent", None),
        ("https://example.org/2211.05483", None),
        (None, None),
    ],
)
def test_links_of_every_kind_give_the_id(link, arxiv_id):
    hit = _hit({"title": "T", "link": link})
    assert (hit.arxiv_id if hit else None) == arxiv_id


@pytest.mark.parametrize(
    ("shown", "title"),
    [
        ("[2307.11796] Unsupervised Embedding Learning ...", "Unsupervised Embedding Learning ..."),
        ("[PDF] Behind the Accuracy", "Behind the Accuracy"),
        ("[cs/0112017v2] Using Metadata", "Using Metadata"),
        ("A Survey - arXiv", "A Survey"),
        ("A Survey | arXiv.org", "A Survey"),
        ("Search-and-Learn: arXiv as a corpus", "Search-and-Learn: arXiv as a corpus"),
    ],
)
def test_titles_lose_what_google_adds(shown, title):
    assert clean_title(shown) == title


def test_without_an_end_date_no_limit_is_sent():
    assert query_text("agents", None) == "agents site:arxiv.org"


KEYS = st.sampled_from(["organic", "link", "title"])
ANY_JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)
)


@given(ANY_JSON)
def test_any_json_is_read_or_refused(answer):
    try:
        results = _read_results(Response("", json.dumps(answer).encode()))
    except ResponseError:
        return
    assert all(hit is None or hit.arxiv_id for hit in map(_hit, results))


@pytest.mark.skipif(not RECORDED.exists(), reason="needs ../shared/data/fixtures/serper")
def test_a_recorded_answer_gives_its_ten_papers_in_order():
    hits = [_hit(r) for r in _read_results(Response("", RECORDED.read_bytes()))]
    assert [h.arxiv_id for h in hits][:5] == ["2211.05483", "2307.11796", "2206.02909", "2501.08471", "2405.00712"]
    assert len({h.arxiv_id for h in hits}) == 10
    assert hits[1].title == "Unsupervised Embedding Learning for Human Activity ..."
    assert hits[7].title == "Deep Learning for Sensor-based Activity Recognition: A Survey"

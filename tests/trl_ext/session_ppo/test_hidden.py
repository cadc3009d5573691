from pasa.paper import Paper
from pasa.tools.base import SearchHit
from trl_ext.session_ppo.hidden import hidden_papers

ABSTRACT = (
    "we study how agents that search for papers learn from what they find and when they had better stop searching"
)
HIDDEN = hidden_papers("Agents That Search: Learning from Papers", "2501.00001", ABSTRACT)


def test_the_source_is_hidden_by_letters_of_its_title_by_id_and_by_its_abstract():
    assert HIDDEN.hides(Paper("Agents that search - learning from papers"))
    assert HIDDEN.hides(Paper("Another title", arxiv_id="2501.00001"))
    assert HIDDEN.hides(Paper("Renamed at the conference", ABSTRACT.replace("papers", "articles")))


def test_a_title_that_differs_by_a_word_of_many_is_hidden():
    hidden = hidden_papers("Agents that search and learn from papers with rewards")
    assert hidden.hides(Paper("Agents that search and learn from papers with reward"))
    assert not hidden.hides(Paper("Agents that read and write papers with rewards"))


def test_other_papers_are_seen():
    assert not HIDDEN.hides(Paper("Agents That Read", "we study how agents read", "2501.00002"))
    assert not HIDDEN.hides(Paper("", ""))
    assert not hidden_papers("").hides(Paper(""))
    assert not hidden_papers("").hides(Paper("1984"))


def test_a_search_result_without_a_paper_is_known_by_title_or_id():
    assert HIDDEN.hides_hit(SearchHit("2501.00001", ""))
    assert HIDDEN.hides_hit(SearchHit(None, "Agents That Search: Learning From Papers"))
    assert not HIDDEN.hides_hit(SearchHit("2501.00002", "Agents That Read"))


def test_short_abstracts_are_no_reason_to_hide():
    hidden = hidden_papers("One Title", abstract="We study agents.")
    assert not hidden.hides(Paper("Quite Another", "We study agents."))

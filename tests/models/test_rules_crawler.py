"""RulesGenerator: the actions it writes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pasa.actions import StopReason, read_reply
from pasa.models.base import Generator, Sampling
from pasa.models.rules import RulesGenerator
from pasa.models.rules_crawler import MAX_QUERIES, MAX_QUERY_WORDS, chosen_sections
from pasa.models.text import tokens
from pasa.prompts import expand_request, search_request

QUESTION = "Could you list some works that apply slot attention to the domain of novel view synthesis?"


def queries(question: str, generator: RulesGenerator | None = None) -> list[str]:
    [reply] = (generator or RulesGenerator()).generate([search_request(question)], Sampling())
    parsed = read_reply(reply.text, "search")
    assert parsed.stop is StopReason.STOPPED
    return [move.argument for move in parsed.moves]


def sections(question: str, names: tuple[str, ...]) -> list[str]:
    [reply] = RulesGenerator().generate([expand_request(question, "A paper", "", names)], Sampling())
    return [move.argument for move in read_reply(reply.text, "expand", section_names=names, exact_sections=True).moves]


class Counts:
    """Statistics of a library in which only the words given are common."""

    num_papers = 1000

    def __init__(self, *common: str) -> None:
        self.common = common

    def document_frequency(self, term: str) -> int:
        return 900 if term in self.common else 1


def test_the_first_query_is_the_whole_subject() -> None:
    assert queries(QUESTION)[0] == "slot attention domain novel view synthesis"


def test_further_queries_are_phrases_and_differ() -> None:
    found = queries(QUESTION)
    assert {"slot attention", "novel view synthesis"} < set(found)
    assert len(set(found)) == len(found) > 3


def test_the_library_s_common_words_are_dropped_first() -> None:
    assert queries(QUESTION, RulesGenerator(Counts("novel", "domain", "attention")))[1] == "slot view synthesis"
    assert queries(QUESTION, RulesGenerator(Counts("slot", "view", "synthesis")))[1] == "attention domain novel"


def test_an_empty_question_stops_at_once() -> None:
    assert queries("") == queries(" ?! ") == []


def test_a_question_of_ten_thousand_characters_gives_queries_an_engine_reads() -> None:
    found = queries(" ".join(f"word{n}" for n in range(1200)))
    assert len(tokens(found[0])) == MAX_QUERY_WORDS


def test_sampling_changes_nothing() -> None:
    request = search_request(QUESTION)
    generator = RulesGenerator()
    assert isinstance(generator, Generator)
    hot = Sampling(temperature=2.0, top_p=0.8, seed=1)
    assert generator.generate([request], hot) == generator.generate([request], Sampling())


def test_replies_are_in_the_requests_order() -> None:
    requests = [search_request("graph kernels"), expand_request("q", "t", "", ["Method"]), search_request("diffusion")]
    texts = [reply.text for reply in RulesGenerator().generate(requests, Sampling())]
    assert [text.split("\n")[0] for text in texts] == [
        "[Search] graph kernels",
        "[Expand] Method",
        "[Search] diffusion",
    ]


def test_sections_that_look_at_others_work_come_first_and_results_do_not_come() -> None:
    names = ("Experiments Baselines", "2 Related Work", "Introduction", "Conclusion", "Slot attention for views")
    assert sections(QUESTION, names) == ["Introduction", "2 Related Work", "Slot attention for views"]


def test_of_two_alike_the_section_that_shares_words_with_the_question_comes_first() -> None:
    names = ("Related Work Graph Neural Networks", "Related Work View Synthesis")
    assert sections(QUESTION, names) == list(reversed(names))


def test_where_no_section_stands_out_all_are_expanded() -> None:
    assert sections(QUESTION, ("Proof of Theorem 1", "Appendix")) == ["Proof of Theorem 1", "Appendix"]
    assert sections(QUESTION, ()) == []


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_any_question_gives_queries_with_words_at_most_the_limit(question: str) -> None:
    found = queries(question)
    assert len(found) <= MAX_QUERIES
    assert all(tokens(query) for query in found)
    assert bool(found) == bool(tokens(question))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.lists(st.text(max_size=40), max_size=12))
def test_chosen_sections_are_the_paper_s_own_each_once(question: str, names: list[str]) -> None:
    chosen = chosen_sections(question, names)
    assert set(chosen) <= set(names)
    assert len(set(chosen)) == len(chosen)
    assert bool(chosen) == any(name.strip() for name in names)

"""What is asked, and for which papers, without a language model."""

import random

import pytest

from pasa.models.text import tokens
from pasa.paper import Paper
from pasa.training_data.own_words import own_words
from pasa.training_data.phrases import shared_phrases
from pasa.training_data.query_writer import abbreviated, natural_case, write_queries
from pasa.training_data.question_forms import DETAIL_VERBS, detail_question, gist_question, topic_question
from pasa.training_data.sections import ReviewedSection, is_review, topic_of_heading
from tests.training_data.small_library import ABSTRACTS

PAPERS = tuple(Paper(title, abstract) for title, abstract in ABSTRACTS.items())


def section(name, papers=PAPERS):
    return ReviewedSection(Paper("The Source"), name, topic_of_heading(name), tuple(papers))


@pytest.mark.parametrize(
    ("heading", "topic"),
    [
        ("Related Work Video AutoRegressive Models", "Video AutoRegressive Models"),
        ("2.1 Related Works: Slot Attention", "Slot Attention"),
        ("Background &amp; Related Work Data Restrictions", "Data Restrictions"),
        ("Related Work", None),
        ("Introduction Related work", None),
        ("Related Work Training methods", None),  # names no topic
        ("Background Novel View Synthesis.", "Novel View Synthesis"),
        ("Related Work OODDetection with Vision- Language Models", "OOD Detection with Vision-Language Models"),
        ("Related Work MLLMwith RL", "MLLM with RL"),
        ("Related Work: Which Quokkas Jump?", None),
    ],
)
def test_a_heading_says_the_topic_or_nothing(heading, topic):
    assert topic_of_heading(heading) == topic


@pytest.mark.parametrize(
    ("name", "review"),
    [("Related Words", False), ("Results", False), ("Prior work", True), ("Literature Review", True)],
)
def test_reviews_are_told_by_their_names(name, review):
    assert is_review(name) is review


def test_a_topic_is_answered_by_the_papers_that_share_its_words():
    queries = write_queries(section("Related Work Slot Attention"), random.Random(0))
    (heading,) = [query for query in queries if query.writer == "heading"]
    assert {paper.title for paper in heading.answers} == {title for title in ABSTRACTS if "Slot" in title}
    assert "slot attention" in heading.question.lower()


def test_a_phrase_is_asked_for_the_papers_that_hold_it_and_no_other():
    found = dict(shared_phrases(PAPERS))
    assert {paper.title for paper in found["slot attention"]} == {title for title in ABSTRACTS if "Slot" in title}
    for words, papers in found.items():
        held = [p for p in PAPERS if set(tokens(words)) <= set(tokens(f"{p.title} {p.abstract}".replace("s ", " ")))]
        assert len(papers) >= 2
        assert set(papers) <= set(held) or words.endswith("s")


def test_part_of_a_hyphenated_word_is_no_phrase():
    papers = [Paper("Few-Shot Quokka Detection", "Shot quokka."), Paper("One-Shot Quokka Detection", "Shot quokka.")]
    assert all(not words.lower().startswith("shot") for words, _ in shared_phrases(papers))


def test_a_detail_tells_what_a_paper_does_without_its_name():
    assert own_words(PAPERS[2]) == (
        "introduce",
        "a gossip protocol that lets aircraft agree on headings despite broken neighbours",
    )


def test_a_decimal_does_not_end_a_sentence():
    paper = Paper(
        "T", "We present a weather forecasting model that runs at 0.25 degrees for quokka habitats. It is new."
    )
    assert own_words(paper) == ("present", "a weather forecasting model that runs at 0.25 degrees for quokka habitats")


@pytest.mark.parametrize(
    "abstract",
    [
        "Graphs are everywhere.",  # says nothing of the paper
        "We propose a method.",  # too little
        "We propose a title with five other words about quokkas and marmosets.",  # any search would find it
        "We show that our protocol beats all the gossip protocols of our quadrotor fleets.",  # its own voice
        "We show that although gossip protocols agree, quadrotors crash into walls.",  # cut off in a clause
    ],
)
def test_an_abstract_that_tells_nothing_gives_no_detail(abstract):
    assert own_words(Paper("A Title about Quokkas", abstract)) is None


def test_who_speaks_is_a_word_and_what_stands_in_parentheses_is_not_read():
    clause = "study the habits of quokkas in the wild islands of Australia."
    words = ("study", "the habits of quokkas in the wild islands of Australia")
    assert own_words(Paper("T", f"THE AUTHORS (of old) (and new) {clause}")) == words
    assert own_words(Paper("T", f"Few read\nThis paper (or that)\n{clause}")) == words
    assert own_words(Paper("T", f"We also {clause}")) == words
    assert own_words(Paper("T", f"Owe {clause} Lathe authors {clause}")) is None


def test_what_others_cite_papers_under_is_a_subject():
    others = (("Neuromorphic Retina Chips", (4, 0)), ("Byzantine Gossip Protocols", (0,)))
    bare = ReviewedSection(Paper("Marmosets"), "Related Work", None, PAPERS, 0, others)
    found = [query for query in write_queries(bare, random.Random(0)) if query.writer == "topic"]
    assert [[paper.title for paper in query.answers] for query in found] == [["Spiking Retina Chips"]]


def test_what_thousands_of_papers_are_on_is_no_subject():
    papers = [Paper("Reinforcement Learning of Models", "Models learn by reinforcement.")]

    def kinds(topic):
        bare = ReviewedSection(Paper("Marmosets"), "Related Work", None, tuple(papers), 0, ((topic, (0,)),))
        return [query.writer for query in write_queries(bare, random.Random(0))]

    assert "topic" not in kinds("Reinforcement Learning")
    papers[0] = Paper("Byzantine Reinforcement of Models", "Models learn by gossip.")
    assert "topic" in kinds("Byzantine Reinforcement")


def test_a_gist_is_short_and_says_what_for():
    def gist(clause):
        return gist_question(clause, random.Random(0))

    clause = "a novel gossip framework for byzantine quadrotor formations with lossy radios, which is fast"
    assert "byzantine quadrotor formations" in gist(clause)
    assert "lossy" not in gist(clause.replace("with", "via"))
    assert gist("a novel method for better results") is None
    assert gist("several gossip methods that steer byzantine quadrotor formations") is None  # plural
    assert gist("the speed of byzantine quadrotor formations") is None


def test_no_question_holds_the_title_of_its_answer():
    paper = Paper("Slot Attention", "We propose Slot Attention.")
    queries = write_queries(section("Related Work Slot Attention", [paper]), random.Random(0))
    assert queries == []


def test_the_same_randomness_asks_the_same():
    once, again = (write_queries(section("Related Work Slot Attention"), random.Random(7)) for _ in range(2))
    assert once == again
    assert [query.question for query in once] != [
        query.question for query in write_queries(section("Related Work Slot Attention"), random.Random(8))
    ]


def test_title_case_goes_and_names_stay():
    papers = [Paper("", "the Bayesian view of an MLP and of image synthesis")]
    assert natural_case("Bayesian Image Synthesis with an MLP", papers) == "Bayesian image synthesis with an MLP"


def test_a_long_form_is_at_times_abbreviated_and_nothing_else_changes():
    texts = {abbreviated("offline reinforcement learning for robots", random.Random(n)) for n in range(30)}
    assert texts == {"offline reinforcement learning for robots", "offline RL for robots"}


def test_questions_read_as_sentences():
    for n in range(60):
        rng = random.Random(n)
        for text in (topic_question("slot attention", 1 + n % 3, rng), detail_question("propose", "a net", rng)):
            assert text[0].isupper()
            assert "{" not in text
            assert " a article" not in text
            assert text.endswith("?") or text.split()[0] in ("I", "Give", *NOUNS), text
    assert all(len(forms) == 2 for forms in DETAIL_VERBS.values())


NOUNS = ("Papers", "Works", "Studies", "Research", "Articles")

"""What the rules models take for a question's subject."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pasa.models.rules import CommonWords, common_words
from pasa.models.term_statistics import TermStatistics, inverse_document_frequency
from pasa.models.text import stems, subject_phrases, subject_words, tokens, tokens_and_stops

QUESTION = "Could you list some works that apply slot attention to the domain of novel view synthesis?"


def test_the_words_that_only_ask_are_dropped() -> None:
    assert subject_words(QUESTION) == ["slot", "attention", "domain", "novel", "view", "synthesis"]


def test_words_between_which_something_was_dropped_are_different_phrases() -> None:
    assert subject_phrases(QUESTION) == [["slot", "attention"], ["domain"], ["novel", "view", "synthesis"]]


def test_punctuation_ends_a_phrase_but_a_hyphen_does_not() -> None:
    assert subject_phrases("vision-language models, graphs") == [["vision", "language", "models"], ["graphs"]]


def test_a_question_of_ask_words_alone_keeps_them() -> None:
    assert subject_words("Which papers?") == ["papers"]
    assert subject_words("What about it?") == ["what", "about", "it"]


def test_forms_of_a_word_share_a_stem() -> None:
    assert len({stems(w)[0] for w in ("segment", "segments", "segmenting", "Segmented")}) == 1


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200))
def test_any_text_has_words_where_it_has_letters_or_digits(text: str) -> None:
    assert bool(subject_words(text)) == bool(tokens(text))
    assert len(set(subject_words(text))) == len(subject_words(text))
    assert all(phrase for phrase in subject_phrases(text))
    stems(text)


ASCII = st.text(st.characters(max_codepoint=127), max_size=60)


@settings(max_examples=200, deadline=None)
@given(ASCII)
def test_a_word_is_a_word_whatever_alphabet_the_rest_of_the_text_is_in(text: str) -> None:
    assert tokens(text) == tokens(f"{text} é")[:-1]  # texts of ASCII alone are read in another way
    assert tokens_and_stops(text) == tokens_and_stops(f"{text} é")[:-1]


def test_marks_that_part_phrases_stand_by_themselves() -> None:
    assert " ".join(tokens_and_stops("GPT-4's use_case: A/B, (c)")) == "gpt 4 s use case | a b | | c |"


def test_the_committed_table_knows_common_from_rare() -> None:
    words = common_words()
    assert isinstance(words, CommonWords)
    assert isinstance(words, TermStatistics)
    assert words.num_papers > 100_000
    assert words.document_frequency("models") > words.document_frequency("segmentation") > words.rare_frequency
    assert words.document_frequency("models") == words.document_frequency("model")
    assert words.document_frequency("zyzzyva") == words.rare_frequency
    assert words.document_frequency("...") == 0


@given(st.integers(-5, 2000), st.integers(-5, 2000))
@settings(max_examples=30, deadline=None)
def test_a_rarer_term_never_weighs_less(a: int, b: int) -> None:
    class Counts:
        num_papers = 1000

        def document_frequency(self, term: str) -> int:
            return a if term == "a" else b

    weights = [inverse_document_frequency(Counts(), term) for term in "ab"]
    assert min(weights) > 0
    if a <= b:
        assert weights[0] >= weights[1]

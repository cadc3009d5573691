"""Subjects in other words, and back."""

import random

import pytest

from pasa.training_data.restate import as_activity, in_terms_of_art, restated


@pytest.mark.parametrize(
    ("subject", "other"),
    [
        ("offline reinforcement learning", "learning policies from logged data"),
        ("benchmarks of Uncertainty Quantification in chemistry", "in chemistry"),
        ("anomaly detection models", None),  # qualifies another noun
        ("unsupervised anomaly detection", None),  # is qualified
        ("quokka watching", None),
    ],
)
def test_a_term_that_stands_alone_is_said_in_other_words(subject, other):
    said = {restated(subject, random.Random(n), share=1.0) for n in range(20)}
    if other is None:
        assert said == {subject}
    else:
        assert subject not in said
        assert all(other in text for text in said)


def test_a_share_of_subjects_is_restated():
    said = [restated("speculative decoding", random.Random(n)) for n in range(100)]
    assert 30 < said.count("speculative decoding") < 70


@pytest.mark.parametrize(
    ("subject", "activity"),
    [
        ("point cloud registration", "registering point clouds"),
        ("face forgery detection in the wild", "detecting face forgeries in the wild"),
        ("speech recognition", "recognizing speech"),
        ("hierarchical segmentation", "hierarchical segmentation"),  # no thing that is segmented
        ("object detection models", "object detection models"),
        ("3D reconstruction", "3D reconstruction"),
    ],
)
def test_an_activity_is_told_by_its_verb(subject, activity):
    assert as_activity(subject) == activity


def test_other_words_lead_back_to_their_term():
    question = "Which works deal with Drafting tokens to speed up decoding on phones?"
    assert in_terms_of_art(question) == "which works deal with speculative decoding on phones?"
    assert in_terms_of_art("Which works deal with quokkas?") is None

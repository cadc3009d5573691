import random
from collections import Counter

from trl_ext.session_ppo.choice import Candidate, order_candidates

CANDIDATES = [Candidate(0, place, place / 10, matches=place >= 6) for place in range(8)]


def test_every_candidate_comes_once():
    for order in ("paper", "upstream"):
        ordered = order_candidates(CANDIDATES, order, 3.0, random.Random(1))
        assert sorted(ordered, key=lambda c: c.place) == CANDIDATES


def test_upstream_takes_the_top_ones():
    assert [c.place for c in order_candidates(CANDIDATES, "upstream", 3.0, random.Random(1))] == [*range(8)][::-1]


def test_a_match_is_drawn_as_many_times_as_its_weight_says():
    rng = random.Random(0)
    first = Counter(order_candidates(CANDIDATES, "paper", 3.0, rng)[0].matches for _ in range(4000))
    assert abs(first[True] / 4000 - 2 * 3 / (2 * 3 + 6)) < 0.03  # 2 matches of weight 3, 6 others


def test_the_same_seed_draws_the_same():
    draws = [order_candidates(CANDIDATES, "paper", 3.0, random.Random(7)) for _ in range(2)]
    assert draws[0] == draws[1]
    assert order_candidates(CANDIDATES, "paper", 3.0, random.Random(8)) != draws[0]

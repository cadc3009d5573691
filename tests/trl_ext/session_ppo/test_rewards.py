import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest

from pasa.actions import read_reply
from pasa.crawler import ActionOutcome, Session
from pasa.errors import ModelError
from pasa.models.base import Reply, SelectRequest, SideBySide
from pasa.paper import Paper
from pasa.prompts import search_request
from pasa.query import Query
from trl_ext.session_ppo.queries import TrainingQuery
from trl_ext.session_ppo.rewards import RewardSettings, earned, match_scorer

A, B, C = (Paper(t) for t in "ABC")
QUERY = TrainingQuery(Query("Which?", qid="q"), frozenset({"a"}))


def session(text, *outcomes):
    parsed = read_reply(text, "search")
    done = tuple(ActionOutcome(m, found, new) for m, (found, new) in zip(parsed.moves, outcomes, strict=True))
    return Session("search", 0, 0, search_request("Which?"), Reply(text), parsed, done)


# alpha 1.5, cost 0.1: two new of which one matches; one that was met before; nothing; the stop.
TABLE = session("[Search] x [Search] y [Search] z [StopSearch]", ((A, B), (A, B)), ((A, C), (C,)), ((), ()))
SCORES = {A.key: 1.0, B.key: 0.5, C.key: 0.51}


def test_a_reward_is_alpha_for_each_new_match_less_the_cost():
    rewards = earned(TABLE, SCORES, RewardSettings())
    assert [one.reward for one in rewards] == pytest.approx([1.4, 1.4, -0.1, 0.0])
    assert [one.matched for one in rewards] == [1, 1, 0, 0]
    assert [one.found for one in rewards] == [2, 2, 0, 0]
    assert [one.action.kind for one in rewards] == ["search", "search", "search", "stop"]


def test_what_is_written_and_not_carried_out_costs_and_leads_to_nothing():
    text = "[Search] x [Search] x [Expand] Method [Search] y [Search] z [StopSearch]"
    parsed = read_reply(text, "search", max_actions=2)
    done = tuple(ActionOutcome(move, (A,), (A,)) for move in parsed.moves)
    rewards = earned(
        Session("search", 0, 0, search_request("Which?"), Reply(text), parsed, done), SCORES, RewardSettings()
    )
    assert [one.action.start for one in rewards] == [at for at in range(len(text)) if text[at] == "["]
    assert [one.is_carried_out for one in rewards] == [True, False, False, True, False, True]
    assert [one.reward for one in rewards] == pytest.approx([1.4, -0.1, -0.1, 1.4, -0.1, 0.0])
    assert [one.found for one in rewards] == [1, 0, 0, 1, 0, 0]


def test_settings_move_every_part():
    settings = RewardSettings(alpha=2.0, search_cost=0.5, stop_cost=-0.1)
    assert [one.reward for one in earned(TABLE, SCORES, settings)] == pytest.approx([1.5, 1.5, -0.5, 0.1])


class Selector:
    name = "selector"

    def __init__(self):
        self.asked = []
        self.fails = False

    def score(self, requests):
        if self.fails:
            raise ModelError("down")
        self.asked += [r.title for r in requests]
        return [0.7 if r.title == "B" else 0.2 for r in requests]


def ask(scorer, *titles, query="Which?"):
    return scorer.score([SelectRequest(query, title, "", "") for title in titles])


def test_answers_match_without_being_asked_for_and_others_are_asked_for_once():
    selector = Selector()
    scorer = match_scorer(selector, [QUERY])
    assert ask(scorer, "A", "B", "C", "B") == [1.0, 0.7, 0.2, 0.7]
    assert ask(scorer, "C", "A") == [0.2, 1.0]
    assert selector.asked == ["B", "C"]
    assert ask(scorer, "A", query="Another?") == [0.2]  # an answer of one query is none of the other


def test_pairs_are_told_apart_wherever_their_parts_end():
    selector = Selector()
    scorer = match_scorer(selector, [])
    requests = [
        SelectRequest(*parts, "") for parts in (("a", "b", "c"), ("ab", "", "c"), ("a", "bc", ""), ("", "ab", "c"))
    ]
    scorer.score(requests)
    scorer.score(requests)
    assert selector.asked == ["b", "", "bc", "ab"]


def test_a_kept_score_takes_no_more_memory_for_a_long_abstract():
    scorer = match_scorer(Selector(), [])
    scorer.score([SelectRequest("Which?", f"title {n}", "abstract " * 1000, "") for n in range(1000)])
    tracemalloc.start()
    scorer.score([SelectRequest("Which?", f"title {n}", "abstract " * 1000, "") for n in range(1000, 2000)])
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken / 1000 < 400  # bytes a pair


def test_without_a_selector_only_answers_match_and_nothing_is_kept():
    scorer = match_scorer(None, [QUERY])
    assert ask(scorer, "A", "B") == ask(scorer, "A", "B") == [1.0, 0.0]
    assert scorer.asked["kept"] == 0


def test_a_failure_is_told_and_not_kept():
    selector = Selector()
    scorer = match_scorer(selector, [QUERY])
    selector.fails = True
    with pytest.raises(ModelError):
        ask(scorer, "B")
    selector.fails = False
    assert ask(scorer, "B") == [0.7]


def test_a_servers_selector_is_asked_side_by_side():
    class Served(Selector):
        requests_at_once = 4
        together = threading.Barrier(4, timeout=20)  # breaks unless four threads are inside at once

        def score(self, requests):
            self.together.wait()
            return super().score(requests)

    scorer = match_scorer(Served(), [QUERY])
    assert isinstance(scorer, SideBySide)
    assert not isinstance(match_scorer(Selector(), []), SideBySide)
    with ThreadPoolExecutor(4) as threads:
        assert [*threads.map(lambda title: ask(scorer, title), "BCDE")] == [[0.7], [0.2], [0.2], [0.2]]

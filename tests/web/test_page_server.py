"""The page's server over HTTP: asking, the queue, events, stopping, restarts, exports, and who is refused."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from pasa.errors import ConfigError, ServiceError
from pasa.models.base import Score
from pasa.web.__main__ import TOKEN_VARIABLE, check_reach, main, read_token
from pasa.web.guard import CONTENT_SECURITY_POLICY, MAX_BODY_BYTES, Rate, Rates, Token
from pasa.web.run_events import UNFILED_BRANCH
from pasa.web.run_request import QUESTION_CHARACTERS, SEEDS, Limits
from tests.web.page_server import MANY, OneAgent, page_server
from tests.world import World

QUESTION = "which papers?"
TOKEN = "a-token-of-the-tests-0123456789"


def world_agent(world: World | None = None, **settings: Any) -> OneAgent:
    return OneAgent((world or World(3)).agent(**settings))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One for all tests that leave it as it was, but for runs of their own."""
    with page_server(world_agent(), tmp_path_factory.mktemp("server"), at_once=4) as running:
        yield running.address


def ask(address: str, question: str = QUESTION, **asked: Any) -> dict[str, Any]:
    answer = requests.post(f"{address}/api/runs", json={"question": question, **asked}, timeout=10)
    assert answer.status_code == 201, answer.text
    return answer.json()


def run_of(address: str, run_id: str) -> dict[str, Any]:
    return requests.get(f"{address}/api/runs/{run_id}", timeout=10).json()


def ended(address: str, run_id: str, seconds: float = 15) -> dict[str, Any]:
    """The run once it has ended."""
    deadline = time.monotonic() + seconds
    while (run := run_of(address, run_id))["state"] in ("queued", "running"):
        assert time.monotonic() < deadline, run
        time.sleep(0.02)
    return run


def until(happens: Callable[[], Any], seconds: float = 10) -> Any:
    deadline = time.monotonic() + seconds
    while not (it := happens()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return it


def events(address: str, run_id: str, after: int | None = None, most: int = 10**6) -> list[dict[str, Any]]:
    """The numbered events of a run, `most` of them, from the stream."""
    headers = {"last-event-id": str(after)} if after is not None else {}
    told: list[dict[str, Any]] = []
    with requests.get(f"{address}/api/runs/{run_id}/events", headers=headers, stream=True, timeout=15) as answer:
        if answer.status_code == 204:
            return []
        assert answer.headers["content-type"].startswith("text/event-stream")
        number = None
        for line in answer.iter_lines(decode_unicode=True):
            if line.startswith("id: "):
                number = int(line[4:])
            elif line.startswith("data: ") and number is not None:
                told.append(json.loads(line[6:]))
                assert told[-1]["n"] == number
                number = None
                if len(told) == most:
                    break
    return told


def papers(address: str, run_id: str) -> list[dict[str, Any]]:
    return requests.get(f"{address}/api/runs/{run_id}/papers", timeout=10).json()["papers"]


# -- a run -------------------------------------------------------------------------------------------------------------


def test_a_run_gives_the_agents_ranking_and_totals(server: str) -> None:
    with World(3).agent() as agent:
        expected = agent.run(QUESTION)
    run = ended(server, ask(server)["id"])
    assert run["state"] == "done"
    found = papers(server, run["id"])
    assert [(p["rank"], p["title"], p["path"]) for p in found] == [
        (p.rank, p.paper.title, list(p.path)) for p in expected.papers
    ]
    assert [p["score"] for p in found] == pytest.approx([p.score for p in expected.papers], abs=1e-4)
    assert run["stats"]["papers_found"] == run["found"] == len(found)
    assert run["selected"] == expected.stats.papers_selected


def test_a_run_has_the_settings_that_were_asked_for(server: str) -> None:
    with World(3).agent(expand_layers=1, search_queries=2, select_threshold=0.8) as agent:
        expected = agent.run(QUESTION)
    run = ended(server, ask(server, expand_layers=1, search_queries=2, select_threshold=0.8)["id"])
    assert [p["title"] for p in papers(server, run["id"])] == [p.paper.title for p in expected.papers]
    assert run["record"]["settings"]["expand_layers"] == 1
    assert run["record"]["settings"]["max_seconds"] == Limits().max_seconds


def test_seeds_and_an_end_date_reach_the_agent(server: str) -> None:
    seed = next(p for p in World(3).papers if p.arxiv_id)
    run = ended(server, ask(server, seeds=[f"https://arxiv.org/abs/{seed.arxiv_id}"], end_date="2021-06-30")["id"])
    ways = {p["title"]: p["way"] for p in papers(server, run["id"])}
    assert ways[seed.title] == "seed"
    assert run["asked"] == {
        "question": QUESTION, "engine": "demo", "end_date": "2021-06-30", "seeds": [seed.arxiv_id]
    }  # fmt: skip


def test_events_tell_the_whole_tree(server: str) -> None:
    run = ended(server, ask(server)["id"])
    told = events(server, run["id"])
    assert [event["n"] for event in told] == list(range(1, len(told) + 1))
    assert (told[0]["type"], told[-1]["type"], told[-1]["state"]) == ("started", "end", "done")
    filed = [key for event in told if event["type"] == "branch" for key in event["papers"]]
    assert len(filed) == len(set(filed))
    ranked = papers(server, run["id"])
    assert {p["key"] for p in ranked} <= set(filed)
    assert {event["key"] for event in told if event["type"] == "paper"} >= {p["key"] for p in ranked}
    assert any(p["way"] == "citation" and p["depth"] == 2 for p in ranked)


def test_a_stream_goes_on_where_it_was_cut(server: str) -> None:
    run = ended(server, ask(server)["id"])
    whole = events(server, run["id"])
    assert events(server, run["id"], after=7) == whole[7:]
    assert events(server, run["id"], after=len(whole)) == []


def test_a_stream_is_live_and_reconnecting_loses_and_repeats_nothing(tmp_path: Path) -> None:
    world, gate = World(3), threading.Event()
    world.slow = {}
    agents = world_agent(world)
    call = world.call
    world.call = lambda kind, *rest: (kind == "search" and gate.wait(10), call(kind, *rest))[1]  # type: ignore
    with page_server(agents, tmp_path) as running:
        run = ask(running.address)
        first = events(running.address, run["id"], most=3)  # cut off while the run goes on
        gate.set()
        rest = events(running.address, run["id"], after=3)
        assert [event["n"] for event in first + rest] == list(range(1, len(first + rest) + 1))
        assert rest[-1]["type"] == "end"


def test_what_is_likely_missing_is_told_as_the_exports_tell_it(server: str) -> None:
    from pasa.export.missing import told_of_missing
    from pasa.export.run_view import of_tree

    run = ended(server, ask(server)["id"])
    tree = requests.get(f"{server}/api/runs/{run['id']}/tree", timeout=10).json()
    assert "were likely found" in run["missing"]
    assert run["missing"] == told_of_missing(of_tree(tree))


def test_a_run_ends_when_nothing_new_comes_where_that_is_asked(server: str) -> None:
    run = ended(server, ask(server, stop_when_saturated=1, select_threshold=1)["id"])
    assert (run["state"], run["stats"]["budget_reached"]) == ("done", "saturated")


def test_one_paper_is_told_whole(server: str) -> None:
    run = ended(server, ask(server)["id"])
    one = papers(server, run["id"])[3]
    url = f"{server}/api/runs/{run['id']}/papers"
    assert requests.get(url, params={"key": one["key"]}, timeout=5).json() == one
    assert requests.get(url, params={"key": "nobody"}, timeout=5).status_code == 404


def test_a_failed_run_says_why_and_the_next_one_works(tmp_path: Path) -> None:
    world = World(3)
    world.failing_searches = None
    with page_server(world_agent(world), tmp_path) as running:
        run = ended(running.address, ask(running.address)["id"])
        assert run["state"] == "failed"
        assert "no answer to" in run["error"]
        assert events(running.address, run["id"])[-1]["error"] == run["error"]
        world.failing_searches = set()
        assert ended(running.address, ask(running.address)["id"])["state"] == "done"


def test_an_engine_that_cannot_be_had_fails_its_run_alone(tmp_path: Path) -> None:
    agents = world_agent()
    agents.failure = ConfigError("engine serper needs a key")
    with page_server(agents, tmp_path) as running:
        run = ended(running.address, ask(running.address, engine="serper")["id"])
        assert (run["state"], run["error"]) == ("failed", "engine serper needs a key")
        assert ended(running.address, ask(running.address)["id"])["state"] == "done"


def test_a_bug_fails_its_run_without_telling_the_user_what(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    agents = world_agent()
    agents.failure = ZeroDivisionError("secret inner state")
    with page_server(agents, tmp_path) as running:
        run = ended(running.address, ask(running.address, engine="serper")["id"])
        assert run["state"] == "failed"
        assert "secret" not in json.dumps(run)
        assert "secret inner state" in caplog.text
        assert ended(running.address, ask(running.address)["id"])["state"] == "done"


# -- stopping ----------------------------------------------------------------------------------------------------------


def slow_agent() -> OneAgent:
    """Who cites some papers takes long, so that a run is in its first layer of citations until it is stopped."""
    world = World(3)
    world.slow = {"citing:" + paper.title: 20.0 for paper in world.papers[::2]}
    return world_agent(world, cited_by=2)


def test_a_stopped_run_keeps_every_paper_that_had_a_score(tmp_path: Path) -> None:
    with page_server(slow_agent(), tmp_path) as running:
        run = ask(running.address)
        address = running.address
        until(lambda: any(e["type"] == "layer" and e["layer"] == 1 for e in events(address, run["id"], most=60)))
        time.sleep(0.3)
        assert requests.post(f"{address}/api/runs/{run['id']}/stop", json={}, timeout=5).status_code == 202
        run = ended(address, run["id"])
        assert run["state"] == "stopped"
        told = events(address, run["id"])
        scored = {event["title"] for event in told if event["type"] == "paper"}
        kept = papers(address, run["id"])
        assert {p["title"] for p in kept} == scored
        assert [p["rank"] for p in kept] == list(range(1, len(kept) + 1))
        unfiled = [p for p in kept if p["way"] == "unfiled"]
        assert unfiled
        assert all(p["path"] == [UNFILED_BRANCH] for p in unfiled)
        text = requests.get(f"{address}/api/runs/{run['id']}/export?format=csv", timeout=5).text
        assert all(p["title"] in text for p in unfiled)


def test_stopping_one_run_leaves_the_others_and_frees_its_place(tmp_path: Path) -> None:
    with page_server(slow_agent(), tmp_path, at_once=2) as running:
        address = running.address
        first, second, third = (ask(address)["id"] for _ in range(3))
        until(lambda: run_of(address, second)["state"] == "running")
        assert run_of(address, third)["position"] == 1
        requests.post(f"{address}/api/runs/{first}/stop", json={}, timeout=5)
        assert ended(address, first)["state"] == "stopped"
        until(lambda: run_of(address, third)["state"] == "running")
        assert run_of(address, second)["state"] == "running"
        for one in (second, third):
            requests.post(f"{address}/api/runs/{one}/stop", json={}, timeout=5)
        ended(address, third)


def test_a_waiting_run_can_be_stopped(tmp_path: Path) -> None:
    with page_server(slow_agent(), tmp_path, at_once=1) as running:
        address = running.address
        first, second = ask(address)["id"], ask(address)["id"]
        requests.post(f"{address}/api/runs/{second}/stop", json={}, timeout=5)
        assert ended(address, second)["state"] == "stopped"
        assert events(address, second)[-1]["type"] == "end"
        requests.post(f"{address}/api/runs/{first}/stop", json={}, timeout=5)
        ended(address, first)


# -- several people ----------------------------------------------------------------------------------------------------


def browser(address: str) -> requests.Session:
    session = requests.Session()
    session.get(f"{address}/api/config", timeout=10)
    assert session.cookies.get("pasa_browser")
    return session


def test_a_user_who_asks_much_does_not_keep_others_waiting(tmp_path: Path) -> None:
    world, gate = World(3), threading.Event()
    call = world.call
    world.call = lambda kind, *rest: (gate.wait(15), call(kind, *rest))[1]  # type: ignore[method-assign]
    with page_server(world_agent(world), tmp_path, at_once=2) as running:
        address = running.address
        busy, other = browser(address), browser(address)
        mine = [busy.post(f"{address}/api/runs", json={"question": f"q{n}?"}, timeout=5).json()["id"] for n in range(5)]
        theirs = other.post(f"{address}/api/runs", json={"question": "mine?"}, timeout=5).json()["id"]
        gate.set()
        for one in (*mine, theirs):
            ended(address, one)
        order = sorted((*mine, theirs), key=lambda one: run_of(address, one)["started"])
        assert order.index(theirs) <= 3


def test_a_full_queue_says_so(tmp_path: Path) -> None:
    with page_server(slow_agent(), tmp_path, at_once=1, waiting=2, waiting_each=1) as running:
        address = running.address
        ids = [ask(address)["id"], ask(address)["id"]]
        refused = requests.post(f"{address}/api/runs", json={"question": QUESTION}, timeout=5)
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
        assert "yours" in refused.json()["error"]
        ids.append(browser(address).post(f"{address}/api/runs", json={"question": QUESTION}, timeout=5).json()["id"])
        full = browser(address).post(f"{address}/api/runs", json={"question": QUESTION}, timeout=5)
        assert (full.status_code, "too many" in full.json()["error"]) == (503, True)
        for one in ids[::-1]:
            running_session = requests.Session()
            running_session.post(f"{address}/api/runs/{one}/stop", json={}, timeout=5)


def test_only_who_asked_may_stop_or_delete(server: str) -> None:
    me, other = browser(server), browser(server)
    run = me.post(f"{server}/api/runs", json={"question": QUESTION}, timeout=5).json()
    assert run["mine"]
    ended(server, run["id"])
    assert other.get(f"{server}/api/runs/{run['id']}", timeout=5).json()["mine"] is False
    for refused in (
        other.delete(f"{server}/api/runs/{run['id']}", timeout=5),
        other.post(f"{server}/api/runs/{run['id']}/stop", json={}, timeout=5),
    ):
        assert refused.status_code == 403
    assert me.delete(f"{server}/api/runs/{run['id']}", timeout=5).status_code == 200
    assert me.get(f"{server}/api/runs/{run['id']}", timeout=5).status_code == 404
    assert papers_status(server, run["id"]) == 404


def papers_status(address: str, run_id: str) -> int:
    return requests.get(f"{address}/api/runs/{run_id}/papers", timeout=5).status_code


def test_nobody_is_told_who_asked(server: str) -> None:
    run = ended(server, ask(server)["id"])
    assert "owner" not in run
    assert "owner" not in requests.get(f"{server}/api/runs", timeout=5).text


# -- history and restarts ----------------------------------------------------------------------------------------------


def test_the_history_is_searched_and_goes_back_page_by_page(tmp_path: Path) -> None:
    with page_server(world_agent(expand_layers=0), tmp_path, waiting_each=200, waiting=200, at_once=8) as running:
        address = running.address
        ids = [ask(address, f"question {n} about 100%_sure papers")["id"] for n in range(55)]
        for one in ids:
            ended(address, one)
        first = requests.get(f"{address}/api/runs", timeout=5).json()["runs"]
        rest = requests.get(f"{address}/api/runs", params={"before": first[-1]["created"]}, timeout=5).json()["runs"]
        assert [run["id"] for run in first + rest] == ids[::-1]
        found = requests.get(f"{address}/api/runs", params={"words": "question 7 "}, timeout=5).json()["runs"]
        assert [run["id"] for run in found] == [ids[7]]
        assert requests.get(f"{address}/api/runs", params={"words": "0%_s"}, timeout=5).json()["runs"] == first
        assert not requests.get(f"{address}/api/runs", params={"words": "0_a"}, timeout=5).json()["runs"]


def test_the_oldest_runs_make_room(tmp_path: Path) -> None:
    with page_server(world_agent(expand_layers=0), tmp_path, keep=3) as running:
        ids = []
        for n in range(5):
            ids.append(ask(running.address, f"q{n}?")["id"])
            ended(running.address, ids[-1])
        kept = [run["id"] for run in requests.get(f"{running.address}/api/runs", timeout=5).json()["runs"]]
        assert kept == ids[:1:-1]


def test_a_restart_keeps_ended_runs_marks_those_under_way_and_begins_those_that_waited(tmp_path: Path) -> None:
    with page_server(slow_agent(), tmp_path, at_once=1) as running:
        done = ask(running.address, expand_layers=0)["id"]
        ended(running.address, done)
        whole = papers(running.address, done)
        under_way, waiting = ask(running.address)["id"], ask(running.address, "and later?", expand_layers=0)["id"]
        until(lambda: len(papers(running.address, under_way)) > 5)
        told = [event["title"] for event in events(running.address, under_way, most=40) if event["type"] == "paper"]
    with page_server(world_agent(), tmp_path) as running:
        address = running.address
        assert papers(address, done) == whole
        run = run_of(address, under_way)
        assert (run["state"], bool(run["error"])) == ("interrupted", True)
        assert {p["title"] for p in papers(address, under_way)} >= set(told)
        assert run["found"] == len(papers(address, under_way))
        assert ended(address, waiting)["state"] == "done"
        again = ended(address, ask(address, **run["asked"])["id"])
        assert again["state"] == "done"


def test_a_killed_server_leaves_runs_that_the_next_one_marks(tmp_path: Path) -> None:
    from pasa.web.run_store import RunStore, StoredRun

    with RunStore(tmp_path / "runs.db") as store:  # as a process that got SIGKILL leaves it
        asked = {"question": "q?", "engine": "demo"}
        store.add(StoredRun("abc", "", "q?", asked, "queued", 1.0, None, None, None, 0, 0))
        store.begin("abc", 2.0)
        paper = {
            "key": "k",
            "title": "T",
            "score": 0.7,
            "selected": True,
            "authors": [],
            "date": None,
            "arxiv_id": None,
        }
        store.write("abc", [(1, b'{"n":1,"type":"started"}')], [paper])
    with page_server(world_agent(), tmp_path) as running:
        run = run_of(running.address, "abc")
        assert (run["state"], run["found"], run["selected"]) == ("interrupted", 1, 1)
        assert events(running.address, "abc") == [{"n": 1, "type": "started"}]
        text = requests.get(f"{running.address}/api/runs/abc/export?format=csv", timeout=5).text
        assert "T" in text.splitlines()[1]


def test_two_servers_do_not_share_their_runs(tmp_path: Path) -> None:
    from pasa.web.run_store import RunStore

    with page_server(world_agent(), tmp_path) as running:
        run = ask(running.address, expand_layers=0)
        with pytest.raises(ConfigError, match="another server"):
            RunStore(tmp_path / "runs.db")
        ended(running.address, run["id"])
        with closing(sqlite3.connect(tmp_path / "runs.db")) as reader:  # as a backup reads
            assert reader.execute("SELECT count(*) FROM runs").fetchone() == (1,)
    RunStore(tmp_path / "runs.db").__exit__(None, None, None)


def test_the_process_offers_what_it_has_and_ends_cleanly_and_at_once_at_a_signal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pasa.web", "--engine", "demo", "--port", "0", "--data_dir", str(tmp_path)]
    keys = dict.fromkeys((TOKEN_VARIABLE, "SERPER_API_KEY"), "")
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, env={**os.environ, **keys}, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        address = next(line.split()[-1] for line in process.stderr if line.startswith("the page: "))
        offers = {
            one["name"]: one["reason"] for one in requests.get(f"{address}/api/config", timeout=10).json()["engines"]
        }
        assert (offers["demo"], offers["serper"]) == ("", "needs SERPER_API_KEY")
        refused = ended(address, ask(address, engine="serper")["id"], seconds=60)
        assert "SERPER_API_KEY" in refused["error"]
        with requests.get(f"{address}/api/runs/{ask(address)['id']}/events", stream=True, timeout=10) as stream:
            lines = (line for line in stream.iter_lines(decode_unicode=True) if "made_of" in line)
            assert '"crawler":"rules"' in next(lines)
            process.send_signal(signal.SIGTERM)  # with a stream open
            assert process.wait(20) == 0


# -- exports -----------------------------------------------------------------------------------------------------------


def test_every_format_that_is_offered_can_be_had(server: str) -> None:
    run = ended(server, ask(server)["id"])
    formats = requests.get(f"{server}/api/config", timeout=10).json()["formats"]
    assert {"bibtex", "ris", "csv", "json", "html"} <= {one["name"] for one in formats}
    for one in formats:
        answer = requests.get(f"{server}/api/runs/{run['id']}/export", params={"format": one["name"]}, timeout=10)
        assert answer.status_code == 200, one
        assert answer.text
        assert re.search(rf'filename="[a-z0-9-]+{re.escape(one["suffix"])}"', answer.headers["content-disposition"])
        assert "sandbox" in answer.headers["content-security-policy"]


def test_the_papers_that_were_ticked_are_exported(server: str) -> None:
    run = ended(server, ask(server)["id"])
    chosen = papers(server, run["id"])[1:4]
    answer = requests.post(
        f"{server}/api/runs/{run['id']}/export", json={"format": "ris", "keys": [p["key"] for p in chosen]}, timeout=10
    )
    titles = re.findall(r"^TI  - (.*?)\r?$", answer.text, re.MULTILINE)
    assert titles == [p["title"] for p in chosen]
    for wrong, says in (
        ({"format": "exe"}, "exe"),
        ({"format": "ris", "keys": ["of none"]}, "no paper"),
        ({"format": "ris", "keys": []}, "no paper"),
    ):
        refused = requests.post(f"{server}/api/runs/{run['id']}/export", json=wrong, timeout=10)
        assert (refused.status_code, says in refused.json()["error"]) == (400, True)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"question": "  "}, "query is empty"),
        ({"question": 3}, "question must be a text"),
        ({"question": "x" * (QUESTION_CHARACTERS + 1)}, "characters"),
        ({"question": "q?", "engine": "altavista"}, "altavista"),
        ({"question": "q?", "engine": "auto,demo"}, "auto stands alone"),
        ({"question": "q?", "expand_layers": 99}, "expand_layers"),
        ({"question": "q?", "expand_layers": True}, "expand_layers"),
        ({"question": "q?", "expand_layers": 1.5}, "whole number"),
        ({"question": "q?", "max_seconds": 1e9}, "max_seconds"),
        ({"question": "q?", "end_date": "yesterday"}, "YYYY-MM-DD"),
        ({"question": "q?", "seeds": [".."]}, "names no paper"),
        ({"question": "q?", "seeds": {"a": 1}}, "list of texts"),
        ({"question": "q?", "seeds": [f"2101.{n:05d}" for n in range(SEEDS + 1)]}, "seed papers"),
        ({"question": "q?", "crawler_path": "/etc/passwd"}, "unknown setting"),
        (["q?"], "JSON object"),
    ],
)
def test_a_request_that_cannot_be_used_says_what_to_do(server: str, asked: object, says: str) -> None:
    answer = requests.post(f"{server}/api/runs", json=asked, timeout=5)
    assert answer.status_code == 400
    assert says in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_a_body_that_is_too_large_is_refused_also_without_a_stated_length(server: str) -> None:
    large = b'{"question": "' + b"x" * MAX_BODY_BYTES + b'"}'
    headers = {"content-type": "application/json"}
    assert requests.post(f"{server}/api/runs", data=large, headers=headers, timeout=5).status_code == 413
    chunks = iter([large[:1000], large[1000:]])
    assert requests.post(f"{server}/api/runs", data=chunks, headers=headers, timeout=5).status_code == 413


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/api/runs", "/nothing", "/api/runs/none/events"])
def test_every_answer_carries_the_security_headers(server: str, path: str) -> None:
    headers = requests.get(server + path, timeout=5).headers
    assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers


def raw(address: str, host: str, **headers: str) -> requests.Response:
    return requests.get(f"{address}/api/runs", headers={"Host": host, **headers}, timeout=5)


def test_only_names_that_are_ours_are_answered(tmp_path: Path) -> None:
    with page_server(world_agent(), tmp_path, hosts=["papers.example.org"]) as running:
        port = urlsplit(running.address).port
        for ours in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "papers.example.org", "10.0.0.7"):
            assert raw(running.address, ours).status_code == 200, ours
        for foreign in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil", "", "[::1"):
            assert raw(running.address, foreign).status_code == 421, foreign


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
    ],
    ids=str,
)
def test_another_sites_page_cannot_ask(server: str, headers: dict[str, str]) -> None:
    sent = {"content-type": "application/json", **headers}
    answer = requests.post(f"{server}/api/runs", data='{"question": "from elsewhere?"}', headers=sent, timeout=5)
    assert answer.status_code == 403
    assert requests.get(f"{server}/api/runs?words=elsewhere", timeout=5).json()["runs"] == []


def test_our_own_page_can_ask_and_a_link_from_elsewhere_opens_it(server: str) -> None:
    own = {"origin": server, "sec-fetch-site": "same-origin"}
    assert requests.post(f"{server}/api/runs", json={"question": "q?"}, headers=own, timeout=5).status_code == 201
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert requests.get(f"{server}/runs/abc", headers=link, timeout=5).status_code == 200
    assert requests.get(f"{server}/api/runs", headers=link, timeout=5).status_code == 403


# -- token -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with page_server(world_agent(), tmp_path_factory.mktemp("guarded"), token=TOKEN) as running:
        yield running.address


def test_without_the_token_nothing_is_told(guarded: str) -> None:
    for method, path in [
        ("GET", "runs"),
        ("GET", "config"),
        ("POST", "runs"),
        ("GET", "runs/x/events"),
        ("DELETE", "runs/x"),
    ]:
        answer = requests.request(method, f"{guarded}/api/{path}", json={} if method == "POST" else None, timeout=5)
        assert answer.status_code == 401, path
    assert requests.get(guarded, timeout=5).status_code == 200  # the page itself, which asks for the token
    for wrong in ("Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"):
        assert requests.get(f"{guarded}/api/runs", headers={"authorization": wrong}, timeout=5).status_code == 401
    assert requests.get(f"{guarded}/api/runs?token={TOKEN}", timeout=5).status_code == 401


def test_the_token_opens_a_session_that_scripts_cannot_read_and_that_does_not_hold_it(guarded: str) -> None:
    assert requests.post(f"{guarded}/login", json={"token": "wrong"}, timeout=5).status_code == 403
    session = requests.Session()
    answer = session.post(f"{guarded}/login", json={"token": TOKEN}, timeout=5)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    assert session.get(f"{guarded}/api/runs", timeout=5).status_code == 200
    session.post(f"{guarded}/logout", json={}, timeout=5)
    assert session.get(f"{guarded}/api/runs", timeout=5).status_code == 401
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert requests.get(f"{guarded}/api/config", headers=bearer, timeout=5).json()["has_token"] is True


def test_a_session_is_cookie_only_over_tls_where_tls_is_used(guarded: str) -> None:
    host = urlsplit(guarded).netloc
    answer = requests.post(f"{guarded}/login", json={"token": TOKEN}, headers={"origin": f"https://{host}"}, timeout=5)
    assert "secure" in answer.headers["set-cookie"].lower()


def test_sessions_end_with_time_and_with_the_token() -> None:
    now = [1000.0]
    token = Token(TOKEN, lambda: now[0])
    session = token.new_session()
    assert token.knows(session)
    assert Token(TOKEN, lambda: now[0]).knows(session)  # outlives a restart
    assert not Token(TOKEN + "2", lambda: now[0]).knows(session)
    expiry, _, mac = session.partition(".")
    for forged in (f"{int(expiry) + 1}.{mac}", f"{expiry}.{mac[:-1]}0x", "", ".", mac, f"٣.{mac}", "é.é"):
        assert not token.knows(forged)
    now[0] = float(expiry)
    assert not token.knows(session)


def test_guessing_the_token_is_slowed_down(tmp_path: Path) -> None:
    rates = Rates(**{**{f: getattr(MANY, f) for f in MANY.__slots__}, "logins": 6.0, "logins_burst": 3})
    with page_server(world_agent(), tmp_path, token=TOKEN, rates=rates) as running:
        codes = [requests.post(f"{running.address}/login", json={"token": "x"}, timeout=5) for _ in range(5)]
        assert [answer.status_code for answer in codes] == [403, 403, 403, 429, 429]
        assert int(codes[-1].headers["retry-after"]) > 1


def test_a_rate_lets_a_burst_pass_then_its_pace() -> None:
    now = [0.0]
    rate = Rate(60, 3, lambda: now[0])
    assert [rate.wait_seconds("a") for _ in range(4)] == [0, 0, 0, pytest.approx(1.0)]
    assert rate.wait_seconds("b") == 0
    now[0] = 1.0
    assert [rate.wait_seconds("a") for _ in range(2)] == [0, pytest.approx(1.0)]


@pytest.mark.parametrize(
    ("host", "reachable"),
    [
        ("127.0.0.1", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("192.168.1.5", True),
        ("papers.example.org", True),
    ],
)
def test_others_reach_the_server_only_with_a_token(host: str, reachable: bool) -> None:
    check_reach(host, Token(TOKEN))
    if reachable:
        with pytest.raises(ConfigError, match=TOKEN_VARIABLE):
            check_reach(host, Token(None))
    else:
        check_reach(host, Token(None))


def test_tokens_are_read_from_file_or_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    assert read_token(file, "another-token-0123456789").accepts(TOKEN)
    assert read_token(None, TOKEN).accepts(TOKEN)
    assert not read_token(None, None).is_needed
    for bad in (tmp_path / "none", tmp_path / "empty"):
        (tmp_path / "empty").write_text("")
        with pytest.raises(ConfigError):
            read_token(bad, None)
    with pytest.raises(ConfigError, match="short"):
        read_token(None, "short")


def test_the_token_may_stand_in_the_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "")
    monkeypatch.delenv(TOKEN_VARIABLE)
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text(f"{TOKEN_VARIABLE}=short\n", encoding="utf-8")
    assert main(["--host", "0.0.0.0", "--data_dir", str(tmp_path / "data")]) == ConfigError.exit_code
    assert "the token is short" in capsys.readouterr().err


def test_a_call_that_cannot_work_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for wrong in (["--port", port], ["--host", "0.0.0.0"], ["--engine", "altavista"], ["--runs_at_once", "0"]):
            assert main(["--port", "0", "--engine", "demo", "--data_dir", str(tmp_path), *wrong]) == 2
            assert capsys.readouterr().err.splitlines()[-1].startswith("pasa.web: ")


# -- what papers say ---------------------------------------------------------------------------------------------------

HOSTILE = "<img src=x onerror=alert(1)> \u2028 \ud800 </script><script>alert(2)</script>"


def test_hostile_titles_and_reasons_come_as_data(tmp_path: Path) -> None:
    world = World(3)
    score = world.scorer.score

    def with_reason(requests: Any) -> list[float]:
        return [Score(value, reason=HOSTILE) for value in score(requests)]

    world.scorer.score = with_reason  # type: ignore[method-assign]
    with page_server(world_agent(world), tmp_path) as running:
        run = ended(running.address, ask(running.address, "which <img src=x onerror=alert(1)>?")["id"])
        assert run["state"] == "done"
        assert run["question"].startswith("which <img src=x")
        assert {p["reason"] for p in papers(running.address, run["id"])} == {HOSTILE.replace("\ud800", "?")}
        answer = requests.get(f"{running.address}/api/runs/{run['id']}", timeout=5)
        assert answer.headers["content-type"] == "application/json"


def test_the_services_failure_is_told_without_what_was_sent(tmp_path: Path) -> None:
    world = World(3)
    call = world.call

    def refuse(kind: str, *rest: str) -> None:
        if kind == "search":
            raise ServiceError("engine.example: HTTP 401", 401, "key=sk-do-not-tell", service="engine.example")
        call(kind, *rest)

    world.call = refuse  # type: ignore[method-assign]
    with page_server(world_agent(world), tmp_path) as running:
        run = ended(running.address, ask(running.address)["id"])
        everything = json.dumps([run, events(running.address, run["id"])])
        assert run["error"] == "engine.example: HTTP 401"
        assert "sk-do-not-tell" not in everything


def test_the_page_has_no_inline_code_and_asks_nobody_else() -> None:
    static = Path(__file__).parents[2] / "pasa" / "web" / "static"
    page = (static / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\ssrc=)", page)
    assert not re.search(r"\son\w+=|\sstyle=|<style", page)
    assert not re.search(r"(?:src|href)=\"(?!/|#)", page)
    for script in static.glob("*.js"):
        code = script.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", code), (
            script
        )
        assert not re.search(r"fetch\(\s*[\"'`]https?:", code), script

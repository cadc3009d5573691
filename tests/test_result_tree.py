"""The result tree, its ranking and its union: pasa/result_tree.py."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from pasa.paper import Paper, Reference, Section
from pasa.result_tree import Node, rank, unite

QUICK = settings(max_examples=60, deadline=None)
UPSTREAM_KEYS = ["title", "arxiv_id", "depth", "child", "abstract", "sections", "source", "select_score", "extra"]
TITLES = ["".join(chr(97 + (n // 26**i) % 26) for i in range(2)) for n in range(40)]


@st.composite
def trees(draw):
    """A tree of distinct papers, each with the score that its title has everywhere."""
    root = Node(Paper("question"), extra={"touch_ids": []})
    nodes = [root]
    for title in draw(st.lists(st.sampled_from(TITLES), unique=True, max_size=12)):
        parent = draw(st.sampled_from(nodes))
        node = Node(Paper(title), parent.depth + 1, "Search" if parent is root else "Expand", len(title) / 7)
        node.score = TITLES.index(title) % 5 / 4
        root.extra["touch_ids"].append(title)
        parent.children.setdefault(draw(st.sampled_from(["x", "y"])), []).append(node)
        nodes.append(node)
    return root


def titles(root):
    return [node.paper.title for node in root.walk()]


@QUICK
@given(trees())
def test_every_node_has_upstreams_keys_and_survives_json(root):
    level = [json.loads(json.dumps(root.to_dict()))]
    seen = []
    while level:
        node = level.pop(0)
        assert list(node) == UPSTREAM_KEYS
        seen.append(node["title"])
        level += [kid for kids in node["child"].values() for kid in kids]
    assert seen == ["question", *titles(root)]


@QUICK
@given(trees(), st.sampled_from([0.0, 0.5, 1.0]))
def test_the_ranking_holds_each_paper_once_best_first(root, threshold):
    ranked = rank(root, threshold)
    assert [p.rank for p in ranked] == list(range(1, len(ranked) + 1))
    assert sorted(p.paper.title for p in ranked) == sorted(titles(root))
    found = titles(root)
    places = [(-p.score, found.index(p.paper.title)) for p in ranked]
    assert places == sorted(places)
    assert all(p.selected == (p.score > threshold) for p in ranked)


@QUICK
@given(trees())
def test_a_path_leads_from_the_root_to_its_paper(root):
    for ranked in rank(root, 0.5):
        node, path = root, list(ranked.path)
        for at in range(0, len(path), 2):
            following = path[at + 1] if at + 1 < len(path) else ranked.paper.title
            [node] = [kid for kid in node.children[path[at]] if kid.paper.title == following]
        assert (node.paper.title, node.depth) == (ranked.paper.title, ranked.depth)


def test_a_paper_met_twice_ranks_at_its_better_score():
    root = Node(Paper("q"), children={"s": [Node(Paper("A a"), 0, score=0.2), Node(Paper("aA"), 0, score=0.9)]})
    assert [(p.rank, p.score) for p in rank(root, 0.5)] == [(1, 0.9)]


@QUICK
@given(trees(), trees())
def test_a_union_holds_the_papers_of_both_once_and_keeps_the_first_in_place(first, second):
    first_paths = {p.paper.title: p.path for p in rank(first, 0.5)}
    wanted = set(titles(first)) | set(titles(second))
    ids = list(dict.fromkeys(first.extra["touch_ids"] + second.extra["touch_ids"]))
    united = unite(first, second)
    assert sorted(titles(united)) == sorted(wanted)
    paths = {p.paper.title: p.path for p in rank(united, 0.5)}
    assert {title: paths[title] for title in first_paths} == first_paths
    assert united.extra["touch_ids"] == ids


@QUICK
@given(trees())
def test_a_union_with_itself_or_with_nothing_changes_nothing(root):
    import copy

    before = root.to_dict()
    assert unite(copy.deepcopy(root), copy.deepcopy(root)).to_dict() == before
    assert unite(copy.deepcopy(root), Node(Paper("question"), extra={"touch_ids": []})).to_dict() == before


def test_a_union_shows_the_sections_of_the_run_that_read_them():
    sections = (Section("Related", (Reference("B"),)),)
    unread = Node(Paper("A"), 0, score=1.0, extra={"expand": "not expand"})
    read = Node(Paper("A", sections=sections), 0, score=1.0, extra={"expand": "success"})
    read.children["Related"] = [Node(Paper("B"), 1)]
    united = unite(Node(Paper("q"), children={"s": [unread]}), Node(Paper("q"), children={"t": [read]}))
    [node] = united.children["s"]
    assert node.to_dict()["sections"] == {"Related": ["B"]}
    assert node.extra["expand"] == "success"
    assert united.children["t"] == []

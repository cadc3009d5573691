"""The prompts of the released checkpoints and how they are rendered.

The three templates are those models' input format, to the letter: bytedance/pasa, agent_prompt.json at 2aaa6a9.
The Crawler's two go through the chat template as one user message; the Selector's is sent raw.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from pasa.models.base import CrawlRequest, SelectRequest

GENERATE_QUERY = (
    "Please generate some mutually exclusive queries in a list to search the relevant papers according to the User "
    "Query. Searching for survey papers would be better.\nUser Query: {user_query}"
)
SELECT_SECTION = (
    "You are conducting research on `{user_query}`. You need to predict which sections to look at for getting more "
    "relevant papers. Title: {title}\nAbstract: {abstract}\nSections: {sections}"
)
GET_SELECTED = (
    "You are an elite researcher in the field of AI, conducting research on {user_query}. Evaluate whether the "
    "following paper fully satisfies the detailed requirements of the user query and provide your reasoning. Ensure "
    "that your decision and reasoning are consistent.\n\nSearched Paper:\nTitle: {title}\nAbstract: {abstract}\n\n"
    "User Query: {user_query}\n\nOutput format: Decision: True/False\nReason:... \nDecision:"
)

# json = the list the Crawler was trained on; dict_keys = what the public agent sends (PAPER.md, fork differences)
SectionsRendering = Literal["json", "dict_keys"]


def render_sections(names: Sequence[str], rendering: SectionsRendering) -> str:
    """The list of section names as it stands in an expand prompt."""
    if rendering == "dict_keys":
        return f"dict_keys({list(names)!r})"
    return json.dumps(list(names), ensure_ascii=False)


def search_request(query: str) -> CrawlRequest:
    """The request that opens a search session."""
    return CrawlRequest("search", query, GENERATE_QUERY.format(user_query=query).strip())


def expand_request(
    query: str, title: str, abstract: str, section_names: Sequence[str], rendering: SectionsRendering = "json"
) -> CrawlRequest:
    """The request that opens an expand session on one paper."""
    sections = render_sections(section_names, rendering)
    prompt = SELECT_SECTION.format(user_query=query, title=title, abstract=abstract, sections=sections).strip()
    return CrawlRequest("expand", query, prompt, title, abstract, tuple(section_names))


def select_request(query: str, title: str, abstract: str) -> SelectRequest:
    """The request that asks for one paper's score; its prompt is not stripped."""
    return SelectRequest(query, title, abstract, GET_SELECTED.format(user_query=query, title=title, abstract=abstract))

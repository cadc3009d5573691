"""Settings: pasa/config.py and configs/*.yaml."""

import dataclasses
import typing
from pathlib import Path

import pytest

from pasa.config import AgentSettings, ModelSettings, Settings, ToolSettings, load_settings, to_dict
from pasa.errors import ConfigError

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.fixture
def write(tmp_path):
    def write_text(text):
        path = tmp_path / "c.yaml"
        path.write_text(text)
        return path

    return write_text


def test_the_defaults_are_the_papers_settings():
    assert load_settings(CONFIGS / "agent.yaml") == load_settings() == Settings()
    agent = AgentSettings()
    assert (agent.expand_layers, agent.expand_papers, agent.select_threshold) == (2, 20, 0.5)
    assert (agent.ensemble_temperature, agent.ensemble_top_p) == (2.0, 0.8)


def test_the_upstream_config_differs_where_the_public_code_does():
    upstream = load_settings(CONFIGS / "agent_upstream.yaml")
    assert upstream.agent.query_limit == 20
    assert upstream.agent.argument_end == "bracket"
    assert not upstream.agent.end_date_on_expansion
    assert upstream.tools.timeout_seconds is None
    assert upstream.tools.reference_match == "exact"


def test_every_setting_can_be_named_by_a_flag_alone():
    """A flag has no group, so no two groups may share a name."""
    names = [f.name for record in (AgentSettings, ModelSettings, ToolSettings) for f in dataclasses.fields(record)]
    assert len(names) == len(set(names))


def test_flags_override_the_file_and_none_leaves_it(write):
    path = write("agent:\n  expand_papers: 3\n  search_papers: 4\nmodels:\n  device: cpu\n")
    settings = load_settings(path, {"expand_papers": 7, "search_papers": None, "engine": "demo", "max_seconds": 2})
    assert (settings.agent.expand_papers, settings.agent.search_papers) == (7, 4)
    assert (settings.models.device, settings.tools.engine, settings.agent.max_seconds) == ("cpu", "demo", 2)


def test_an_empty_file_or_group_leaves_the_defaults(write):
    assert load_settings(write("")) == load_settings(write("agent:\ntools:\n")) == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("agent: {expand_paper: 3}", "did you mean 'expand_papers'"),
        ("agent: {1: 2}", "unknown setting 1"),
        ("agents: {expand_papers: 3}", "unknown group 'agents'"),
        ("agent: {expand_papers: 2.5}", "whole number"),
        ("agent: {expand_papers: true}", "whole number"),
        ("agent: {expand_papers: null}", "whole number"),
        ("agent: {expand_papers: -1}", "at least 0"),
        ("agent: {search_queries: 0}", "at least 1"),
        ("agent: {max_seconds: .nan}", "at least 0"),
        ("agent: {select_threshold: .nan}", "at least 0"),
        ("agent: {top_p: 2}", "at most 1"),
        ("agent: {top_p: -1}", "at least 0"),
        ("agent: {undated: maybe}", "drop, keep"),
        ("agent: {undated: [drop]}", "drop, keep"),
        ("agent: {end_date_on_expansion: 1}", "true or false"),
        ("agent: 3", "groups of settings"),
        ("- agent", "groups of settings"),
        ("agent: {expand_papers: ", "is not YAML"),
        ("tools: {timeout_seconds: 0}", "above 0"),
    ],
)
def test_a_bad_setting_is_one_line_that_says_what_to_write(write, text, message):
    with pytest.raises(ConfigError) as caught:
        load_settings(write(text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_flag_or_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nonsense"):
        load_settings(None, {"nonsense": 1})
    with pytest.raises(ConfigError, match=r"expand_layers.*at least 0"):
        load_settings(None, {"expand_layers": -2})
    with pytest.raises(ConfigError, match="cannot read "):
        load_settings(tmp_path / "absent.yaml")


def test_a_whole_number_may_stand_for_a_number():
    settings = load_settings(None, {"temperature": 1})
    assert settings.agent.temperature == 1.0
    assert isinstance(settings.agent.temperature, float)


def test_settings_as_plain_data_make_the_same_settings(write):
    import yaml

    path = write(yaml.safe_dump(to_dict(Settings())))
    assert load_settings(path) == Settings()
    assert typing.get_type_hints(Settings).keys() == to_dict(Settings()).keys()

"""docs/DEPLOYMENT.md and deploy/: commands and flags that there are, files that can be read."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
import yaml

from pasa.commands import Command, find_command
from pasa.completion import flags_of
from pasa.config import load_settings
from tests.agent_world import ROOT

FILES = ("README.md", "docs/DEPLOYMENT.md", "deploy/pasa-web.service", "deploy/compose.yaml", "Dockerfile")
SERVED = ROOT / "configs" / "agent_served.yaml"


def calls(text: str) -> list[tuple[Command, list[str]]]:
    """Every call of a `pasa` command in a text, with its flags."""
    text = re.sub(r"\\\n\s*", " ", text)
    found = [find_command(match[1].split()) for match in re.finditer(r"\bpasa ((?:[a-z]+ ?)[^\n`|;&#]*)", text)]
    return [(command, re.findall(r"--([a-z_]+)", " ".join(rest))) for command, rest in filter(None, found)]


def known_flags(command: Command) -> set[str]:
    return {"help", *(name.lstrip("-") for flag in flags_of(command) for name in flag.names)}


@pytest.mark.parametrize("file", FILES)
def test_every_command_that_is_named_takes_the_flags_it_is_given(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    unknown = [(c.name, flag) for c, flags in calls(text) for flag in flags if flag not in known_flags(c)]
    assert unknown == []


def test_calls_are_found_with_their_flags() -> None:
    found = calls("run `pasa web --port 1 \\\n --no_such 2`; pasa data queries --library L  # --not_this")
    assert [(command.name, flags) for command, flags in found] == [
        ("web", ["port", "no_such"]),
        ("data queries", ["library"]),
    ]
    assert "no_such" not in known_flags(found[0][0])
    text = (ROOT / FILES[1]).read_text(encoding="utf-8")
    assert {"search", "web", "mcp", "serve", "doctor", "download"} <= {command.name for command, _ in calls(text)}


def test_the_served_models_have_the_names_and_ports_of_the_document() -> None:
    models = load_settings(SERVED).models
    text = (ROOT / FILES[1]).read_text(encoding="utf-8")
    for path, base in (
        (models.crawler_path, models.api_base),
        (models.selector_path, models.selector_api_base),
    ):
        port = re.search(r":(\d+)/v1$", str(base))
        assert port is not None
        assert re.search(rf"--served-model-name {path.removeprefix('openai:')} .*--port {port[1]}\b", text)


@pytest.mark.parametrize("unit", sorted((ROOT / "deploy").glob("*.service")), ids=lambda path: path.name)
def test_units_of_systemd_say_what_they_start_and_when(unit: Path) -> None:
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)
    assert parser["Service"]["ExecStart"].startswith("/srv/")
    assert parser["Service"]["User"] == "pasa"
    assert parser["Install"]["WantedBy"] == "multi-user.target"


def test_compose_starts_both_models_and_a_page_that_asks_for_its_token() -> None:
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert set(services) == {"crawler", "selector", "web"}
    web = find_command(services["web"]["command"].split())
    assert web is not None
    flags = re.findall(r"--([a-z_]+)", " ".join(web[1]))
    assert set(flags) <= known_flags(web[0])
    assert services["web"]["environment"]["PASA_WEB_TOKEN"].startswith("${PASA_WEB_TOKEN:?")
    assert all(port.startswith("127.0.0.1:") for port in services["web"]["ports"])


def test_no_secret_or_data_goes_into_the_image() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".env", ".git", "data/*", "checkpoints/*"} <= set(ignored)

"""docs/API.md says what the code says: scripts/write_api_docs.py."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from pasa.config import AgentSettings
from tests.agent_world import ROOT


@pytest.fixture(scope="module")
def writer() -> Any:
    spec = spec_from_file_location("write_api_docs", ROOT / "scripts" / "write_api_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Sample:
    """A record."""

    name: str  # how it is called
    # in seconds,
    # from the start
    delay: float = 1.0
    flags: tuple[bool, ...] = ()  # what holds


def test_the_document_is_up_to_date(writer: Any) -> None:
    is_same = (ROOT / "docs" / "API.md").read_text(encoding="utf-8") == writer.page()
    assert is_same, "run: python scripts/write_api_docs.py"


def test_an_old_document_is_told(
    writer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(writer, "PAGE", tmp_path / "API.md")
    monkeypatch.setattr(writer.sys, "argv", ["write_api_docs.py", "--check"])
    assert writer.main() == 1
    assert "python scripts/write_api_docs.py" in capsys.readouterr().err
    writer.PAGE.write_text(writer.page(), encoding="utf-8")
    assert writer.main() == 0


def test_every_setting_and_public_method_is_in_it(writer: Any) -> None:
    text = writer.page()
    assert [name for name in AgentSettings.__dataclass_fields__ if f"\n{name}: " not in text] == []
    assert "async arun(" in text
    assert "**`search_papers`**" in text
    assert "_opened" not in text


def test_a_field_s_comment_is_found_in_its_lines_or_above(writer: Any) -> None:
    comments = [writer._comment(Sample, name) for name in ("name", "delay", "flags")]
    assert comments == ["  # how it is called", "  # in seconds, from the start", "  # what holds"]


def test_indented_lines_of_a_docstring_become_code(writer: Any) -> None:
    assert writer._prose("Gives.\n\n    run()\n\nMore.") == "Gives.\n\n```python\nrun()\n```\n\nMore."

"""Folders of LoRA adapters that can be moved together with their base."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pasa.models.hf_loading import ADAPTER_FILE
from pasa.results import write_json

_BASE = "base_model_name_or_path"


def name_base_from(folder: Path) -> None:
    """Has the adapter in `folder` name its base as seen from there; nothing where there is no adapter."""
    adapter = folder / ADAPTER_FILE
    if adapter.is_file():
        config = json.loads(adapter.read_text(encoding="utf-8"))
        write_json(adapter, {**config, _BASE: base_seen_from(folder, str(config[_BASE]))})


def base_seen_from(folder: Path, base: str) -> str:
    """The path of a base that is a folder on this machine, relative to `folder`; any other base as it is named."""
    if not Path(base).is_dir():
        return base
    return Path(os.path.relpath(Path(base).resolve(), folder.resolve())).as_posix()

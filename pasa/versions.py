"""What a run was made with, told apart from every other version of it: code, models, library."""

from __future__ import annotations

import hashlib
import subprocess
import tomllib
from pathlib import Path
from typing import Any

from pasa.library import Library
from pasa.library.manifest import Manifest

ROOT = Path(__file__).parents[1]
_GIT_SECONDS = 5.0
_END_BYTES = 2**20  # of a large file that are read: its weights differ from another model's in any part of them
_DIGITS = 16


def code_version() -> str:
    """ "0.1.0 (commit 5b2860f4a1c2)", "-dirty" behind it where files were changed; the version alone without git."""
    try:
        version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        version = "unknown"
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        git = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version} (commit {git.stdout.strip()})"


def model_version(name: str, *files: Path) -> dict[str, Any]:
    """A model's name and what it is told apart by; `files`: what `rules` are made of.

    A folder's digest is of its files' names, sizes and ends; a model behind a server has its name alone.
    """
    if name == "rules":
        return {"name": name, "digest": _digest(files, Path())}
    folder = Path(name)
    if not folder.is_dir():
        return {"name": name, "digest": None}
    inside = sorted(path for path in folder.rglob("*") if path.is_file())
    return {"name": folder.name, "digest": _digest(inside, folder)}


def _digest(files: tuple[Path, ...] | list[Path], root: Path) -> str:
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        name = path.relative_to(root).as_posix() if root.parts else path.name
        digest.update(f"{name}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_END_BYTES))
            file.seek(max(0, size - _END_BYTES))
            digest.update(file.read(_END_BYTES))
    return digest.hexdigest()[:_DIGITS]


def library_version(library: Library | None) -> dict[str, Any] | None:
    """A library's counts, origin and a digest of its manifest; None where none is used."""
    if library is None:
        return None
    manifest: Manifest = library.info()
    return {
        "name": library.path.name,
        "papers": manifest.papers,
        "with_sections": manifest.with_sections,
        "built": manifest.built,
        "sources": list(manifest.sources),
        "digest": hashlib.sha256(repr(manifest).encode()).hexdigest()[:_DIGITS],
    }

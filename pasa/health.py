"""What `pasa doctor` looks at: each check looks at one thing and says what is there and what to do.

A check never raises for what it finds and never shows the value of a key.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pasa.assembly import CHECKPOINTS, choose_model
from pasa.config import Settings
from pasa.errors import PasaError
from pasa.tool_assembly import BUILT_LIBRARY, DEMO, SERPER_KEY, cache_file, choose_engine, choose_retrieval
from pasa.tools.served_library import is_address

ROOT = Path(__file__).parents[1]
WAIT_SECONDS = 3.0  # for one service
GPU_SECONDS = 10.0  # for nvidia-smi
CHECKPOINT_GIB = 15  # of GPU memory that each 7B checkpoint takes in bf16: checkpoints/README.md
LOW_DISK_GIB = 2
_GIB = 1 << 30
_PIN = re.compile(r"([A-Za-z0-9_.\-]+)==([^\s;]+)")

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Check:
    """What was found of one thing, and what to do about it."""

    name: str
    state: State  # note: works without; problem: must be mended
    found: str
    advice: str = ""


@dataclass(frozen=True)
class Key:
    """An environment variable and what it is for."""

    variable: str
    use: str
    source: str  # where it is had


KEYS = (
    Key(SERPER_KEY, "Google and Google Scholar", "serper.dev"),
    Key("OPENALEX_API_KEY", "OpenAlex", "openalex.org/settings/api, free"),
    Key("SEMANTIC_SCHOLAR_API_KEY", "Semantic Scholar without refusals", "semanticscholar.org/product/api, free"),
    Key("OPENAI_API_KEY", "models on a server that asks for a key", "the server's owner"),
)


def check_all(settings: Settings, is_online: bool) -> Iterator[Check]:
    """Every check, in the order in which they are shown; services are asked side by side meanwhile."""
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(work) for work in (_services(settings) if is_online else [])]
        yield check_packages(ROOT / "requirements.txt")
        yield from check_keys(os.environ)
        yield check_gpu()
        for role in ("crawler", "selector"):
            yield check_checkpoint(ROOT / "checkpoints" / CHECKPOINTS[role])
        yield check_library(settings)
        yield check_demo(DEMO)
        yield check_cache(cache_file(settings.tools.cache_dir, ""))
        for answer in asked:
            yield answer.result()
        yield check_choice(settings, is_online)


# -- this machine ------------------------------------------------------------------------------------------------------


def check_packages(requirements: Path) -> Check:
    """Whether the pinned packages are installed."""
    try:
        pins = _PIN.findall(requirements.read_text(encoding="utf-8"))
    except OSError:
        return Check(
            "packages", "note", "no requirements.txt beside the package", "install from a checkout: pip install -e ."
        )
    installed = {name: _version(name) for name, _ in pins}
    missing = [name for name, version in installed.items() if version is None]
    other = [
        f"{name} {installed[name]} (pinned {pin})"
        for name, pin in pins
        if installed[name] and not _is(installed[name], pin)
    ]
    if missing:
        return Check("packages", "problem", f"not installed: {', '.join(missing)}", "pip install -r requirements.txt")
    if other:
        return Check("packages", "note", f"other versions: {', '.join(other)}", "pip install -r requirements.txt")
    return Check("packages", "ok", f"all {len(pins)} as pinned")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _is(version: str | None, pin: str) -> bool:
    return (version or "").split("+")[0] == pin  # 2.13.0+cpu is a build of 2.13.0


def check_keys(environment: Mapping[str, str]) -> Iterator[Check]:
    """Which keys are set; their values are not shown."""
    for key in KEYS:
        value = environment.get(key.variable, "")
        advice = f"only if you want {key.use}: set {key.variable} (from {key.source}), or write it into .env"
        if not value.strip():
            yield Check(key.variable, "note", "not set", advice)
        elif value != value.strip() or value[0] in "\"'":
            yield Check(key.variable, "problem", "has quotes or spaces around it", f"write {key.variable}=value, bare")
        else:
            yield Check(key.variable, "ok", f"set: {key.use}")


def check_gpu() -> Check:
    """Whether there is an NVIDIA GPU, and whether PyTorch can use it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return Check("GPU", "note", "no NVIDIA GPU", "rules and model servers need none; the 7B checkpoints do")
    asked = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=GPU_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return Check("GPU", "note", f"nvidia-smi fails ({type(error).__name__})", "check the driver: nvidia-smi")
    rows = [row.rpartition(",") for row in answer.splitlines() if row.strip()]
    names = ", ".join(f"{name} ({int(mib) / 1024:.0f} GiB)" for name, _, mib in rows)
    if (_version("torch") or "").endswith("+cpu"):
        return Check("GPU", "problem", f"{names}, but PyTorch is a CPU build", "pip install a CUDA build of torch")
    if sum(int(mib) for *_, mib in rows) < 2 * CHECKPOINT_GIB * 1024:
        return Check(
            "GPU", "note", names, f"both 7B checkpoints need {2 * CHECKPOINT_GIB} GiB; one at a time on a server"
        )
    return Check("GPU", "ok", names)


def check_checkpoint(folder: Path) -> Check:
    """Whether a checkpoint is here in full."""
    name = f"checkpoints/{folder.name}"
    command = f"python scripts/download_data.py {folder.name}  (about {CHECKPOINT_GIB} GB)"
    if not folder.is_dir():
        return Check(name, "note", "not here: rules are used instead", command)
    try:
        missing = [file for file in _checkpoint_files(folder) if not (folder / file).is_file()]
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        return Check(name, "problem", f"its index cannot be read ({type(error).__name__})", command)
    if missing:
        return Check(
            name,
            "problem",
            f"not whole: {missing[0]} and {len(missing) - 1} more are missing"
            if len(missing) > 1
            else f"not whole: {missing[0]} is missing",
            command,
        )
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    return Check(name, "ok", f"here, {size / _GIB:.1f} GiB")


def _checkpoint_files(folder: Path) -> list[str]:
    """The files that a checkpoint cannot do without."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        weights = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    else:
        weights = ["model.safetensors"]
    return ["config.json", "tokenizer_config.json", *weights]


def check_library(settings: Settings) -> Check:
    """Whether the library opens, how large it is and how it is searched."""
    from pasa.library import Library

    asked = settings.tools.library
    if asked and is_address(asked):
        return Check("library", "ok", f"a server's: {_host(asked)}")
    path = Path(asked) if asked else BUILT_LIBRARY
    if not path.exists():
        state: State = "problem" if asked else "note"
        advice = "scripts/build_library.py builds one from papers of your own: data/README.md"
        return Check("library", state, f"{path.name}: not here" if asked else "none built", advice)
    try:
        with Library.open(path) as library:
            retrieval = choose_retrieval("auto", library)
            info = library.info()
    except PasaError as error:
        return Check("library", "problem", str(error))
    found = f"{info.papers:,} papers, {info.with_sections:,} with full text; searched by {retrieval.name}"
    advice = (
        ""
        if retrieval.name == "hybrid"
        else f"to search by meaning too: python scripts/embed_library.py --library {path.name}"
    )
    return Check("library", "ok", found, advice)


def check_demo(path: Path) -> Check:
    """Whether the library that ships is here."""
    if path.is_file():
        return Check("demo library", "ok", "here")
    return Check("demo library", "problem", "not here", "install from a checkout: git clone, then pip install -e .")


def check_cache(folder: Path | None) -> Check:
    """Whether answers can be kept, and the room for them."""
    if folder is None:
        return Check("cache", "note", "off", 'leave --cache_dir "" out to keep what was fetched')
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not os.access(there, os.W_OK):
        return Check(
            "cache", "problem", f"{folder} cannot be written to", "choose another: --cache_dir or XDG_CACHE_HOME"
        )
    free = shutil.disk_usage(there).free / _GIB
    if free < LOW_DISK_GIB:
        return Check("cache", "note", f"{folder}: {free:.1f} GiB free", "make room, or choose another: --cache_dir")
    return Check("cache", "ok", f"{folder}: {free:.0f} GiB free")


# -- the world ---------------------------------------------------------------------------------------------------------


def _services(settings: Settings) -> list[partial[Check]]:
    tools = settings.tools
    hosts = {
        "arXiv": tools.arxiv_api_base,
        "Google (serper.dev)": tools.serper_base,
        "OpenAlex": tools.openalex_base,
        "Semantic Scholar": tools.semantic_scholar_base,
        "Hugging Face hub": "https://huggingface.co",
    }
    checks = [partial(check_service, name, url) for name, url in hosts.items()]
    servers = [settings.models.api_base or os.environ.get("OPENAI_BASE_URL"), settings.models.selector_api_base]
    key = os.environ.get("OPENAI_API_KEY")
    return [*checks, *(partial(check_model_server, server, key) for server in dict.fromkeys(servers) if server)]


def check_service(name: str, url: str) -> Check:
    """Whether anything answers there; what it answers does not matter."""
    import requests

    try:
        requests.head(url, timeout=WAIT_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        return Check(name, "note", f"{_host(url)} cannot be reached ({_kind(error)})", "needed only to search there")
    return Check(name, "ok", f"{_host(url)} answers")


def check_model_server(url: str, key: str | None) -> Check:
    """Whether a model server answers, and with which models."""
    import requests

    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        answer = requests.get(f"{url.rstrip('/')}/models", headers=headers, timeout=WAIT_SECONDS, allow_redirects=False)
        if answer.status_code in (401, 403):
            return Check(
                "model server", "problem", f"{_host(url)} refuses the key", "set OPENAI_API_KEY to this server's key"
            )
        models = [str(row["id"]) for row in answer.json()["data"]]
    except requests.RequestException as error:
        return Check(
            "model server",
            "problem",
            f"{_host(url)} cannot be reached ({_kind(error)})",
            "start it: docs/DEPLOYMENT.md",
        )
    except (ValueError, KeyError, TypeError):
        return Check(
            "model server", "problem", f"{_host(url)} is no OpenAI-compatible server", "--api_base must end in /v1"
        )
    return Check(
        "model server",
        "ok",
        f"{_host(url)}: {', '.join(models[:5])}",
        f"use one as openai:{models[0]}" if models else "",
    )


def _kind(error: Exception) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()


def _host(url: str) -> str:
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] or url


# -- all together ------------------------------------------------------------------------------------------------------


def check_choice(settings: Settings, is_online: bool) -> Check:
    """What a search that names nothing would use."""
    tools = settings.tools
    if not is_online and tools.engine == "auto" and not tools.library and not os.environ.get(SERPER_KEY):
        tools = replace(tools, engine="library" if BUILT_LIBRARY.exists() else "demo")
    try:
        engine = choose_engine(tools)
    except PasaError as error:
        return Check("a search", "problem", str(error))
    models = settings.models
    crawler, selector = choose_model(models.crawler_path, "crawler"), choose_model(models.selector_path, "selector")
    found = f"engine {engine.name}, Crawler {Path(crawler.name).name}, Selector {Path(selector.name).name}"
    advice = (
        f"the demo library has few papers: set {SERPER_KEY}, or --engine arxiv, or --library"
        if engine.name == "demo"
        else ""
    )
    return Check("a search", "ok", found, advice)

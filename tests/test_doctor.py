"""`pasa doctor`: what it finds, what it says to do, what it never shows. pasa/health.py, doctor.py."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pasa.config import Settings, ToolSettings
from pasa.doctor import main, shown
from pasa.health import (
    KEYS,
    Check,
    check_cache,
    check_checkpoint,
    check_choice,
    check_demo,
    check_gpu,
    check_keys,
    check_library,
    check_model_server,
    check_packages,
    check_service,
)
from pasa.library import build_library
from tests.agent_world import MODEL_SECRET, SECRET


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No key, no library, no .env file."""
    monkeypatch.chdir(tmp_path)
    for key in KEYS:
        monkeypatch.setenv(key.variable, "")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("pasa.health.BUILT_LIBRARY", tmp_path / "none")
    monkeypatch.setattr("pasa.tool_assembly.BUILT_LIBRARY", tmp_path / "none")
    return monkeypatch


class ModelsServer(BaseHTTPRequestHandler):
    """Lists a model to those who bear the key."""

    def do_GET(self) -> None:
        knows = self.headers.get("authorization") == f"Bearer {MODEL_SECRET}"
        body = json.dumps({"data": [{"id": "pasa-7b"}]} if self.path == "/v1/models" else {}).encode()
        self.send_response(200 if knows else 401)
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def models_url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), ModelsServer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


def closed_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def states(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.state for check in checks}


# -- the command -------------------------------------------------------------------------------------------------------


def test_a_bare_machine_is_ready_and_told_so_quickly(
    machine: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    assert main(["--offline"]) == 0
    assert time.monotonic() - started < 20
    said = capsys.readouterr().out
    assert said.splitlines()[-1].startswith("ready: ")
    assert "engine demo" in said
    assert "> only if you want Google" in said


def test_a_problem_is_marked_counted_and_the_exit_code(
    machine: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["--offline", "--library", str(tmp_path / "no such library")]) == 1
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.startswith("!!")]
    assert "to mend" in said.splitlines()[-1]


def test_programs_read_it_as_json(machine: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--offline", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert {row["state"] for row in rows} <= {"ok", "note", "problem"}
    assert {"packages", "GPU", "library", "a search"} <= {row["name"] for row in rows}


def test_no_secret_is_shown(machine: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], models_url: str) -> None:
    for key in KEYS:
        machine.setenv(key.variable, MODEL_SECRET if key.variable == "OPENAI_API_KEY" else SECRET)
    (Path.cwd() / ".env").write_text("S2_API_KEY=sk-from-the-file\n")
    bases = models_url.replace("//", "//user:sk-in-the-address@")
    for flags in (["--offline"], ["--offline", "--json"], ["--offline", "--api_base", bases]):
        main(flags)
    said = "".join(capsys.readouterr())
    assert "sk-" not in said
    assert "SERPER_API_KEY" in said


def test_an_env_file_that_cannot_be_read_is_told(
    machine: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / ".env").write_bytes(b"KEY=\xff\xfe")
    assert main(["--offline"]) == 2
    assert ".env" in capsys.readouterr().err


def test_keys_of_an_env_file_count_as_set(
    machine: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    machine.delenv("SERPER_API_KEY")
    (tmp_path / ".env").write_text("SERPER_API_KEY=abc\n")
    main(["--offline"])
    assert "set: Google" in capsys.readouterr().out
    machine.setenv("SERPER_API_KEY", "")  # what the file set goes with the test


def test_advice_stands_under_what_was_found() -> None:
    assert shown(Check("GPU", "note", "none", "buy one")).splitlines()[1].endswith("> buy one")
    assert "\n" not in shown(Check("GPU", "ok", "one"))


# -- this machine ------------------------------------------------------------------------------------------------------


def test_packages_are_compared_with_the_pins(tmp_path: Path) -> None:
    pins = tmp_path / "requirements.txt"
    pins.write_text("# a comment\nnumpy==0.0.1\n")
    assert (check_packages(pins).state, "pinned 0.0.1" in check_packages(pins).found) == ("note", True)
    pins.write_text("surely-no-such-package==1.0  # why\n")
    assert (check_packages(pins).state, "surely-no-such-package" in check_packages(pins).found) == ("problem", True)
    assert check_packages(tmp_path / "none").state == "note"


@pytest.mark.parametrize(
    ("value", "state"), [("", "note"), ("  ", "note"), ("abc", "ok"), ('"abc"', "problem"), ("abc ", "problem")]
)
def test_a_key_is_set_missing_or_badly_written(value: str, state: str) -> None:
    assert states(list(check_keys({"SERPER_API_KEY": value})))["SERPER_API_KEY"] == state


def test_a_checkpoint_is_whole_only_with_every_file(tmp_path: Path) -> None:
    folder = tmp_path / "pasa-7b-crawler"
    assert (check_checkpoint(folder).state, "download_data.py" in check_checkpoint(folder).advice) == ("note", True)
    folder.mkdir()
    for name in ("config.json", "tokenizer_config.json", "model-1.safetensors"):
        (folder / name).write_text("{}")
    shards = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(shards))
    assert "model-2.safetensors" in check_checkpoint(folder).found
    assert check_checkpoint(folder).state == "problem"
    (folder / "model-2.safetensors").write_text("{}")
    assert check_checkpoint(folder).state == "ok"
    (folder / "model.safetensors.index.json").write_text("[]")
    assert check_checkpoint(folder).state == "problem"


def gpu_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, code: int = 0) -> Check:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{text}'\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda _: str(program))
    monkeypatch.setattr("pasa.health._version", lambda _: "2.13.0")
    return check_gpu()


def test_a_gpu_is_named_with_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = gpu_says(tmp_path, monkeypatch, "NVIDIA H100 80GB HBM3, 81559\\n")
    assert (large.state, large.found) == ("ok", "NVIDIA H100 80GB HBM3 (80 GiB)")
    assert "one at a time" in gpu_says(tmp_path, monkeypatch, "NVIDIA T4, 15360\\n").advice
    assert gpu_says(tmp_path, monkeypatch, "", code=9).state == "note"


def test_a_gpu_that_this_torch_cannot_use_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_says(tmp_path, monkeypatch, "NVIDIA T4, 15360\\n")
    monkeypatch.setattr("pasa.health._version", lambda _: "2.13.0+cpu")
    assert (check_gpu().state, "CUDA build" in check_gpu().advice) == ("problem", True)


def test_a_library_is_counted_or_told_broken(machine: pytest.MonkeyPatch, tmp_path: Path, world_library: Path) -> None:
    assert check_library(Settings()).state == "note"
    build_library([world_library], tmp_path / "L")
    settings = Settings(tools=ToolSettings(library=str(tmp_path / "L")))
    assert "8 papers, 3 with full text; searched by bm25" in check_library(settings).found
    next((tmp_path / "L").glob("gen-*/papers.sqlite")).write_bytes(b"cut off")
    assert (check_library(settings).state, "--fresh" in check_library(settings).found) == ("problem", True)
    assert check_library(Settings(tools=ToolSettings(library="http://127.0.0.1:1"))).state == "ok"


def test_what_ships_and_where_answers_are_kept(tmp_path: Path) -> None:
    assert check_demo(tmp_path / "papers.jsonl").state == "problem"
    assert check_cache(None).state == "note"
    assert check_cache(tmp_path / "not yet" / "there").state == "ok"


# -- the world ---------------------------------------------------------------------------------------------------------


def test_a_service_answers_or_does_not(models_url: str) -> None:
    assert check_service("there", models_url).state == "ok"  # even with 404
    gone = check_service("gone", closed_url())
    assert (gone.state, "cannot be reached (connection error)" in gone.found) == ("note", True)


def test_a_model_server_tells_its_models_or_what_is_wrong(models_url: str) -> None:
    there = check_model_server(models_url, MODEL_SECRET)
    assert (there.state, "pasa-7b" in there.found, there.advice) == ("ok", True, "use one as openai:pasa-7b")
    assert "refuses the key" in check_model_server(models_url, "wrong").found
    assert "/v1" in check_model_server(models_url.removesuffix("/v1"), MODEL_SECRET).advice
    assert check_model_server(closed_url(), None).state == "problem"


def test_what_stands_before_a_host_in_an_address_is_not_shown(models_url: str) -> None:
    secret = models_url.replace("//", "//user:sk-in-the-address@")
    checks = [check_service("there", secret), check_model_server(secret, MODEL_SECRET)]
    checks += [check_model_server(closed_url().replace("//", "//user:sk-in-the-address@"), None)]
    assert "sk-" not in "".join(map(shown, checks))
    assert "127.0.0.1" in checks[0].found


def test_it_says_what_a_search_would_use(machine: pytest.MonkeyPatch, world_library: Path) -> None:
    library = Settings(tools=ToolSettings(library=str(world_library)))
    assert "engine library" in check_choice(library, is_online=False).found
    assert "engine demo" in check_choice(Settings(), is_online=False).found
    serper = Settings(tools=ToolSettings(engine="serper"))
    assert (check_choice(serper, is_online=False).state, "SERPER_API_KEY" in check_choice(serper, False).found) == (
        "problem",
        True,
    )

"""The command `pasa`: what each word starts, what is said where none fits, completion. pasa/cli.py, completion.py."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pasa.cli import help_text, main
from pasa.commands import COMMANDS, find_command
from pasa.completion import SHELLS, Flag, completion, flags_in, flags_of
from pasa.flags import OneLineParser
from tests.agent_world import ROOT
from trl_ext.session_ppo.run_settings import flag_names
from trl_ext.sft_settings import SftSettings


def pasa(*words: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pasa", *words],
        cwd=cwd or ROOT,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=100,
    )


# -- what each word starts ---------------------------------------------------------------------------------------------


def test_every_command_starts_something_that_is_there() -> None:
    assert [command.name for command in COMMANDS if not command.files or not command.files[0].exists()] == []
    assert len({command.words for command in COMMANDS}) == len(COMMANDS)


def test_two_words_name_a_command_and_the_rest_is_its_own() -> None:
    found = find_command(["library", "build", "--out", "L", "search"])
    assert found is not None
    assert (found[0].target, found[1]) == ("scripts/build_library.py", ["--out", "L", "search"])
    assert find_command(["library"]) is None


@pytest.mark.parametrize(
    "words", [("search", "--help"), ("eval", "--help"), ("library", "build", "--help"), ("doctor", "--help")]
)
def test_a_command_takes_what_it_takes_by_itself(words: tuple[str, ...]) -> None:
    done = pasa(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: pasa {' '.join(words[:-1])} [")


def test_no_command_answers_a_wrong_flag_with_its_usage() -> None:
    plain = [
        command.name
        for command in COMMANDS
        if any(" parser = argparse.ArgumentParser(" in file.read_text() for file in command.files)
    ]
    assert plain == []


@pytest.mark.parametrize("words", [("--port", "x"), ("--what",)])
def test_a_wrong_flag_is_told_in_one_line(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    parser = OneLineParser()
    parser.add_argument("--port", type=int)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(words)
    told = capsys.readouterr().err
    assert (ended.value.code, told.count("\n"), told.startswith("error: ")) == (2, 1, True)
    assert words[0] in told


def test_a_command_s_exit_code_and_words_are_passed_on(tmp_path: Path) -> None:
    done = pasa("eval", "--output_folder", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere" in done.stderr


def test_a_search_searches(world_library: Path, tmp_path: Path, shared_cache: Path) -> None:
    flags = ["--library", str(world_library), "--crawler_path", "rules", "--selector_path", "rules"]
    flags += ["--max_papers_scored", "0", "--format", "json", "--quiet"]  # no score, so that no encoder is loaded
    done = pasa("search", "tools for agents", *flags, cwd=tmp_path, XDG_CACHE_HOME=str(shared_cache))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["query"] == "tools for agents"


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m pasa doctor --offline | head -1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


# -- where none fits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["serach", "x"], "did you mean `pasa search`?"),
        (["which papers study UCB?"], 'pasa search "which papers study UCB?"'),
        (["xyzzy"], "`pasa --help` lists them"),
    ],
)
def test_a_word_that_is_no_command_gets_a_hint(words: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert hint in said.err
    assert said.out == ""


@pytest.mark.parametrize("words", [[], ["--help"], ["help"]])
def test_help_lists_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    said = capsys.readouterr().out
    assert [command.name for command in COMMANDS if command.about not in said] == []
    assert max(map(len, said.splitlines())) <= 100


def test_half_a_command_lists_what_may_follow(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["library"]) == 0
    said = capsys.readouterr().out
    assert "library embed" in said
    assert "doctor  " not in said
    assert main(["library", "bulid"]) == 2


def test_a_script_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pasa.commands.ROOT", tmp_path)
    assert main(["eval"]) == 2


def test_help_is_made_of_the_commands() -> None:
    assert help_text(COMMANDS[:1]).endswith(COMMANDS[0].about)


# -- completion --------------------------------------------------------------------------------------------------------


def complete(script: Path, line: str) -> list[str]:
    """What bash offers at the end of the line."""
    words = line.split(" ")
    ask = f"""
        source {script}
        COMP_WORDS=({" ".join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}
        COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}
        _shtab_pasa; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=60)
    return done.stdout.split()


def test_bash_completes_commands_flags_and_choices(tmp_path: Path) -> None:
    script = tmp_path / "pasa.bash"
    script.write_text(completion("bash"))
    assert {"search", "doctor", "library", "train"} <= set(complete(script, "pasa "))
    assert complete(script, "pasa doc") == ["doctor"]
    assert complete(script, "pasa library e") == ["embed"]
    assert complete(script, "pasa search --exp") == ["--expand_layers", "--expand_papers"]
    assert complete(script, "pasa search --retrieval h") == ["hybrid"]
    assert {"table", "bibtex"} <= set(complete(script, "pasa search --format "))


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_every_command_and_the_flags_of_a_search(shell: str) -> None:
    text = completion(shell)
    assert [command.words[-1] for command in COMMANDS if command.words[-1] not in text] == []
    assert "expand_layers" in text
    assert "max_seconds" in text


@pytest.mark.parametrize(
    ("words", "settings", "others"),
    [
        ("train ppo", set(flag_names()), {"config"}),
        ("train compare", set(flag_names()), {"config", "crawlers"}),
        ("train sft", {field.name for field in dataclasses.fields(SftSettings)}, {"config"}),
    ],
)
def test_training_is_completed_with_every_setting_as_a_flag(words: str, settings: set[str], others: set[str]) -> None:
    found = find_command(words.split())
    assert found is not None
    assert {name.lstrip("-") for flag in flags_of(found[0]) for name in flag.names} == settings | others


def test_settings_of_training_that_take_one_of_a_few_words_are_completed_with_them() -> None:
    flags = {name: flag.choices for flag in flags_of(find_command(["train", "ppo"])[0]) for name in flag.names}
    assert flags["--lr_schedule"] == ("constant", "linear")
    assert flags["--on_failure"] == ("go_on", "stop")
    assert flags["--whiten"] == ("true", "false")
    assert flags["--steps"] == ()


def test_completing_imports_no_model_library() -> None:
    script = (
        "import sys, pasa.completion as c; c.completion('bash'); print('torch' in sys.modules, 'mcp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_flags_are_read_off_source() -> None:
    source = """
NAMES = ("engine", "library")
add = parser.add_argument
add("query", nargs="?")
add("--input_file", "-i", type=Path, help="questions, 100% of them")
add("--quiet", "-q", action="store_true", help="say nothing")
add("--mode", choices=["a", "b"], help="how")
add("--secret", help=argparse.SUPPRESS)
for name in NAMES:
    add(f"--{name}", help="as elsewhere")
for field in fields(Settings):
    add(f"--{field}", help="unknown here")
startswith("--nothing")
"""
    assert list(flags_in(source)) == [
        Flag(("--input_file", "-i"), "questions, 100%% of them"),
        Flag(("--quiet", "-q"), "say nothing", takes_value=False),
        Flag(("--mode",), "how", choices=("a", "b")),
        Flag(("--engine",), "as elsewhere"),
        Flag(("--library",), "as elsewhere"),
    ]


def test_flags_that_a_command_shares_with_its_parts_come_once() -> None:
    [search] = [command for command in COMMANDS if command.name == "search"]
    names = [name for flag in flags_of(search) for name in flag.names]
    assert len(names) == len(set(names)) > 40

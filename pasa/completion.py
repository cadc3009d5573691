"""What completes the commands of `pasa` and their flags in a shell.

    pasa completion bash > ~/.local/share/bash-completion/completions/pasa
    pasa completion zsh > ~/.zfunc/_pasa                  (~/.zfunc must be in fpath before compinit)
    pasa completion fish > ~/.config/fish/completions/pasa.fish

Flags are read off the commands' source, so that nothing of theirs is imported: torch alone would take seconds.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pasa.commands import COMMANDS, ROOT, Command, commands_under
from pasa.config import ENGINES, AgentSettings, ModelSettings, ToolSettings
from pasa.export.formats import FORMATS
from pasa.flags import OneLineParser

SHELLS = ("bash", "zsh", "fish")
_FOLDERS = (
    "output_folder",
    "output_dir",
    "library",
    "cache_dir",
    "data_dir",
    "out",
    "crawler_path",
    "selector_path",
    "model_name_or_path",
)
# Records whose fields are flags without being named in source.
_RECORDS: Mapping[str, tuple[type[Any], ...]] = {"web": (ModelSettings, ToolSettings)}
# Where fields that are flags too are declared, as a record's or as names by group; file -> names.
_PPO: Mapping[str, tuple[str, ...]] = {
    "trl_ext/session_ppo/run_settings.py": ("RunSettings", "SHOWN"),
    "trl_ext/session_ppo/settings.py": ("PolicySettings", "PpoSettings"),
    "trl_ext/session_ppo/rewards.py": ("RewardSettings",),
    "trl_ext/session_ppo/rollouts.py": ("RolloutSettings",),
}
_DECLARED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "train ppo": _PPO,
    "train compare": _PPO,
    "train sft": {"trl_ext/sft_settings.py": ("SftSettings",)},
}
_FLAG = re.compile("--?[A-Za-z][A-Za-z0-9_-]*")
_NO_VALUE = ("store_true", "store_false", "store_const", "count", "help", "version")


@dataclass(frozen=True)
class Flag:
    """A flag as its command declares it."""

    names: tuple[str, ...]
    about: str = ""
    takes_value: bool = True
    choices: tuple[str, ...] = ()


def main() -> int:
    parser = OneLineParser(
        prog="pasa completion", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shell", choices=SHELLS)
    print(completion(parser.parse_args().shell))
    return 0


def completion(shell: str) -> str:
    """The text that the shell reads."""
    import shtab

    return str(shtab.complete(commands_parser(), shell))


def commands_parser() -> argparse.ArgumentParser:
    """All commands with their flags, for completing only."""
    root = argparse.ArgumentParser(prog="pasa", add_help=False)
    below = root.add_subparsers()
    groups: dict[str, Any] = {}
    for command in COMMANDS:
        place = below
        if len(command.words) > 1:
            group = command.words[0]
            if group not in groups:
                about = "; ".join(one.about for one in commands_under(group))
                groups[group] = below.add_parser(group, help=about, add_help=False).add_subparsers()
            place = groups[group]
        _declare(place.add_parser(command.words[-1], help=command.about), command)
    return root


def _declare(parser: argparse.ArgumentParser, command: Command) -> None:
    import shtab

    if command.target == "pasa.completion":
        parser.add_argument("shell", choices=SHELLS)
    for flag in flags_of(command):
        if not flag.takes_value:
            parser.add_argument(*flag.names, help=flag.about, action="store_true")
            continue
        name = flag.names[-1].lstrip("-")
        action: Any = parser.add_argument(
            *flag.names, help=flag.about, choices=flag.choices or _known_choices().get(name)
        )
        if not action.choices:
            action.complete = shtab.DIRECTORY if name in _FOLDERS else shtab.FILE


def _known_choices() -> Mapping[str, tuple[str, ...]]:
    """Settings that take one of a few words."""
    hints = {
        n: h
        for record in (AgentSettings, ModelSettings, ToolSettings)
        for n, h in typing.get_type_hints(record).items()
    }
    words = {
        name: tuple(map(str, typing.get_args(hint)))
        for name, hint in hints.items()
        if typing.get_origin(hint) is typing.Literal
    }
    return {**words, "engine": ENGINES, "format": ("table", "tree", *FORMATS), "device": ("auto", "cpu", "cuda", "mps")}


# -- reading flags off source ------------------------------------------------------------------------------------------


def flags_of(command: Command) -> list[Flag]:
    """The flags that the command's source declares, each once, in order."""
    found: dict[tuple[str, ...], Flag] = {}
    for file in _sources(command):
        for flag in flags_in(file.read_text(encoding="utf-8")):
            found.setdefault(flag.names, flag)
    named = [Flag((f"--{f.name}",)) for record in _RECORDS.get(command.name, ()) for f in fields(record)]
    for path, places in _DECLARED.get(command.name, {}).items():
        named += fields_in((ROOT / path).read_text(encoding="utf-8"), places)
    for flag in named:
        found.setdefault(flag.names, flag)
    taken: set[str] = {"-h", "--help"}
    kept = []
    for flag in found.values():
        if not taken & set(flag.names):
            taken |= set(flag.names)
            kept.append(flag)
    return kept


def _sources(command: Command) -> tuple[Path, ...]:
    """The files that hold the command's parser: those that only start another name that one."""
    elsewhere = {
        "search": "pasa/app_flags.py",
        "export": "pasa/export/command.py",
        "data queries": "pasa/training_data/command.py",
        "data selector": "pasa/training_data/command.py",
        "data crawler": "pasa/training_data/command.py",
    }
    more = (ROOT / elsewhere[command.name],) if command.name in elsewhere else ()
    return tuple(file for file in (*command.files, *more) if file.exists())


def fields_in(source: str, places: Sequence[str]) -> Iterator[Flag]:
    """The fields of the records that `places` name, and the names in a mapping of that name, as flags in order."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name in places:
            for one in node.body:
                if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
                    yield Flag((f"--{one.target.id}",), choices=_words_of(one.annotation))
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id in places for t in node.targets):
            yield from (Flag((f"--{n}",)) for names in ast.literal_eval(node.value).values() for n in sorted(names))


def _words_of(annotation: ast.AST) -> tuple[str, ...]:
    """What Literal["a", "b"] allows; () for another annotation."""
    if isinstance(annotation, ast.Name) and annotation.id == "bool":
        return ("true", "false")
    literal = isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value).endswith("Literal")
    return tuple(_constants(annotation.slice)) if literal else ()  # type: ignore[attr-defined]


def flags_in(source: str) -> Iterator[Flag]:
    """The flags in calls such as add_argument("--name", help="..."), in order; loops over fixed names are unrolled."""
    tree = ast.parse(source)
    fixed = {
        t.id: n.value for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)
    }
    looped: dict[ast.AST, tuple[str, list[str]]] = {}
    for loop in ast.walk(tree):
        if isinstance(loop, ast.For) and isinstance(loop.target, ast.Name):
            over = fixed.get(loop.iter.id) if isinstance(loop.iter, ast.Name) else loop.iter
            names = _constants(over)
            looped.update(dict.fromkeys(ast.walk(loop), (loop.target.id, names)))
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and call.args:
            for name, value in [(looped[call][0], v) for v in looped[call][1]] if call in looped else [("", "")]:
                flag = _flag(call, {name: value})
                if flag:
                    yield flag


def _flag(call: ast.Call, values: Mapping[str, str]) -> Flag | None:
    texts = [_text(argument, values) for argument in call.args]
    names = tuple(text for text in texts if _FLAG.fullmatch(text))
    options = {keyword.arg: keyword.value for keyword in call.keywords}
    if not names or len(names) != len(texts) or not {"help", "action", "type", "default", "metavar"} & options.keys():
        return None
    if isinstance(options.get("help"), ast.Attribute):  # argparse.SUPPRESS
        return None
    action = _text(options.get("action"), values)
    return Flag(
        names,
        _text(options.get("help"), values).replace("%", "%%"),
        action not in _NO_VALUE and "Boolean" not in ast.dump(options.get("action", ast.Constant(""))),
        tuple(_constants(options.get("choices"))),
    )


def _text(node: ast.AST | None, values: Mapping[str, str]) -> str:
    """The text of a constant or of an f-string of constants and known names; "" for anything else."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.FormattedValue) else part for part in node.values]
        return "".join(
            values.get(part.id, "...") if isinstance(part, ast.Name) else _text(part, values) for part in parts
        )
    return ""


def _constants(node: ast.AST | None) -> list[str]:
    """The texts of a tuple or list of constants; [] for anything else."""
    items = node.elts if isinstance(node, ast.Tuple | ast.List) else []
    return [str(i.value) for i in items if isinstance(i, ast.Constant)] if _are_constant(items) else []


def _are_constant(items: Sequence[ast.AST]) -> bool:
    return all(isinstance(item, ast.Constant) for item in items)


if __name__ == "__main__":
    sys.exit(main())

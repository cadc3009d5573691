"""The command `pasa`, also `python -m pasa`: hands over to what each command names, with the words behind it."""

from __future__ import annotations

import difflib
import os
import runpy
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import NoReturn

from pasa.commands import COMMANDS, Command, commands_under, find_command
from pasa.errors import ConfigError

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it
_HEAD = """\
usage: pasa COMMAND ...     (pasa COMMAND --help says what it takes)

  pasa search "which papers study UCB for non-stationary RL?"
  pasa doctor
"""


def run() -> NoReturn:
    """The process `pasa`; leaves with the command's exit code."""
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def main(words: Sequence[str]) -> int:
    """Starts the command that the words name; the exit code, where the command does not leave by itself."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(help_text(COMMANDS))
        return 0
    try:
        found = find_command(words)
        if found is None:
            return _told_what_there_is(words)
        start(*found)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def start(command: Command, arguments: Sequence[str]) -> None:
    """Runs the command in this process as if it had been started by itself. Raises what it raises, SystemExit first."""
    # Its help calls it by this name; runpy.run_path would put the script's path there.
    sys.argv = [f"pasa {command.name}", *arguments]
    if not command.is_script:
        runpy.run_module(command.target, run_name="__main__", alter_sys=False)
        return
    if not command.script.exists():
        raise ConfigError(f"`pasa {command.name}` needs the repository: clone it, and there `pip install -e .`")
    program = ModuleType("__main__")
    program.__file__ = str(command.script)
    sys.modules["__main__"] = program  # what processes that it starts look for
    exec(compile(command.script.read_bytes(), program.__file__, "exec"), vars(program))


def help_text(commands: Iterable[Command]) -> str:
    """How `pasa` is called."""
    commands = list(commands)
    width = max(len(command.name) for command in commands)
    return "\n".join([_HEAD, *(f"  {command.name:{width}}  {command.about}" for command in commands)])


def _told_what_there_is(words: Sequence[str]) -> int:
    """Says which commands a word that is none may have meant; the exit code. Raises ConfigError."""
    group = commands_under(words[0])
    if group:
        is_asked = len(words) == 1 or words[1] in ("-h", "--help")
        print(help_text(group), file=sys.stdout if is_asked else sys.stderr)
        return 0 if is_asked else ConfigError.exit_code
    near = difflib.get_close_matches(words[0], [command.words[0] for command in COMMANDS], 1)
    hint = f"did you mean `pasa {near[0]}`?" if near else "`pasa --help` lists them"
    if words[0].count(" "):
        hint = f'a question goes to search: pasa search "{words[0]}"'
    raise ConfigError(f"there is no command {words[0]!r}; {hint}")


if __name__ == "__main__":
    run()

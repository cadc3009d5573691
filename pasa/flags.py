"""Parsers of commands' flags whose complaints are one line."""

from __future__ import annotations

import argparse
from typing import NoReturn

from pasa.errors import ConfigError

_TO_MEND = 2  # the exit code of a call that has something to mend


class OneLineParser(argparse.ArgumentParser):
    """Ends the process with one line and exit code 2 where flags are wrong, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(_TO_MEND, f"error: {_told(message)}\n")


class RaisingParser(argparse.ArgumentParser):
    """Raises ConfigError where flags are wrong, for commands that tell all mistakes in one place."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(_told(message))


def _told(message: str) -> str:
    return f"{message}; --help lists what there is"

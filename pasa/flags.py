"""The parser of commands' flags whose complaints are one line."""

from __future__ import annotations

import argparse
from typing import NoReturn

_TO_MEND = 2  # the exit code of a call that has something to mend


class OneLineParser(argparse.ArgumentParser):
    """Ends the process with one line and exit code 2 where flags are wrong, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(_TO_MEND, f"error: {message}; --help lists what there is\n")

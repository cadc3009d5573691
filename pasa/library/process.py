"""Processes that do a piece of a build: the same Python with this package, started so that a program that builds a
library needs no `__main__` guard, as multiprocessing would.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def start_process(function: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """A process that calls "package.module:function" with these texts; `options` are Popen's. Raises OSError."""
    module, _, name = function.partition(":")
    program = f"import sys; from {module} import {name}; {name}(*sys.argv[1:])"
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen([sys.executable, "-c", program, *arguments], env=environment, **options)

#!/usr/bin/env python
"""Writes docs/API.md from the docstrings and signatures of what programs may use.

python scripts/write_api_docs.py
python scripts/write_api_docs.py --check      exit code 1 where the file is not up to date
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import io
import sys
import textwrap
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa import api, config, errors, events, paper, query, result_tree, runtime
from pasa.commands import COMMANDS
from pasa.export.formats import FORMATS
from pasa.mcp import records, server
from pasa.models import base as models
from pasa.tools import base as tools

PAGE = Path(__file__).resolve().parents[1] / "docs" / "API.md"
WIDTH = 100  # of a signature on one line

_HEAD = """\
# API

Made by `python scripts/write_api_docs.py` from docstrings; a test holds it up to date.

```python
from pasa import PaperAgent

with PaperAgent() as agent:  # takes what is there; at worst the demo library
    for found in agent.run("which papers study UCB for non-stationary RL?").selected:
        print(found.rank, round(found.score, 2), found.paper.title, found.paper.url)
```

`examples/` holds programs that run in the tests: a live view, several questions at once, an engine and a Selector of
one's own.
"""

# Heading, an opening line, and what stands under it.
_PARTS: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("The agent", "`from pasa import PaperAgent`", (api.PaperAgent,)),
    (
        "Questions and results",
        "`from pasa import Query, RunResult, RankedPaper, Paper`; the rest from `pasa.events`, `pasa.paper`.",
        (
            *(query.Query, events.RunResult, result_tree.RankedPaper, paper.Paper, paper.Section, paper.Reference),
            *(result_tree.Node, events.RunStats),
        ),
    ),
    (
        "Events",
        "What `stream` and `astream` give, in the order in which it happened. From `pasa.events`.",
        (
            *(events.LayerStarted, events.ActionsTaken, events.PapersFound, events.PaperScored, events.Problem),
            *(events.SessionDone, events.LayerDone, events.RunDone),
        ),
    ),
    (
        "Settings",
        "Each is a keyword of `PaperAgent(...)`, a flag of the command line, and a line of a YAML file.",
        (config.AgentSettings, config.ModelSettings, config.ToolSettings),
    ),
    (
        "Parts of one's own",
        "Whatever has these methods goes into `pasa.runtime.PaperAgent`, which `pasa.PaperAgent` puts together.",
        (
            *(runtime.PaperAgent, tools.SearchEngine, tools.PaperSource, tools.CitationSource, tools.SearchHit),
            *(models.Generator, models.Scorer, models.CrawlRequest, models.SelectRequest, models.Reply),
        ),
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; say whether the file is up to date")
    options = parser.parse_args()
    text = page()
    if not options.check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        print(f"{PAGE.name} is not up to date: python scripts/write_api_docs.py", file=sys.stderr)
        return 1
    return 0


def page() -> str:
    """The whole document."""
    parts = [_HEAD]
    for heading, opening, things in _PARTS:
        parts += [f"## {heading}\n", f"{opening}\n", *(block for thing in things for block in _class_blocks(thing))]
    parts += ["## Errors\n", _errors(), "## Export formats\n", _formats(), "## MCP tools\n", _mcp_tools()]
    parts += ["## Commands\n", _commands()]
    return "\n".join(parts)


# -- classes -----------------------------------------------------------------------------------------------------------


def _class_blocks(kind: type) -> Iterator[str]:
    yield f"### `{kind.__module__}.{kind.__name__}`\n"
    made = (
        []
        if _is_protocol(kind) or dataclasses.is_dataclass(kind)
        else [_signature(kind.__name__, vars(kind)["__init__"])]
    )
    if made:
        yield _code(made)
    if kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}("):  # as dataclass writes it where there is none
        yield f"{_prose(kind.__doc__)}\n"
    if dataclasses.is_dataclass(kind):
        yield _code([f"{f.name}: {f.type}{_default(f)}{_comment(kind, f.name)}" for f in dataclasses.fields(kind)])
    for name, member in vars(kind).items():
        if not name.startswith("_") and _is_public_callable(member):
            yield from _member_blocks(name, member)


def _member_blocks(name: str, member: Any) -> Iterator[str]:
    if isinstance(member, property):
        yield f"**`.{name}`** — {_prose(member.__doc__) or _returns(member.fget)}\n"
        return
    function = getattr(member, "__func__", member)  # of a class method
    yield _code([_signature(name, function)])
    yield f"{_prose(function.__doc__)}\n"


def _is_public_callable(member: Any) -> bool:
    return isinstance(member, property | classmethod) or inspect.isfunction(member)


def _is_protocol(kind: type) -> bool:
    return bool(getattr(kind, "_is_protocol", False))


def _signature(name: str, function: Any) -> str:
    """`name(arguments) -> type`, on several lines where it is long."""
    signature = inspect.signature(function)
    arguments = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
    returns = (
        "" if signature.return_annotation in (inspect.Signature.empty, "None") else f" -> {signature.return_annotation}"
    )
    kind = "async " if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function) else ""
    words = _argument_words(arguments)
    line = f"{kind}{name}({', '.join(words)}){returns}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{kind}{name}(", *(f"    {word}," for word in words), f"){returns}"])


def _argument_words(arguments: list[inspect.Parameter]) -> list[str]:
    words: list[str] = []
    for argument in arguments:
        if argument.kind is argument.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        star = "**" if argument.kind is argument.VAR_KEYWORD else ""
        default = "" if argument.default is argument.empty else f" = {_short(argument.default)}"
        words.append(f"{star}{argument.name}: {argument.annotation}{default}")
    return words


def _short(value: Any) -> str:
    return getattr(value, "__name__", None) or repr(value)


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f" = {field.default!r}"
    return f" = {_short(field.default_factory)}()" if field.default_factory is not dataclasses.MISSING else ""


def _comment(kind: type, name: str) -> str:
    """What the source says of a field: in its lines, or else in the lines before it."""
    source = textwrap.dedent(inspect.getsource(kind))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}
    [body] = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name:
            own = [comments[line] for line in range(node.lineno, (node.end_lineno or 0) + 1) if line in comments]
            above = node.lineno - 1
            while not own and above in comments and source.splitlines()[above - 1].strip().startswith("#"):
                above -= 1
            said = own or [comments[line] for line in range(above + 1, node.lineno)]
            return "".join(f"  # {' '.join(text.lstrip('# ') for text in said)}" if said else "")
    return ""


def _returns(function: Any) -> str:
    return f"`{inspect.signature(function).return_annotation}`"


def _prose(docstring: str | None) -> str:
    """The docstring with its indented blocks as code."""
    blocks = inspect.cleandoc(docstring or "").split("\n\n")
    return "\n\n".join(
        _code([textwrap.dedent(block)]).rstrip() if block.startswith("    ") else block for block in blocks
    )


def _code(lines: list[str]) -> str:
    return "```python\n" + "\n".join(lines) + "\n```\n"


# -- the rest ----------------------------------------------------------------------------------------------------------


def _errors() -> str:
    return (
        "From `pasa.errors`. " + _prose((errors.__doc__ or "").partition("\n\n")[0]) + "\n\n```\n" + _tree() + "\n```\n"
    )


def _tree() -> str:
    return inspect.cleandoc(errors.__doc__ or "").partition("\n\n")[2]


def _formats() -> str:
    rows = [
        f"| `{form.name}` | {form.label} | `{form.media_type}` | {'all found' if form.takes_all else 'selected'} |"
        for form in FORMATS.values()
    ]
    head = [
        "`PaperAgent.export(result, name)`, `pasa export`, `--format name`.",
        "",
        "| name | | media type | papers |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


def _mcp_tools() -> str:
    """The tools as a client's model reads them."""
    made = server.paper_server(None)  # type: ignore[arg-type]  # only looked at
    blocks = [f"`python -m pasa.mcp`; every answer holds at most {records.MAX_PAGE} papers.\n"]
    for tool in made._tool_manager.list_tools():
        fields = tool.parameters.get("properties", {})
        blocks += [f"**`{tool.name}`** — {' '.join(tool.description.split())}\n"]
        blocks += [f"- `{name}`: {field.get('description', '')}" for name, field in fields.items()]
        blocks += [""]
    return "\n".join(blocks)


def _commands() -> str:
    rows = [f"| `pasa {command.name}` | {command.about} | `{_by_itself(command.target)}` |" for command in COMMANDS]
    return "\n".join(["| command | | the same as |", "|---|---|---|", *rows]) + "\n"


def _by_itself(target: str) -> str:
    return f"python {target}" if target.endswith(".py") else f"python -m {target}"


if __name__ == "__main__":
    sys.exit(main())

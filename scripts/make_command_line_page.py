"""Writes docs/reference/command_line.md from the Typer program; a test compares the page with the program.

python scripts/make_command_line_page.py
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from segpipe.cli import app

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "command_line.md"
_KINDS = {
    "int range": "INTEGER",
    "int": "INTEGER",
    "float range": "NUMBER",
    "float": "NUMBER",
    "str": "TEXT",
    "list[str]": "TEXT",
}
_HEAD = """\
# Command line

This page is made from the program itself: `python scripts/make_command_line_page.py` writes it.
`segpipe COMMAND --help` prints the same text.

| exit status | meaning |
|---|---|
| 0 | All work is done. |
| 1 | Some cases failed, or a check has warnings. The command lists them. |
| 2 | The command refused its arguments, the configuration or the data. The message says what to do. |
"""


def page() -> str:
    """Return the page's text: a section a command, with its arguments and options."""
    commands = list(_commands(typer.main.get_command(app), "segpipe"))
    index = [f"- [`{name}`](#{name.replace(' ', '-')}): {_summary(command)}" for name, command in commands]
    return "\n".join([_HEAD, *index, *(_section(name, command) for name, command in commands)])


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _summary(command: Any) -> str:
    return _one_line((command.help or "").split("\n\n")[0])


def _section(name: str, command: Any) -> str:
    context = typer.Context(command, info_name=name)
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    usage = [name, *(_declared(one, context) for one in arguments)]
    usage += [_declared(one, context).split(", ")[-1] for one in options if one.required]
    lines = [f"\n## {name}\n", *(f"{_one_line(text)}\n" for text in (command.help or "").split("\n\n"))]
    lines += [
        "```text",
        " ".join([*usage, "[OPTIONS]"]),
        "```\n",
        "| argument or option | meaning |",
        "|---|---|",
    ]
    return "\n".join([*lines, *(_row(one, context) for one in [*arguments, *options])])


def _row(parameter: Any, context: Any) -> str:
    text = _one_line(parameter.get_help_record(context)[1])
    text, *notes = (part.strip() for part in text.replace("]", "").split("["))
    facts = [_sentence(fact) for note in notes for fact in note.split("; ")]
    if parameter.multiple:
        facts.append("May be given several times.")
    if text and not text.endswith("."):
        text += "."
    return f"| `{_cell(_declared(parameter, context))}` | {_cell(' '.join([text, *facts]))} |"


def _sentence(fact: str) -> str:
    name, _, value = fact.partition(": ")
    if value:
        return f"{name.capitalize()}: `{value}`."
    return "Required." if fact == "required" else f"Range: `{fact}`."


def _declared(parameter: Any, context: Any) -> str:
    declared = parameter.get_help_record(context)[0]
    if parameter.param_type_name == "argument":
        return declared.split(" <")[0]
    return re.sub("<([^|>]+)>", lambda kind: _KINDS.get(kind[1], kind[1].upper()), declared)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")

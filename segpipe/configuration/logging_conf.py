"""Checks a bundle's logging.conf: Python evaluates parts of the file, and its handlers can write anywhere."""

from __future__ import annotations

import ast
import configparser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segpipe.documents import LARGEST_CONFIGURATION, DocumentError, read_document
from segpipe.regular_files import is_possible

_STREAMS = {"sys.stdout", "sys.stderr"}
_QUIET = {"StreamHandler", "NullHandler"}
_TO_FILES = {"FileHandler", "RotatingFileHandler", "TimedRotatingFileHandler", "WatchedFileHandler"}
_FORMATTERS = {"Formatter", "BufferingFormatter"}
_EVALUATED = ("class", "args", "kwargs", "defaults")
_NO_LITERAL = (
    "has args, kwargs or defaults that are no plain values; Python would run them: write plain values"
)
_PACKAGES = ("logging.handlers.", "logging.", "handlers.")


def logging_problems(file: Path, output_dir: Path | None) -> Iterator[tuple[str, int]]:
    """Find handlers that write outside the terminal and the output folder, and values that could run code.

    Args:
        file: the logging.conf.
        output_dir: the folder of the runs; None if it is not known, so that no file is allowed.

    Yields:
        the end of a sentence that begins with the file, and the line, 0 if it is not known.
    """
    try:
        text = read_document(file, LARGEST_CONFIGURATION).replace("\r\n", "\n").replace("\r", "\n")
        parser = configparser.RawConfigParser()
        parser.read_string(text)
    except DocumentError as error:
        yield error.reason, 0
        return
    except configparser.Error as error:
        yield f"is no configuration of logging: {' '.join(str(error).split())}", 0
        return
    lines = [line.strip() for line in text.splitlines()]
    for section in parser.sections():
        line = lines.index(f"[{section}]") + 1 if f"[{section}]" in lines else 0
        given = {name: parser.get(section, name) for name in _EVALUATED if parser.has_option(section, name)}
        for what in _section_problems(section, given, output_dir):
            yield f"[{section}] {what}", line


def _section_problems(section: str, given: dict[str, str], output_dir: Path | None) -> Iterator[str]:
    for name, text in given.items():
        if "%" in text:
            yield f"has % in {name}, which logging replaces by other text; write the text out"
            return
    kind = _without_package(given.get("class", "").strip())
    if section.startswith("formatter_"):
        if kind and kind not in _FORMATTERS:
            yield f"has the class {given['class']}; use {', '.join(sorted(_FORMATTERS))}"
        if "defaults" in given and not _is_literal(given["defaults"]):
            yield _NO_LITERAL
        return
    if kind and kind not in _QUIET | _TO_FILES:
        yield (
            f"has the class {given['class']}, which sends a run's messages elsewhere; use StreamHandler with "
            "args=(sys.stdout,)"
        )
        return
    args, kwargs = given.get("args", "()"), given.get("kwargs", "{}")
    if not (_is_literal(args) and _is_literal(kwargs)):
        yield _NO_LITERAL
    elif kind in _TO_FILES:
        yield from _file_problems(_literal(args), _literal(kwargs), output_dir)


def _without_package(name: str) -> str:
    """Return the name of a class of `logging`; for any other value the whole text, which Python would evaluate."""
    package = next((package for package in _PACKAGES if name.startswith(package)), "")
    return name.removeprefix(package)


def _file_problems(args: Any, kwargs: Any, output_dir: Path | None) -> Iterator[str]:
    named = kwargs.get("filename") if isinstance(kwargs, dict) and "filename" in kwargs else None
    if named is None and isinstance(args, tuple | list) and args:
        named = args[0]
    if isinstance(named, str) and output_dir is not None and is_possible(named):
        path = Path(named).absolute().resolve()
        # the bundle may set its output folder itself: logging only appends to log files there
        if path.is_relative_to(output_dir.absolute().resolve()) and path.suffix == ".log":
            return
    yield (
        f"writes to the file {named!r}, outside the run's outputs; log to the terminal with StreamHandler and "
        "args=(sys.stdout,)"
    )


class _Streams(ast.NodeTransformer):
    """Replaces the streams of the terminal by their names."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        """Return the name of a stream; any other node is unchanged."""
        return ast.Constant(ast.unparse(node)) if ast.unparse(node) in _STREAMS else node


def _is_literal(text: str) -> bool:
    try:
        _literal(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return False
    return True


def _literal(text: str) -> Any:
    """Return a plain value; `sys.stdout` and `sys.stderr` become their names.

    Raises:
        ValueError, SyntaxError: the text is anything else.
    """
    return ast.literal_eval(_Streams().visit(ast.parse(text.strip(), mode="eval")))

"""Makes text from outside, such as file names, safe to show on a terminal, in a log, a table or a page."""

from __future__ import annotations

import logging
import unicodedata
from types import TracebackType
from typing import Any

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_NOT_SHOWN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def printable(text: str) -> str:
    r"""Return a text as one line of visible characters.

    Control characters (terminals obey the escape sequences that they begin), line ends, marks of text direction, marks
    of zero width and halves of characters (bytes of a file name that are no UTF-8) become escapes such as `\x1b`, `\n`,
    `\u202e` and `\udcff`. All other characters stay, in any script. A second call changes nothing.

    Args:
        text: any characters.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(character) if is_hidden(character) else character for character in text)


def printable_output(value: Any) -> Any:
    """Return a value for a page template: a text after `printable`, any other value unchanged.

    Args:
        value: any type; a text with the attribute `__html__` is markup, and unchanged.
    """
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def is_hidden(character: str) -> bool:
    """Return whether a character is not shown, or changes how its neighbours are shown."""
    return unicodedata.category(character) in _NOT_SHOWN


def _escaped(character: str) -> str:
    short = _SHORT.get(character)
    if short is not None:
        return short
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class PrintableFormatter(logging.Formatter):
    """Writes each record as one line, see `printable`; the lines of a traceback below it are indented.

    No name in a message can therefore imitate a record.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line of a record."""
        return printable(super().formatMessage(record))

    def formatException(  # noqa: N802 - logging's name
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """Return a traceback, indented."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's name
        """Return a stack, indented."""
        return _indented(super().formatStack(stack_info))


def _indented(text: str) -> str:
    return "\n".join(f"    {printable(line)}" for line in text.split("\n"))

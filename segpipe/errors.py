"""The one exception whose message is for users."""

from __future__ import annotations

from collections.abc import Iterable

from segpipe.printable import printable


class SegpipeError(Exception):
    """A user's mistake, or an error in a file, that segpipe refuses.

    The message is complete: case, file, rule, both values with their units, and what to do. Any other exception is a
    defect of the program, and keeps its type and traceback.

    Args:
        lines: lines of the message, mostly one. Each is made `printable`: no name in a line can imitate a new line or
            send an escape sequence to a terminal.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*map(printable, lines))

    def __str__(self) -> str:
        """Return the message."""
        return "\n".join(self.args)


def segpipe_cause(error: BaseException | None) -> SegpipeError | None:
    """Return the SegpipeError that `error` is, or was raised from; None if there is none."""
    while error is not None and not isinstance(error, SegpipeError):
        error = error.__cause__
    return error


def shown(names: Iterable[str], between: str = ", ", most: int = 5) -> str:
    """Return up to `most` names for a message, and the number of the others."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return between.join(listed[:most]) + more


def counted(number: int, what: str) -> str:
    """Return a number with its noun, such as "1 case" and "2 cases"."""
    return f"{number} {what}{'' if number == 1 else 's'}"

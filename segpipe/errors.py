"""The one error that a user is meant to read."""

from __future__ import annotations

from collections.abc import Iterable

from segpipe.printable import printable


class SegpipeError(Exception):
    """What a user did, or what a file has, that segpipe refuses.

    The message is complete by itself: case, file, rule, both values with their units, and what to do. Anything
    else that goes wrong is a defect of the program, keeps its own exception type and its traceback.

    Args:
        lines: of the message, mostly one. Each is made `printable`: a name in it can neither begin a line of its own
            nor send an escape sequence to a terminal.
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
    """Return some names for a message, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return between.join(listed[:most]) + more


def counted(number: int, what: str) -> str:
    """Return a number of things, such as "1 case" and "2 cases"."""
    return f"{number} {what}{'' if number == 1 else 's'}"

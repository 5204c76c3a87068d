"""The one exception whose message is for users."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from segpipe.printable import printable

ErrorT = TypeVar("ErrorT", bound=BaseException)


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


def exception_chain(error: BaseException | None, contexts: bool = True) -> Iterator[BaseException]:
    """Return an exception and the exceptions that it was raised from, each once.

    Python makes the chain of an exception that is raised twice a circle.

    Args:
        error: the last exception; None for an empty chain.
        contexts: whether to follow `__context__` where `__cause__` is None.
    """
    passed: set[int] = set()
    while error is not None and id(error) not in passed:
        yield error
        passed.add(id(error))
        error = error.__cause__ or (error.__context__ if contexts else None)


def segpipe_cause(error: BaseException | None) -> SegpipeError | None:
    """Return the SegpipeError that `error` is, or was raised from; None if there is none."""
    chain = exception_chain(error, contexts=False)
    return next((cause for cause in chain if isinstance(cause, SegpipeError)), None)


def raised_during(error: BaseException | None, kind: type[ErrorT]) -> ErrorT | None:
    """Return the error of a kind that `error` is, was raised from or was raised while it was handled; None if none.

    A library that catches every exception turns an interruption into an error of its own: `pydoc.locate`, by which
    MONAI imports a component, raises ErrorDuringImport.
    """
    return next((cause for cause in exception_chain(error) if isinstance(cause, kind)), None)


def raise_interruption(error: BaseException) -> None:
    """Raise the KeyboardInterrupt that a library turned into `error`, if there is one.

    Raises:
        KeyboardInterrupt: Ctrl-C caused the error.
    """
    interruption = raised_during(error, KeyboardInterrupt)
    if interruption is not None:
        raise interruption from None


def shown(names: Iterable[str], between: str = ", ", most: int = 5) -> str:
    """Return up to `most` names for a message, and the number of the others."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return between.join(listed[:most]) + more


def counted(number: int, what: str) -> str:
    """Return a number with its noun, such as "1 case" and "2 cases"."""
    return f"{number} {what}{'' if number == 1 else 's'}"

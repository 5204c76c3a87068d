"""Safe terminal output of text that segpipe does not print itself: tracebacks, and libraries' warnings about files."""

from __future__ import annotations

import io
import logging
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from segpipe.printable import PrintableFormatter, printable

if TYPE_CHECKING:
    from typing import Any


@contextmanager
def visible_text() -> Iterator[None]:
    """Pass libraries' messages through `printable`: libraries quote names and tags of files unchanged.

    A letter that the terminal's encoding lacks becomes an escape, too. A defect of the program keeps its traceback.

    Raises:
        SystemExit: with status 1, after a traceback.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if logging.lastResort is not None:  # prints warnings of libraries without a log handler
        logging.lastResort.setFormatter(PrintableFormatter())
    show = warnings.formatwarning

    def shown(message: Warning | str, *arguments: Any, **more: Any) -> str:
        return show(printable(str(message)), *arguments, **more)

    warnings.formatwarning = shown
    try:
        yield
    except Exception as error:
        for part in traceback.format_exception(error):
            for line in part.splitlines():
                print(printable(line), file=sys.stderr)  # print, since typer may have failed
        sys.exit(1)
    finally:
        warnings.formatwarning = show

"""Values of options of inference, checked without torch."""

from __future__ import annotations

from collections.abc import Sequence

from segpipe.errors import SegpipeError

PRECISIONS = ("float32", "bfloat16", "float16")
"""Number formats that a network computes in."""


def require_precision(precision: str) -> None:
    """Refuse anything but `auto` and a name of `PRECISIONS`.

    Raises:
        SegpipeError: an unknown name.
    """
    if precision not in ("auto", *PRECISIONS):
        raise SegpipeError(f"precision {precision!r} is unknown; use auto or one of {', '.join(PRECISIONS)}")


def require_flips(flips: Sequence[int]) -> None:
    """Refuse what are no axes to mirror along.

    Raises:
        SegpipeError: an axis is given twice or below 0.
    """
    if len(set(flips)) < len(flips) or any(not isinstance(axis, int) or axis < 0 for axis in flips):
        raise SegpipeError(
            f"--mirror (flips in YAML) is {list(flips)}; each must be an axis, from 0, and none may come twice"
        )

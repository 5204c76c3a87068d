"""Values of options of inference, checked without torch."""

from __future__ import annotations

from collections.abc import Sequence

from segpipe.errors import SegpipeError

PRECISIONS = ("float32", "bfloat16", "float16")
"""Number formats that a network computes in."""


def require_precision(precision: str, *, quantised: bool = False) -> None:
    """Refuse anything but `auto` and a name of `PRECISIONS`.

    Args:
        precision: the name.
        quantised: whether int8 is taken too.

    Raises:
        SegpipeError: an unknown name.
    """
    known = ("auto", *PRECISIONS, *(["int8"] if quantised else []))
    if precision == "int8" and not quantised:
        raise SegpipeError(
            "precision 'int8' is for segmentation with a network that `segpipe quantize` made; use auto or one of "
            f"{', '.join(PRECISIONS)}"
        )
    if precision not in known:
        raise SegpipeError(f"precision {precision!r} is unknown; use auto or one of {', '.join(known[1:])}")


def require_flips(flips: Sequence[int]) -> None:
    """Refuse what are no axes to mirror along.

    Raises:
        SegpipeError: an axis is given twice or below 0.
    """
    if len(set(flips)) < len(flips) or any(not isinstance(axis, int) or axis < 0 for axis in flips):
        raise SegpipeError(
            f"--mirror (flips in YAML) is {list(flips)}; each must be an axis, from 0, and none may come twice"
        )

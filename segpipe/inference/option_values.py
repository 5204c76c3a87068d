"""Values of options of inference, checked without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segpipe.errors import SegpipeError

PRECISIONS = ("float32", "bfloat16", "float16")
"""Number formats that a network computes in."""


@dataclass(frozen=True)
class Accuracy:
    """How often the network looks at a voxel.

    Attributes:
        overlap: overlap of neighbouring windows along each axis, as a share of the window.
        mirrors: whether the scores of mirror images are averaged, too.
    """

    overlap: float
    mirrors: bool


ACCURACIES = {
    "fast": Accuracy(0.25, mirrors=False),
    "standard": Accuracy(0.5, mirrors=False),
    "best": Accuracy(0.5, mirrors=True),
}


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


def require_flips(flips: Sequence[int], name: str = "--mirror (flips in YAML)") -> None:
    """Refuse what are no axes to mirror along.

    Args:
        flips: the axes.
        name: of the option, for the message.

    Raises:
        SegpipeError: an axis is given twice or below 0.
    """
    if len(set(flips)) < len(flips) or any(not isinstance(axis, int) or axis < 0 for axis in flips):
        raise SegpipeError(f"{name} is {list(flips)}; each must be an axis, from 0, and none may come twice")


def require_accuracy(accuracy: str | None, overlap: float | None, flips: Sequence[int] | None) -> None:
    """Refuse an unknown accuracy, an overlap out of range, and an accuracy beside its own numbers.

    Args:
        accuracy: a name of `ACCURACIES`; None: not given.
        overlap: of windows, 0 to below 1; None: not given.
        flips: axes of mirror images; None: not given.

    Raises:
        SegpipeError: with the option, its value and the allowed values.
    """
    if overlap is not None and not 0 <= overlap < 1:
        raise SegpipeError(f"--overlap (overlap in Python) is {overlap:g}, must be from 0 to below 1")
    if accuracy is None:
        return
    if accuracy not in ACCURACIES:
        raise SegpipeError(f"--accuracy is {accuracy!r:.80}, must be {', '.join(ACCURACIES)}")
    given = [name for name, value in (("--overlap", overlap), ("--mirror", flips)) if value is not None]
    if given:
        raise SegpipeError(
            f"--accuracy {accuracy} sets overlap and mirror images, and {' and '.join(given)} would set them, too; "
            "leave out one of them"
        )

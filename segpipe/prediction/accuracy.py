"""Overlap and mirror images of a cohort, from its options and its bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from segpipe.bundle.open import OpenBundle
from segpipe.errors import SegpipeError
from segpipe.inference import FlipInferer, PrecisionInferer
from segpipe.inference.option_values import ACCURACIES, require_flips
from segpipe.prediction.options import PredictOptions

MIRROR_AXES = "mirror_axes"
"""Id of a bundle's inference: the axes along which its training mirrored, and the scores may be averaged."""


@dataclass(frozen=True)
class WindowSettings:
    """How often the network looks at a voxel.

    Attributes:
        overlap: overlap of neighbouring windows along each axis; None: the bundle's.
        flips: axes of mirror images whose scores are averaged; None: the bundle's.
    """

    overlap: float | None = None
    flips: tuple[int, ...] | None = None

    @classmethod
    def of(
        cls, options: PredictOptions, bundle: OpenBundle, report: Callable[[str], None] = lambda _: None
    ) -> WindowSettings:
        """Return the settings that the options ask for.

        Args:
            options: of the run.
            bundle: of the run.
            report: called with a message where two accuracies are the same.

        Raises:
            SegpipeError: `--accuracy best` for a bundle that does not say along which axes it was mirrored.
        """
        if options.accuracy is None:
            return cls(options.overlap, options.flips)
        wanted = ACCURACIES[options.accuracy]
        flips = _mirror_axes(bundle) if wanted.mirrors else ()
        if wanted.mirrors and not flips:
            report(
                "this bundle was trained without mirror images, so --accuracy best computes the same as "
                "--accuracy standard"
            )
        return cls(wanted.overlap, flips)


def _mirror_axes(bundle: OpenBundle) -> tuple[int, ...]:
    """Return the axes along which a bundle's mirror images may be averaged.

    A network sees mirror images as they are only if its training had them; and a mirrored left kidney is a right one.
    """
    inferer = bundle.inferer.inferer if isinstance(bundle.inferer, PrecisionInferer) else bundle.inferer
    own = inferer.flips if isinstance(inferer, FlipInferer) else ()
    axes = bundle.configuration.get(MIRROR_AXES, list(own) or None)
    if axes is None:
        raise SegpipeError(
            f"{bundle.root}: does not say along which axes its training mirrored images ({MIRROR_AXES} in "
            "configs/inference.yaml), so --accuracy best is not known; give --overlap 0.5 and --mirror, with the axes "
            "or none"
        )
    if not isinstance(axes, list):
        raise SegpipeError(
            f"{bundle.root}: {MIRROR_AXES} in configs/inference.yaml is {axes!r:.80}, must be a list of axes"
        )
    require_flips(axes, f"{bundle.root}: {MIRROR_AXES} in configs/inference.yaml")
    return tuple(axes)

"""Internals of MONAI that segpipe reads or replaces; MONAI may rename them at any time.

No other module uses them. They were tested with MONAI 1.6; `pyproject.toml` allows no later minor version, and
`tests/test_monai_internals.py` fails with one sentence for each name that has moved.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from monai.bundle import ComponentLocator, ConfigComponent, ConfigExpression, ConfigParser
from monai.data import MetaTensor
from monai.transforms import ScaleIntensityRange, ScaleIntensityRanged, Spacingd, SpatialResample, compose
from monai.utils import TraceKeys

from segpipe.errors import segpipe_cause

TESTED_WITH = "1.6"


def resampler_of(step: Spacingd) -> SpatialResample:
    """Return the array transform with which `Spacingd` resamples."""
    return step.spacing_transform.sp_resample


def replace_resampler(step: Spacingd, resampler: SpatialResample) -> None:
    """Let `Spacingd` resample with another array transform."""
    step.spacing_transform.sp_resample = resampler


def scaler_of(step: ScaleIntensityRanged) -> ScaleIntensityRange:
    """Return the array transform with which `ScaleIntensityRanged` scales."""
    return step.scaler


def replace_scaler(step: ScaleIntensityRanged, scaler: ScaleIntensityRange) -> None:
    """Let `ScaleIntensityRanged` scale with another array transform."""
    step.scaler = scaler


def component_names(locator: ComponentLocator) -> Sequence[str]:
    """Return the short names of MONAI's components; empty before the first look-up of the locator."""
    return tuple(locator._components_table or ())


def parser_on_the_stack() -> ConfigParser | None:
    """Return the ConfigParser that resolves the calling expression.

    An expression of MONAI gets its references, but not the whole configuration; the parser is `self` in a frame further
    up the stack.
    """
    frame = inspect.currentframe()
    while frame is not None:
        parser = frame.f_locals.get("self")
        if isinstance(parser, ConfigParser):
            return parser
        frame = frame.f_back
    return None


def let_refusals_through() -> None:
    """Let MONAI pass a SegpipeError on, in place of a RuntimeError whose text lacks the reason.

    MONAI's parser wraps the exceptions of what it makes, and its Compose the exceptions of transforms.

    A program that embeds a bundle shows or logs the text of the exception that it gets. Nothing else changes: any other
    exception is wrapped by MONAI as before. A second call changes nothing.
    """
    owners = ((ConfigComponent, "instantiate"), (ConfigExpression, "evaluate"), (compose, "apply_transform"))
    for owner, name in owners:
        method = getattr(owner, name)
        if not hasattr(method, _PASSES_REFUSALS):
            setattr(owner, name, _passing_refusals(method))


_PASSES_REFUSALS = "passes_refusals_of_segpipe"


def _passing_refusals(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def passing(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except RuntimeError as error:
            refusal = segpipe_cause(error)
            if refusal is None:
                raise
        raise refusal

    setattr(passing, _PASSES_REFUSALS, True)
    return passing


@dataclass(frozen=True)
class AppliedOperation:
    """One transform as MONAI records it in a MetaTensor, for its inverse.

    Attributes:
        name: class name of the array transform.
        lazy: the transform is not carried out yet.
        size: voxels along each axis before the transform.
        info: further records of the class.
    """

    name: str
    lazy: bool
    size: tuple[int, ...]
    info: Mapping[str, Any]

    @classmethod
    def of(cls, noted: Mapping[str, Any]) -> AppliedOperation:
        """Return the operation of a MONAI record."""
        info = noted[TraceKeys.EXTRA_INFO]
        return cls(
            noted[TraceKeys.CLASS_NAME], bool(noted[TraceKeys.LAZY]), tuple(noted[TraceKeys.ORIG_SIZE]), info
        )

    @property
    def padded(self) -> list[int] | None:
        """Voxels added before each spatial axis; None if the operation does not pad."""
        return [before for before, _ in self.info["padded"][1:]] if "padded" in self.info else None

    @property
    def cropped(self) -> list[int] | None:
        """Voxels removed before each spatial axis; None if the operation does not crop."""
        return list(self.info["cropped"][::2]) if "cropped" in self.info else None

    @property
    def padding_after_crop(self) -> AppliedOperation | None:
        """The padding that `CropForegroundd` adds after it has cropped."""
        noted = self.info.get("pad_info")
        return (
            None
            if noted is None
            else AppliedOperation(
                "Pad", False, tuple(noted[TraceKeys.ORIG_SIZE]), noted[TraceKeys.EXTRA_INFO]
            )
        )


def applied_operations(image: MetaTensor) -> Iterator[AppliedOperation]:
    """Return the operations on an image, the last one first."""
    return (AppliedOperation.of(noted) for noted in reversed(image.applied_operations))


def note_resampling(
    resampler: SpatialResample,
    image: MetaTensor,
    affine: torch.Tensor,
    size: Sequence[int],
    dtype: torch.dtype,
    sampling: Mapping[str, Any],
) -> MetaTensor:
    """Record a resampling in an image as `SpatialResample` does, so that MONAI can invert it.

    Args:
        resampler: transform whose class is recorded.
        image: `(C, x, y, z)`, before the resampling.
        affine: (4, 4), from a voxel of the new grid to a voxel of the image.
        size: voxels along each axis of the new grid.
        dtype: number format of the interpolation.
        sampling: mode, padding_mode, align_corners and src_affine.

    Returns:
        the image's metadata after the resampling.
    """
    corners = sampling["align_corners"]
    noted: MetaTensor = resampler.track_transform_meta(
        image,
        sp_size=size,
        affine=affine,
        extra_info={
            "dtype": str(dtype).removeprefix("torch."),
            **sampling,
            "align_corners": TraceKeys.NONE if corners is None else corners,
        },
        orig_size=tuple(image.shape[1:]),
        transform_info=resampler.get_transform_info(),
    )
    return noted

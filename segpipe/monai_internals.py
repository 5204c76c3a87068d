"""MONAI's internals that segpipe reads or replaces: names that MONAI does not promise to keep.

They stand here and nowhere else. They were tested with MONAI 1.6; `pyproject.toml` allows no later minor version, and
`tests/test_monai_internals.py` fails with one sentence for each name that has moved.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.bundle import ComponentLocator, ConfigParser
from monai.data import MetaTensor
from monai.transforms import ScaleIntensityRange, ScaleIntensityRanged, Spacingd, SpatialResample
from monai.utils import TraceKeys

TESTED_WITH = "1.6"


def resampler_of(step: Spacingd) -> SpatialResample:
    """Return the array transform by which `Spacingd` resamples."""
    return step.spacing_transform.sp_resample


def replace_resampler(step: Spacingd, resampler: SpatialResample) -> None:
    """Have `Spacingd` resample by another array transform."""
    step.spacing_transform.sp_resample = resampler


def scaler_of(step: ScaleIntensityRanged) -> ScaleIntensityRange:
    """Return the array transform by which `ScaleIntensityRanged` scales."""
    return step.scaler


def replace_scaler(step: ScaleIntensityRanged, scaler: ScaleIntensityRange) -> None:
    """Have `ScaleIntensityRanged` scale by another array transform."""
    step.scaler = scaler


def component_names(locator: ComponentLocator) -> Sequence[str]:
    """Return the short names of MONAI's components; none before the locator has looked one up."""
    return tuple(locator._components_table or ())


def parser_on_the_stack() -> ConfigParser | None:
    """Return the ConfigParser that is resolving the expression from which this is called.

    MONAI gives an expression its references, but no way to the configuration as a whole; the parser is `self` in a
    frame further up the stack.
    """
    frame = inspect.currentframe()
    while frame is not None:
        parser = frame.f_locals.get("self")
        if isinstance(parser, ConfigParser):
            return parser
        frame = frame.f_back
    return None


@dataclass(frozen=True)
class AppliedOperation:
    """One transform as MONAI notes it in a MetaTensor, for its inverse.

    Attributes:
        name: of the array transform's class.
        lazy: it has not been carried out yet.
        size: voxels along each axis before it.
        info: what the class notes besides.
    """

    name: str
    lazy: bool
    size: tuple[int, ...]
    info: Mapping[str, Any]

    @classmethod
    def of(cls, noted: Mapping[str, Any]) -> AppliedOperation:
        """Read what MONAI has noted."""
        info = noted[TraceKeys.EXTRA_INFO]
        return cls(
            noted[TraceKeys.CLASS_NAME], bool(noted[TraceKeys.LAZY]), tuple(noted[TraceKeys.ORIG_SIZE]), info
        )

    @property
    def padded(self) -> list[int] | None:
        """Voxels put before each spatial axis; None if it does not pad."""
        return [before for before, _ in self.info["padded"][1:]] if "padded" in self.info else None

    @property
    def cropped(self) -> list[int] | None:
        """Voxels cut off before each spatial axis; None if it does not crop."""
        return list(self.info["cropped"][::2]) if "cropped" in self.info else None

    @property
    def padding_after_crop(self) -> AppliedOperation | None:
        """The padding that `CropForegroundd` does after it has cropped."""
        noted = self.info.get("pad_info")
        return (
            None
            if noted is None
            else AppliedOperation(
                "Pad", False, tuple(noted[TraceKeys.ORIG_SIZE]), noted[TraceKeys.EXTRA_INFO]
            )
        )


def applied_operations(image: MetaTensor) -> Iterator[AppliedOperation]:
    """Return what was done to an image, the last first."""
    return (AppliedOperation.of(noted) for noted in reversed(image.applied_operations))


def note_resampling(
    resampler: SpatialResample,
    image: MetaTensor,
    affine: torch.Tensor,
    size: Sequence[int],
    dtype: torch.dtype,
    sampling: Mapping[str, Any],
) -> MetaTensor:
    """Note in an image what `SpatialResample` notes, so that MONAI inverts it.

    Args:
        resampler: whose class is noted.
        image: `(C, x, y, z)`, before.
        affine: (4, 4), from a voxel of the new grid to one of the image.
        size: voxels along each axis of the new grid.
        dtype: of the interpolation.
        sampling: mode, padding_mode, align_corners and src_affine.

    Returns:
        the image's metadata as they are after it.
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

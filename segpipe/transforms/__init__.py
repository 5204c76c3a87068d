"""Dictionary transforms that MONAI lacks."""

from segpipe.transforms.axis_order import ReorderAxesd
from segpipe.transforms.channel_intensity import NormalizeChannelsd
from segpipe.transforms.class_maps import RegionsToClassesd
from segpipe.transforms.ct import CTIntensityd, CTKindd, check_intensity_kind, check_window
from segpipe.transforms.files import (
    LabelIndicesd,
    LoadVolumed,
    SaveImageLabelMapd,
    SaveLabelMapd,
    require_shape,
)
from segpipe.transforms.nonzero import CropNonzerod
from segpipe.transforms.pictures import RandColorJitterd, RandResizedCropd
from segpipe.transforms.pictures_from_files import LoadPictured
from segpipe.transforms.probabilities import CalibratedProbabilitiesd
from segpipe.transforms.resizing import ResizeShorterSided
from segpipe.transforms.slices import NormalizeSlicesd, OrientVolumesd
from segpipe.transforms.small_pieces import RemoveSmallPiecesd
from segpipe.transforms.spline_spacing import SplineSpacingd

__all__ = [
    "CTIntensityd",
    "CTKindd",
    "CalibratedProbabilitiesd",
    "CropNonzerod",
    "LabelIndicesd",
    "LoadPictured",
    "LoadVolumed",
    "NormalizeChannelsd",
    "NormalizeSlicesd",
    "OrientVolumesd",
    "RandColorJitterd",
    "RandResizedCropd",
    "RegionsToClassesd",
    "RemoveSmallPiecesd",
    "ReorderAxesd",
    "ResizeShorterSided",
    "SaveImageLabelMapd",
    "SaveLabelMapd",
    "SplineSpacingd",
    "check_intensity_kind",
    "check_window",
    "require_shape",
]

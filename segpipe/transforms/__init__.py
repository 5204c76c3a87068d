"""Dictionary transforms that MONAI lacks."""

from segpipe.transforms.class_maps import RegionsToClassesd
from segpipe.transforms.ct import CTIntensityd, CTKindd, check_intensity_kind, check_window
from segpipe.transforms.files import (
    LabelIndicesd,
    LoadVolumed,
    SaveImageLabelMapd,
    SaveLabelMapd,
    require_shape,
)
from segpipe.transforms.pictures import RandColorJitterd, RandResizedCropd
from segpipe.transforms.pictures_from_files import LoadPictured
from segpipe.transforms.probabilities import CalibratedProbabilitiesd
from segpipe.transforms.resizing import ResizeShorterSided
from segpipe.transforms.slices import NormalizeSlicesd, OrientVolumesd
from segpipe.transforms.small_pieces import RemoveSmallPiecesd

__all__ = [
    "CTIntensityd",
    "CTKindd",
    "CalibratedProbabilitiesd",
    "LabelIndicesd",
    "LoadPictured",
    "LoadVolumed",
    "NormalizeSlicesd",
    "OrientVolumesd",
    "RandColorJitterd",
    "RandResizedCropd",
    "RegionsToClassesd",
    "RemoveSmallPiecesd",
    "ResizeShorterSided",
    "SaveImageLabelMapd",
    "SaveLabelMapd",
    "check_intensity_kind",
    "check_window",
    "require_shape",
]

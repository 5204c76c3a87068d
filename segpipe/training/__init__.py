"""Ignite handlers of a training run: its folder, state, weights and TensorBoard log."""

from segpipe.training.image_handlers import (
    ImageTrainingScalars,
    ImageValidationScalars,
    SaveCalibration,
    Unfreeze,
)
from segpipe.training.image_pictures import ImageValidationPictures
from segpipe.training.image_scores import ImageScore
from segpipe.training.metrics import PresentDice
from segpipe.training.pictures import ValidationPictures
from segpipe.training.run_folder import RunFolder
from segpipe.training.scalars import TrainingScalars, ValidationScalars
from segpipe.training.schedule import Validate, warm_up
from segpipe.training.state import SaveBest, TrainingState

__all__ = [
    "ImageScore",
    "ImageTrainingScalars",
    "ImageValidationPictures",
    "ImageValidationScalars",
    "PresentDice",
    "RunFolder",
    "SaveBest",
    "SaveCalibration",
    "TrainingScalars",
    "TrainingState",
    "Unfreeze",
    "Validate",
    "ValidationPictures",
    "ValidationScalars",
    "warm_up",
]

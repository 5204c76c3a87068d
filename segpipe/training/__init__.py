"""Ignite handlers of a training run: its folder, state, weights and TensorBoard log."""

from segpipe.training.metrics import PresentDice
from segpipe.training.pictures import ValidationPictures
from segpipe.training.run_folder import RunFolder
from segpipe.training.scalars import TrainingScalars, ValidationScalars
from segpipe.training.schedule import Validate, warm_up
from segpipe.training.state import SaveBest, TrainingState

__all__ = [
    "PresentDice",
    "RunFolder",
    "SaveBest",
    "TrainingScalars",
    "TrainingState",
    "Validate",
    "ValidationPictures",
    "ValidationScalars",
    "warm_up",
]

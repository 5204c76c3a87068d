from .image_handlers import (
    ImageTrainingScalars as ImageTrainingScalars,
)
from .image_handlers import (
    ImageValidationScalars as ImageValidationScalars,
)
from .image_handlers import (
    SaveCalibration as SaveCalibration,
)
from .image_handlers import (
    Unfreeze as Unfreeze,
)
from .image_pictures import ImageValidationPictures as ImageValidationPictures
from .image_scores import ImageScore as ImageScore
from .metrics import PresentDice as PresentDice
from .pictures import ValidationPictures as ValidationPictures
from .run_folder import RunFolder as RunFolder
from .scalars import TrainingScalars as TrainingScalars
from .scalars import ValidationScalars as ValidationScalars
from .schedule import Validate as Validate
from .schedule import cycle_steps as cycle_steps
from .schedule import warm_up as warm_up
from .state import SaveBest as SaveBest
from .state import TrainingState as TrainingState
from .tracking import Tracking as Tracking

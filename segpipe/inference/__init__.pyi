from .even_windows import EvenSliceInferer as EvenSliceInferer
from .even_windows import EvenWindowInferer as EvenWindowInferer
from .inferers import (
    FlipInferer as FlipInferer,
)
from .inferers import (
    PrecisionInferer as PrecisionInferer,
)
from .inferers import (
    SliceInferer as SliceInferer,
)
from .precision import choose_precision as choose_precision
from .precision import needs_loss_scaling as needs_loss_scaling
from .prediction_table import PredictionTable as PredictionTable
from .progress import LogProgress as LogProgress

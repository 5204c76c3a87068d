"""segpipe: medical image segmentation as standard MONAI bundles.

Importing the package imports neither torch nor MONAI, so that the command line starts at once.
"""

import os
import sys

if sys.argv[:1] == ["-m"] and sys.path[:1] == [os.getcwd()]:  # noqa: PTH109 - pathlib would come from there
    del sys.path[0]  # `python -m segpipe` imports nothing from the working directory

# MLflow sends usage statistics from its import on, and MONAI's handlers import it where it is installed
os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"

from typing import Any

__version__ = "0.1.0"
__all__ = ["PredictOptions", "__version__", "predict"]


def __getattr__(name: str) -> Any:
    """Import `predict` and `PredictOptions` when they are asked for: they need torch and MONAI."""
    if name == "predict":
        from segpipe.prediction.predict import predict

        return predict
    if name == "PredictOptions":
        from segpipe.prediction.options import PredictOptions

        return PredictOptions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

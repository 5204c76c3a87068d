"""What a bundle, a weights file or a run is, read from its files: nothing is run, neither torch nor MONAI is needed."""

from segpipe.information.facts import Information, Scores, Settings, Training, WeightsFile
from segpipe.information.listing import ListedBundle, listed_bundles
from segpipe.information.reading import (
    bundle_information,
    information_of,
    run_information,
    weights_information,
)

__all__ = [
    "Information",
    "ListedBundle",
    "Scores",
    "Settings",
    "Training",
    "WeightsFile",
    "bundle_information",
    "information_of",
    "listed_bundles",
    "run_information",
    "weights_information",
]

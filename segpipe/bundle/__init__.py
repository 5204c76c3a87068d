"""What a bundle's YAML calls: everything else composed, and errors turned into the end of the run."""

from segpipe.bundle.cases import RunLoader, TrainingCases, inference_cases
from segpipe.bundle.check import check_configuration
from segpipe.bundle.setup import (
    check_device,
    evaluation_folder,
    identity,
    join_process_group,
    load_weights,
    local_device,
    start_run,
)

__all__ = [
    "RunLoader",
    "TrainingCases",
    "check_configuration",
    "check_device",
    "evaluation_folder",
    "identity",
    "inference_cases",
    "join_process_group",
    "load_weights",
    "local_device",
    "start_run",
]

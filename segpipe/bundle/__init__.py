"""Objects that a bundle's YAML calls, and opening a bundle."""

from segpipe.bundle.cases import RunLoader, TrainingCases, class_weights, inference_cases
from segpipe.bundle.check_run import check_configuration
from segpipe.bundle.image_cases import ImageCases, image_draws, image_weights
from segpipe.bundle.image_files import images_to_classify
from segpipe.bundle.image_labels import calibration, categories
from segpipe.bundle.labels import label_table
from segpipe.bundle.pretrained import parameter_groups, peak_rates, start_from
from segpipe.bundle.scored_weights import image_weights_to_score, weights_to_score
from segpipe.bundle.setup import (
    check_device,
    check_sizes,
    check_window,
    join_process_group,
    leave_process_group,
    load_cases,
    local_device,
    make,
    run_engine,
    start_run,
)
from segpipe.bundle.weights import identity, start_from_vgg16, with_weights
from segpipe.monai_internals import let_refusals_through

__all__ = [
    "ImageCases",
    "RunLoader",
    "TrainingCases",
    "calibration",
    "categories",
    "check_configuration",
    "check_device",
    "check_sizes",
    "check_window",
    "class_weights",
    "identity",
    "image_draws",
    "image_weights",
    "image_weights_to_score",
    "images_to_classify",
    "inference_cases",
    "join_process_group",
    "label_table",
    "leave_process_group",
    "load_cases",
    "local_device",
    "make",
    "parameter_groups",
    "peak_rates",
    "run_engine",
    "start_from",
    "start_from_vgg16",
    "start_run",
    "weights_to_score",
    "with_weights",
]

let_refusals_through()  # a program that embeds a bundle gets the reason as the text of the exception

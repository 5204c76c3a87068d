"""Files of numbers of the shipped classification bundles; see `segpipe.planning.number_files` for their form."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, get_args

from segpipe.categories import ImageTarget
from segpipe.documents import json_of
from segpipe.errors import SegpipeError
from segpipe.planning.files import template_text
from segpipe.planning.image_experiment import (
    ImageExperiment,
    ImageNetwork,
    ImageOptimizer,
    ImageSchedule,
    image_configs,
)
from segpipe.planning.number_files import merged_entries

_OTHER = {"about", "inference_about", "run", "numbers"}
_FORM = {
    one.name: one.default is MISSING and one.default_factory is MISSING
    for one in fields(ImageExperiment)
    if one.name not in _OTHER
}
_CHOICES = {
    "network": get_args(ImageNetwork),
    "target": get_args(ImageTarget),
    "optimizer": get_args(ImageOptimizer),
    "schedule": get_args(ImageSchedule),
}
_GROUPS = ("image", "network", "training")


@dataclass(frozen=True)
class ImageNumberFile:
    """A file of numbers of a classification bundle.

    Attributes:
        path: of the file.
        experiment: the form and the numbers of the bundle.
    """

    path: Path
    experiment: ImageExperiment


def is_of_images(path: Path) -> bool:
    """Return whether a file of numbers is of a classification bundle: its form has a target."""
    _, groups, _ = merged_entries(path)
    return "target" in groups["form"]


def read_image_number_file(path: Path) -> ImageNumberFile:
    """Read a file of numbers of a classification bundle, and the file that it extends.

    Raises:
        SegpipeError: the file cannot be read, has an unknown entry, or lacks one.
    """
    about, groups, _ = merged_entries(path)
    form: dict[str, Any] = {name: number.value for name, number in groups["form"].items()}
    unknown = sorted(set(form) - set(_FORM))
    missing = [name for name, is_needed in _FORM.items() if is_needed and name not in form]
    if unknown or missing:
        raise SegpipeError(
            f"{path}: form: unknown {', '.join(unknown) or '-'}, missing {', '.join(missing) or '-'}; the entries are "
            f"{', '.join(_FORM)}"
        )
    for name, choices in _CHOICES.items():
        if name in form and form[name] not in choices:
            raise SegpipeError(f"{path}: form: {name}: {form[name]} must be one of: {'; '.join(choices)}")
    experiment = ImageExperiment(
        about=about.get("about", ()),
        inference_about=about.get("inference_about", ()),
        run=groups["run"],
        numbers={key: value for group in _GROUPS for key, value in groups[group].items()},
        **form,
    )
    return ImageNumberFile(path, experiment)


def rendered_image_configs(numbers: ImageNumberFile, variant: str = "") -> dict[str, str]:
    """Return file name -> text of every file below `configs/` that follows from a file of numbers.

    Args:
        numbers: of the bundle.
        variant: name of a further pair of configurations: `VARIANT.yaml` in place of train.yaml, and
            `VARIANT_inference.yaml`; empty: all files of the bundle.
    """
    texts = image_configs(numbers.experiment)
    if variant:
        return {
            f"{variant}.yaml": texts["train.yaml"],
            f"{variant}_inference.yaml": texts["inference.yaml"],
        }
    further = {
        "inference.json": json_of(texts["inference.yaml"]),
        "logging.conf": template_text("configs/logging.conf", {}, {}),
    }
    return {**texts, **further}

"""Shipped bundles, and the line of a text in their configuration."""

from pathlib import Path

from segpipe.bundle.task import task_of

BUNDLES = Path(__file__).parents[2] / "bundles"


HIPPOCAMPUS = "mri_hippocampus_unet"


LUNG = "ct_covid_unet"


def bundles_of(task):
    """Return the folders of the shipped bundles of a task, by name."""
    return sorted(path for path in BUNDLES.iterdir() if path.is_dir() and task_of(path) == task)


def line_of(text, name=HIPPOCAMPUS, file="train.yaml"):
    """Return the place of the first line with a text in a shipped file."""
    lines = (BUNDLES / name / "configs" / file).read_text().splitlines()
    return f"configs/{file}:{next(number for number, line in enumerate(lines, 1) if text in line)}"

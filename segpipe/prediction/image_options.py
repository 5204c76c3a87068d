"""The options of `classify`, the images of a cohort, and the outcome of each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segpipe.bundle.image_files import (
    IMAGE_FORMATS,
    look_for_images,
    require_outside,
    same_names,
)
from segpipe.errors import SegpipeError
from segpipe.files import json_sha256
from segpipe.inference.option_values import require_flips, require_precision
from segpipe.inference.prediction_rows import most_probable
from segpipe.prediction.options import Cohort, Outcome, scan_place
from segpipe.volumes import RefusedScan, Scan

if TYPE_CHECKING:
    from segpipe.bundle.open_classifier import OpenClassifier

HeatmapKind = Literal["gradcam", "occlusion"]
HEATMAP_KINDS: tuple[HeatmapKind, ...] = ("gradcam", "occlusion")
HEATMAPS = "heatmaps"
"""Folder of the heatmaps below the output folder."""


@dataclass(frozen=True)
class ClassifyOptions:
    """Options of `classify`: how the images of a cohort are classified.

    Attributes:
        precision: auto, float32, bfloat16 or float16; auto times the network at the start and takes the faster one.
        batch_size: images per batch; None: 32 on a card, 4 on a CPU.
        flips: axes along which images are mirrored, the logits being averaged; None: the bundle's axes.
        heatmaps: "gradcam" or "occlusion": write a picture of where the network looked; None: no picture.
        overwrite: replace files that segpipe did not write, and predictions of other images under the same names.
        jobs: number of images that are read and preprocessed at the same time.
        strict: refuse files that are neither images nor companions of images, before any image is classified.
    """

    precision: str = "auto"
    batch_size: int | None = None
    flips: tuple[int, ...] | None = None
    heatmaps: HeatmapKind | None = None
    overwrite: bool = False
    jobs: int = 1
    strict: bool = False

    def check(self) -> None:
        """Refuse values out of range.

        Raises:
            SegpipeError: with the option, its value and the allowed values.
        """
        require_precision(self.precision)
        require_flips(self.flips or ())
        for name, count in (("--batch-size (batch_size in Python)", self.batch_size), ("--jobs", self.jobs)):
            if count is not None and count < 1:
                raise SegpipeError(f"{name} is {count}, must be at least 1")
        if self.heatmaps is not None and self.heatmaps not in HEATMAP_KINDS:
            raise SegpipeError(f"--heatmaps is {self.heatmaps!r:.80}, must be {' or '.join(HEATMAP_KINDS)}")

    def described(self) -> dict[str, Any]:
        """Return name -> value, in plain types, of the options that a prediction depends on."""
        return asdict(replace(self, batch_size=None, jobs=1, overwrite=False, strict=False))

    def recipe(self, bundle: OpenClassifier) -> str:
        """Return a hash of everything but the image that a prediction depends on."""
        ranges = None if bundle.reference_ranges is None else bundle.reference_ranges.sha256
        compared = {} if ranges is None else {"reference_ranges": ranges}
        return json_sha256({"bundle": bundle.sha256, **compared, **self.described()})


@dataclass(frozen=True)
class ImagePrediction:
    """The outcome of one image.

    Attributes:
        case: name of the image, as in the column `image`.
        outcome: what this run did with the image.
        scan: path of the image.
        classes: names of the classes or findings; empty for an image that failed.
        probabilities: one for each of `classes`, 0 to 1.
        decision: the class, or the findings at their thresholds with `|` between them.
        heatmap: path of the picture of where the network looked; None if there is none.
        seconds: wall time from reading to the network's answer; of a batch, an equal share.
        reason: why the image failed.
    """

    case: str
    outcome: Outcome
    scan: Path
    classes: Sequence[str] = ()
    probabilities: Sequence[float] = ()
    decision: str = ""
    heatmap: Path | None = None
    seconds: float = 0.0
    reason: str = ""

    def top(self, count: int = 3) -> list[str]:
        """Return the most probable names, the most probable first."""
        return most_probable(self.classes, self.probabilities, count)


def image_cohort(paths: Sequence[str | Path], folder: Path, *, strict: bool = False) -> Cohort:
    """Find all images, and separate those that can be classified from those that are refused.

    Args:
        paths: as `classify` takes them.
        folder: output folder.
        strict: refuse files that are neither images nor companions of images.

    Raises:
        SegpipeError: a path does not exist, or there is no image at all; the output folder lies among the images; or
            `strict` refuses a file.
    """
    if not paths:
        raise SegpipeError("no images were named")
    images: dict[str, Scan] = {}
    refused: dict[Path, RefusedScan] = {}
    ignored_files: list[str] = []
    empty: dict[Path, str] = {}
    for path in map(Path, paths):
        require_outside(path, folder, "--output")
        found = look_for_images(path, strict=strict)
        for image in found.scans:
            images.setdefault(scan_place(image), image)
        refused |= {scan.path: scan for scan in found.refused}
        ignored_files += found.ignored_files
        if not found.scans and not found.refused:
            empty[path] = f"{path}: no image there{found.why_none}; segpipe reads {IMAGE_FORMATS}"
    if not images and not refused:
        raise SegpipeError(next(iter(empty.values())))
    folders = {path: reason for path, reason in empty.items() if path.is_dir()}
    refused |= {path: RefusedScan(path, f"{path.name}/", reason) for path, reason in folders.items()}
    refused |= {scan.path: scan for scan in same_names(images.values())}
    free = sorted((image for image in images.values() if image.path not in refused), key=lambda one: one.name)
    return Cohort(tuple(free), tuple(refused.values()), tuple(ignored_files))


def heatmap_file(image: Scan) -> str:
    """Return the path of an image's heatmap below the output folder."""
    return f"{HEATMAPS}/{image.name}.png"

"""Writes TensorBoard entries for which its writer has no suitable method."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from segpipe.labels import LabelTable

_QUALITY = 45  # of JPEG; colours keep full resolution, since outlines are one pixel wide
_COLORS = 64  # number of colours of a drawing
_TERMS = "Terms of the loss"
_MACHINE = {  # categories of every task
    "Optimiser": {
        "Learning rate": ["Multiline", ["^optimizer/learning_rate$"]],
        "Norm of the gradient": ["Multiline", ["^optimizer/gradient_norm$"]],
    },
    "Speed and memory": {
        "Seconds an epoch": ["Multiline", ["^speed/seconds_per_epoch$"]],
        "Samples a second": ["Multiline", ["^speed/samples_per_second$"]],
        "Peak memory, GB": ["Multiline", ["^memory/.*"]],
    },
}


@dataclass(frozen=True)
class Charts:
    """What TensorBoard shows of a task.

    Attributes:
        learning: charts of the page Custom Scalars: chart -> kind and tags, as regular expressions.
        metrics: tags in the table of hyper-parameters.
        counted: what the table of classes counts.
        share: heading of each count's share of all counts.
    """

    learning: Mapping[str, Sequence[Any]]
    metrics: tuple[str, ...]
    counted: str
    share: str = "share"


SEGMENTATION = Charts(
    {
        "Loss": ["Multiline", ["^loss/.*"]],
        "Dice of validation, by class": ["Multiline", ["^dice/.*"]],
        _TERMS: ["Multiline", ["^loss_terms/.*"]],
        "Share of voxels whose class is right": ["Multiline", ["^voxel_accuracy/.*"]],
    },
    ("dice/mean", "loss/train"),
    "voxels",
)
CLASSIFICATION = Charts(
    {
        "Loss": ["Multiline", ["^loss/.*"]],
        "AUROC of validation, by class": ["Multiline", ["^auroc/.*"]],
        _TERMS: ["Multiline", ["^loss_terms/.*"]],
        "Share of images, or findings, whose decision is right": ["Multiline", ["^accuracy/.*"]],
    },
    ("auroc/mean", "loss/train"),
    "images",
    "share of the sum",
)
HyperParameters = Mapping[str, float | str]


def add_picture(
    writer: SummaryWriter, tag: str, picture: NDArray[np.uint8], epoch: int, *, small: bool
) -> None:
    """Log a picture `(height, width, 3)`, as PNG or, a quarter as large, as JPEG."""
    file = io.BytesIO()
    if small:
        # not optimize=True: the whole file would have to fit one buffer, too small for noisy predictions
        Image.fromarray(picture).save(file, format="JPEG", quality=_QUALITY, subsampling=0)
    else:
        Image.fromarray(picture).save(file, format="PNG")
    _add_image(writer, tag, picture.shape, file.getvalue(), epoch)


def add_drawing(writer: SummaryWriter, tag: str, drawing: NDArray[np.uint8], epoch: int) -> None:
    """Log a drawing `(height, width, 3)` of lines, letters and areas, as PNG with few colours."""
    file = io.BytesIO()
    Image.fromarray(drawing).quantize(_COLORS, dither=Image.Dither.NONE).save(file, format="PNG")
    _add_image(writer, tag, drawing.shape, file.getvalue(), epoch)


def add_layout(writer: SummaryWriter, charts: Charts, *, terms: bool) -> None:
    """Lay out TensorBoard's page Custom Scalars: related tags in one chart, the most important chart first.

    Args:
        writer: TensorBoard writer of the run.
        charts: charts of the task.
        terms: the loss has terms to show.
    """
    learning = {name: chart for name, chart in charts.learning.items() if terms or name != _TERMS}
    writer.add_custom_scalars({"Learning": learning, **_MACHINE})


def add_hyper_parameters(writer: SummaryWriter, parameters: HyperParameters, metrics: Sequence[str]) -> None:
    """Log the run's hyper-parameters at its beginning, in the same log as its metrics.

    The writer's `add_hparams` would create a second run, which appears in every chart.

    Args:
        writer: TensorBoard writer of the run.
        parameters: name -> value.
        metrics: tags of the metrics beside them.
    """
    experiment, start, _ = hparams(  # type: ignore[no-untyped-call]
        dict(parameters), dict.fromkeys(metrics, 0.0)
    )
    _add(writer, experiment, 0)
    _add(writer, start, 0)


def add_end(writer: SummaryWriter, epoch: int) -> None:
    """Log the end of a run, for the table of hyper-parameters."""
    *_, end = hparams({}, {})  # type: ignore[no-untyped-call]
    _add(writer, end, epoch)


def dice_tags(labels: LabelTable) -> list[str]:
    """Return the tag of each target's Dice: `dice/<name>`, with the number of the target if the tag is taken."""
    taken, tags = {"dice/mean"}, []
    for number, name in enumerate(labels.target_names, 1):
        tag = f"dice/{name}"
        tags.append(f"{tag} ({number})" if tag in taken else tag)
        taken.add(tag)
    return tags


def _add_image(writer: SummaryWriter, tag: str, shape: tuple[int, ...], encoded: bytes, epoch: int) -> None:
    height, width, colors = shape
    image = Summary.Image(height=height, width=width, colorspace=colors, encoded_image_string=encoded)
    _add(writer, Summary(value=[Summary.Value(tag=tag, image=image)]), epoch)


def _add(writer: SummaryWriter, summary: Summary, step: int) -> None:
    # the writer's own methods make the same call
    writer._get_file_writer().add_summary(summary, step)  # type: ignore[no-untyped-call]

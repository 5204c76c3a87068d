"""The most confident mistakes of each class or finding, with small pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segpipe.errors import SegpipeError
from segpipe.evaluation.classification.images import ClassifiedImages
from segpipe.pictures import grey_levels
from segpipe.volumes import read_picture, read_volume

MOST_MISTAKES = 6
"""Largest number of mistakes shown of a name."""
MOST_PICTURES = 150
"""Largest number of pictures in a page; further mistakes have none."""
_LONGEST_SIDE = 192
_JPEG_QUALITY = 82
_NAMES_SHOWN = 3
_RGB = 3  # channels


@dataclass(frozen=True)
class Mistake:
    """An image whose decision is wrong.

    Attributes:
        case: name of the case.
        patient: patient of the case; empty where not known.
        file: path of the image; empty where not known.
        true: its class, or the finding with "present" or "absent".
        predicted: the decided class, or "present" or "absent".
        probabilities: the largest probabilities, in words.
        picture: JPEG as a data URI; None where the image cannot be read.
    """

    case: str
    patient: str
    file: str
    true: str
    predicted: str
    probabilities: tuple[str, ...]
    picture: str | None


@dataclass(frozen=True)
class MistakesOf:
    """The mistakes of a class or finding.

    Attributes:
        name: the class or finding.
        place: its index.
        summary: number of the mistakes, in words.
        shown: the most confident ones, the most confident first.
    """

    name: str
    place: int
    summary: str
    shown: tuple[Mistake, ...]


def confident_mistakes(images: ClassifiedImages) -> list[MistakesOf]:
    """Return the most confident mistakes of each name that has one.

    A class has the images of this class that were decided to be another. A finding has the images in which it was
    missed, or decided although it is absent.
    """
    pictures = _Pictures()
    of_name = _class_mistakes if images.categories.exclusive else _finding_mistakes
    groups = (of_name(images, place, pictures) for place in range(images.categories.num))
    return [group for group in groups if group.shown]


class _Pictures:
    """Small pictures, up to `MOST_PICTURES`."""

    def __init__(self) -> None:
        self._drawn = 0

    def of(self, file: str) -> str | None:
        if not file or self._drawn >= MOST_PICTURES or not Path(file).is_file():
            return None
        try:
            picture = small_picture(Path(file))
        except SegpipeError:  # the prediction may come from another copy of the image
            return None
        self._drawn += 1
        return picture


def _class_mistakes(images: ClassifiedImages, place: int, pictures: _Pictures) -> MistakesOf:
    of_class = images.targets == place
    wrong = np.flatnonzero(of_class & ~images.correct)
    ranked = wrong[np.argsort(-images.confidence[wrong], kind="stable")]
    name = images.categories.names[place]
    shown = tuple(
        _mistake(images, row, name, images.decision_in_words(row), pictures)
        for row in ranked[:MOST_MISTAKES].tolist()
    )
    return MistakesOf(name, place, f"{len(wrong)} of {int(of_class.sum())} images decided wrongly", shown)


def _finding_mistakes(images: ClassifiedImages, place: int, pictures: _Pictures) -> MistakesOf:
    present, decided = images.present[:, place], images.decided[:, place]
    missed, claimed = np.flatnonzero((present == 1) & ~decided), np.flatnonzero((present == 0) & decided)
    probabilities = images.probabilities[:, place]
    name = images.categories.names[place]
    half = MOST_MISTAKES // 2
    missed_first = missed[np.argsort(probabilities[missed], kind="stable")][:half]
    claimed_first = claimed[np.argsort(-probabilities[claimed], kind="stable")][:half]
    shown = [
        *(
            _mistake(images, row, f"{name} present", "absent", pictures, place)
            for row in missed_first.tolist()
        ),
        *(
            _mistake(images, row, f"{name} absent", "present", pictures, place)
            for row in claimed_first.tolist()
        ),
    ]
    summary = (
        f"missed in {len(missed)} of {int((present == 1).sum())} images, decided in {len(claimed)} of "
        f"{int((present == 0).sum())} images without it"
    )
    return MistakesOf(name, place, summary, tuple(shown))


def _mistake(
    images: ClassifiedImages,
    row: int,
    true: str,
    predicted: str,
    pictures: _Pictures,
    place: int | None = None,
) -> Mistake:
    file = images.files[row] if images.files else ""
    return Mistake(
        images.cases[row],
        images.patients[row] if images.patients else "",
        file,
        true,
        predicted,
        tuple(_largest(images, row, place)),
        pictures.of(file),
    )


def _largest(images: ClassifiedImages, row: int, place: int | None) -> Iterator[str]:
    """Yield the probability of the finding at `place`, then the largest probabilities."""
    ranked = np.argsort(-images.probabilities[row], kind="stable").tolist()
    if place is not None:
        ranked = [place]
    for index in ranked[:_NAMES_SHOWN]:
        yield f"{images.categories.names[index]} {images.probabilities[row, index]:.3f}"


def small_picture(path: Path) -> str:
    """Return an image as a small JPEG in a data URI; an image without a scale of its own is drawn by its percentiles.

    Args:
        path: a file that segpipe reads.

    Raises:
        SegpipeError: the file cannot be read.
    """
    try:
        pixels = np.round(255 * read_picture(path).pixels).astype(np.uint8)
    except SegpipeError:  # such as CT values, whose window only the bundle knows
        pixels = np.stack([grey_levels(_plane(channel)) for channel in read_volume(path).channels])
    rgb = np.moveaxis(pixels, 0, -1) if len(pixels) == _RGB else pixels[0]
    picture = Image.fromarray(np.ascontiguousarray(rgb))
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _plane(channel: NDArray[Any]) -> NDArray[Any]:
    """Return a channel's rows and columns; of a volume, the middle slice."""
    plane = channel if channel.ndim == 2 else channel[..., channel.shape[2] // 2]
    return plane.T

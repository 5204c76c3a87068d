"""The cards of a set of images: for each class or finding some images, spread over folds and parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segpipe.categories import NO_FINDING
from segpipe.dataset import Case, ImageReport, Manifest
from segpipe.dataset.progress import with_progress
from segpipe.labels import same_name
from segpipe.overview.selection import places_of, spread_choice
from segpipe.overview.summary import Color
from segpipe.volumes import read_picture

_LONGEST_SIDE = 224  # pixels of a drawn image


@dataclass(frozen=True)
class ImageCard:
    """One image on the contact sheet.

    Attributes:
        case: id of the case.
        place: part of the data set, such as "fold 0".
        others: the other findings that are present; empty for classes.
        unknown: the findings of which nobody knows.
        size: such as "512 x 496 pixels".
        remarks: warnings about the image.
        picture: uint8 (rows, columns, 3), at most 224 pixels long.
    """

    case: str
    place: str
    others: Sequence[str]
    unknown: Sequence[str]
    size: str
    remarks: Sequence[str]
    picture: NDArray[np.uint8]


@dataclass(frozen=True)
class CardGroup:
    """The contact sheet of one class or finding.

    Attributes:
        name: of the class or finding; `No Finding` for images without any.
        color: of the name on the page; None for images without a finding or label.
        number: of all readable images of the class or finding.
        cards: the drawn images.
    """

    name: str
    color: Color | None
    number: int
    cards: Sequence[ImageCard]


def card_groups(
    manifest: Manifest,
    reports: Sequence[ImageReport],
    colors: Mapping[str, Color],
    dataset_dir: Path,
    *,
    number: int,
    seed: int,
    window: tuple[float, float] | None,
) -> list[CardGroup]:
    """Choose and draw images of each class or finding.

    Args:
        manifest: of target class or findings.
        reports: of its training and test cases; cases with errors are not drawn.
        colors: name -> colour of each class or finding, in the manifest's order.
        dataset_dir: folder of the files.
        number: largest number of images of a class or finding.
        seed: of the selection.
        window: see `segpipe.volumes.read_picture`.

    Returns:
        one group for each class or finding with an image; then one of images without a class or finding, if any.
    """
    cases = {case.case: case for case in (*manifest.training, *manifest.test)}
    sound = {report.case: report for report in reports if not report.has_errors}
    places = places_of(manifest)
    members: dict[str, list[str]] = {name: [] for name in colors}
    name_of = {same_name(name): name for name in colors}
    rest = NO_FINDING if manifest.target == "findings" else "no class"
    for case in sound:
        for name in cases[case].classes:
            members[name_of[same_name(name)]].append(case)
        if not cases[case].classes:
            members.setdefault(rest, []).append(case)
    chosen = {
        name: spread_choice({case: (places[case], frozenset()) for case in group}, number, seed)[0]
        for name, group in members.items()
        if group
    }
    drawn = {
        case: _draw(dataset_dir / cases[case].images[0], window)
        for case in with_progress(
            sorted({case for group in chosen.values() for case in group}), "Drawing images"
        )
    }
    return [
        CardGroup(
            name,
            colors.get(name),
            len(members[name]),
            [_card(cases[case], name, places[case], sound[case], drawn[case]) for case in group],
        )
        for name, group in chosen.items()
    ]


def _card(case: Case, group: str, place: str, report: ImageReport, picture: NDArray[np.uint8]) -> ImageCard:
    facts = report.facts
    return ImageCard(
        case.case,
        place,
        [name for name in case.classes if same_name(name) != same_name(group)],
        case.unknown,
        "" if facts is None else f"{facts.columns} x {facts.rows} pixels",
        [finding.message for finding in report.findings],
        picture,
    )


def _draw(path: Path, window: tuple[float, float] | None) -> NDArray[np.uint8]:
    pixels = read_picture(path, window=window).three_channels()
    picture = Image.fromarray(np.rint(255 * pixels).astype(np.uint8).transpose(1, 2, 0))
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(picture)

"""Square tiles of labelled 2D slices as a data set of classes: infected or not, from label maps.

A tile is of the second class where labels cover enough of it. It is of the first where they cover nothing and the tile
lies in the body. Tiles between the two, tiles of the empty canvas and tiles of one grey level are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.dataset.checksums import with_checksums
from segpipe.dataset.manifest import Case, Manifest
from segpipe.dataset.manifest_files import write_manifest
from segpipe.dataset.progress import with_progress
from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, read_volume, write_volume

MANIFEST_NAME = "dataset.json"
_FILLED = 0.95  # share of a healthy tile that must be brighter than the canvas
_PLAIN = 0.02  # standard deviation, as a share of the slice's range, below which a tile shows nothing
_SMALLEST = 4


@dataclass(frozen=True)
class TileOptions:
    """How tiles are cut.

    Attributes:
        size: pixels along each side.
        share: share of labelled pixels from which a tile is of the second class, above 0 to 1.
        most: tiles of each class that a slice gives at most, drawn with the seed.
        classes: names of the two classes: without and with labelled pixels.
        seed: of the draw.
    """

    size: int = 24
    share: float = 0.5
    most: int = 12
    classes: tuple[str, str] = ("healthy", "infected")
    seed: int = 0


@dataclass(frozen=True)
class Tiles:
    """A written set of tiles.

    Attributes:
        manifest: path of its manifest.
        counts: class -> number of tiles.
        slices: number of slices that gave tiles.
        without: slices that gave none.
    """

    manifest: Path
    counts: dict[str, int]
    slices: int
    without: tuple[str, ...]


def write_tiles(manifest: Manifest, dataset_dir: Path, output: Path, options: TileOptions) -> Tiles:
    """Cut the labelled slices of a data set into tiles, and describe them as a data set of two classes.

    A tile keeps fold and patient of its slice; where no patient is known, the slice counts as one, so that no division
    puts tiles of one slice on two sides. The same arguments write the same bytes.

    Args:
        manifest: of target mask, with 2D images.
        dataset_dir: folder of the manifest's files.
        output: folder of the tiles, `SLICE/CLASS_NUMBER.mhd`, and of their manifest; must be empty, is made if missing.
        options: how tiles are cut.

    Raises:
        SegpipeError: the manifest has no label maps; an image is not 2D, or has another size than its label map; a
            number is out of range; the folder holds files; or a class gets no tile.
    """
    _require_options(options)
    if manifest.target != "mask":
        raise SegpipeError(f"{manifest.name}: its target is {manifest.target}; tiles are cut by label maps")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise SegpipeError(f"{output}: holds files already; choose an empty folder")
    parts: dict[str, list[Case]] = {"training": [], "test": []}
    without = []
    listed = [("training", case) for case in manifest.training]
    listed += [("test", case) for case in manifest.test if case.label is not None]
    for part, case in with_progress(listed, "Cutting slices"):
        cut = list(_tiles_of(case, manifest, dataset_dir, output, options))
        parts[part] += cut
        without += [] if cut else [case.case]
    counts = {
        name: sum(name in tile.classes for tiles in parts.values() for tile in tiles)
        for name in options.classes
    }
    lacking = [name for name, count in counts.items() if not count]
    if lacking:
        raise SegpipeError(
            f"{manifest.name}: no tile of {options.size} x {options.size} pixels is {', '.join(lacking)}; choose a "
            "smaller --size or --share"
        )
    described = Manifest(
        name=f"{manifest.name}_tiles",
        modality=manifest.modality,
        labels=dict(enumerate(options.classes)),
        training=tuple(parts["training"]),
        test=tuple(parts["test"]),
        target="class",
        description=(
            f"Tiles of {options.size} x {options.size} pixels of {manifest.name}: {options.classes[1]} from "
            f"{100 * options.share:.0f} % labelled pixels on, {options.classes[0]} without any. {manifest.description}"
        ).strip(),
        source=manifest.source,
        reference=manifest.reference,
        licence=manifest.licence,
        citation=manifest.citation,
        patients=f"a tile has the patient of its slice, or the slice where none is known. {manifest.patients}".strip(),
        checksums="taken from the tiles as they were written",
    )
    path = output / MANIFEST_NAME
    write_manifest(with_checksums(described, output), path)
    return Tiles(path, counts, len(listed) - len(without), tuple(without))


def _require_options(options: TileOptions) -> None:
    if options.size < _SMALLEST or not 0 < options.share <= 1 or options.most < 1:
        raise SegpipeError(
            f"tiles: size is {options.size}, share {options.share}, most {options.most}; size must be at least "
            f"{_SMALLEST} pixels, share above 0 and at most 1, most at least 1"
        )


def _tiles_of(
    case: Case, manifest: Manifest, folder: Path, output: Path, options: TileOptions
) -> Iterator[Case]:
    """Write the tiles of one slice; yield each as a case."""
    image = read_volume(folder / case.images[0])
    labels = read_volume(folder / str(case.label))
    if image.grid.spatial_dims != 2 or image.grid.size != labels.grid.size:
        raise SegpipeError(
            f"{case.case}: the image has size {image.grid.size}, the label map {labels.grid.size} pixels; tiles need "
            "2D images with label maps of the same size"
        )
    pixels = image.channels[0]
    table = manifest.label_table()
    indices = table.to_indices(labels.channels[0])
    labelled = (indices > 0) & (indices != table.ignored_index)
    places = _places(pixels, labelled, indices > 0, options)
    patient = case.patient or case.case
    for name, corners in zip(options.classes, places, strict=True):
        for number, (x, y) in enumerate(corners, 1):
            path = f"{case.case}/{name}_{number:02}.mhd"
            tile = np.ascontiguousarray(pixels[x : x + options.size, y : y + options.size])
            write_volume(tile, Grid.from_affine(tile.shape, np.diag([-1.0, -1.0, 1.0, 1.0])), output / path)
            yield Case(
                f"{case.case}_{name}_{number:02}", (path,), patient=patient, fold=case.fold, classes=(name,)
            )


def _places(
    pixels: NDArray[Any], labelled: NDArray[np.bool_], not_healthy: NDArray[np.bool_], options: TileOptions
) -> tuple[Sequence[tuple[int, int]], Sequence[tuple[int, int]]]:
    """Return the corners of the tiles of either class, on a grid without overlap, drawn with the seed."""
    size = options.size
    canvas, least = pixels.min(), _PLAIN * float(np.ptp(pixels))
    healthy, infected = [], []
    for x in range(0, pixels.shape[0] - size + 1, size):
        for y in range(0, pixels.shape[1] - size + 1, size):
            tile = pixels[x : x + size, y : y + size]
            if tile.std() < least:
                continue
            share = labelled[x : x + size, y : y + size].mean()
            filled = (tile > canvas).mean()
            if share >= options.share:
                infected.append((x, y))
            elif filled >= _FILLED and not not_healthy[x : x + size, y : y + size].any():
                healthy.append((x, y))
    generator = np.random.default_rng(options.seed)
    healthy, infected = (
        sorted(found[place] for place in generator.permutation(len(found))[: options.most])
        for found in (healthy, infected)
    )
    return healthy, infected

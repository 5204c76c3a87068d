"""Write phantoms with one class, or with findings, as a data set to train a classifier on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segpipe.csv_files import csv_text
from segpipe.dataset.checksums import with_checksums
from segpipe.dataset.folds import with_folds
from segpipe.dataset.manifest import Case, Manifest
from segpipe.dataset.manifest_files import write_manifest
from segpipe.dataset.progress import with_progress
from segpipe.errors import SegpipeError
from segpipe.files import write_text
from segpipe.phantoms.chest_xray import FINDINGS, chest_phantom
from segpipe.phantoms.files import MANIFEST_NAME, NUM_FOLDS, require_empty
from segpipe.phantoms.retina import CLASSES, retina_phantom
from segpipe.volumes import Grid, write_volume

FINDINGS_TABLE = "labels.csv"
IMAGES_A_PATIENT = 2


def write_class_phantoms(
    folder: Path, num_images: int, seed: int, *, size: int = 64, num_test: int = 0
) -> Path:
    """Write synthetic retinal OCT with one class an image, in the layout of OCT2017: `CLASS/CLASS-PATIENT-N.png`.

    A patient has two images of one class. The classes have equal numbers of patients, or one more. The same arguments
    write the same bytes.

    Args:
        folder: for the images and `dataset.json`; must be empty, is made if missing.
        num_images: to train on, in four folds; at least 24, so that every fold has every class.
        seed: of the data set, at least 0.
        size: pixels along each side, at least 32.
        num_test: images of further patients, with classes, listed under test; in `test/CLASS/` below the folder.

    Returns:
        Path of the manifest, `dataset.json`, of target "class", with checksums and 4 folds.

    Raises:
        SegpipeError: the folder holds files already, or a number is out of range.
    """
    _require_enough(num_images, num_test, len(CLASSES) * NUM_FOLDS * IMAGES_A_PATIENT)
    require_empty(folder)
    cases = []
    for number, patient, image in _numbered(num_images + num_test):
        pixels, name = retina_phantom(seed, patient, image, size=size)
        case = f"{name}-{1000 + patient}-{image + 1}"
        path = f"{'test/' if number >= num_images else ''}{name}/{case}.png"
        _write_image(pixels, folder / path)
        cases.append(Case(case, (path,), patient=str(1000 + patient), classes=(name,)))
    manifest = Manifest(
        name="retina_phantoms",
        description=f"Synthetic retinal OCT of three classes; segpipe's generator, seed {seed}.",
        modality=("OCT",),
        labels=dict(enumerate(CLASSES)),
        target="class",
        training=tuple(cases[:num_images]),
        test=tuple(cases[num_images:]),
    )
    return _write(manifest, folder, seed)


def write_finding_phantoms(
    folder: Path, num_images: int, seed: int, *, size: int = 64, num_test: int = 0
) -> Path:
    """Write synthetic chest X-rays with any number of findings: `images/PATIENT_N.png` and `labels.csv`.

    A patient has two images. The table has one column a finding, with 1 present, 0 absent and -1 unknown, as CheXpert
    has. The same arguments write the same bytes.

    Args:
        folder: for the images, `labels.csv` and `dataset.json`; must be empty, is made if missing.
        num_images: to train on, in four folds; at least 24.
        seed: of the data set, at least 0.
        size: pixels along each side, at least 32.
        num_test: images of further patients, with findings, listed under test.

    Returns:
        Path of the manifest, `dataset.json`, of target "findings", with checksums and 4 folds.

    Raises:
        SegpipeError: the folder holds files already, or a number is out of range.
    """
    _require_enough(num_images, num_test, len(FINDINGS) * NUM_FOLDS * IMAGES_A_PATIENT)
    require_empty(folder)
    cases = []
    for _, patient, image in _numbered(num_images + num_test):
        pixels, present, unknown = chest_phantom(seed, patient, image, size=size)
        case = f"{1000 + patient}_{image:03d}"
        path = f"images/{case}.png"
        _write_image(pixels, folder / path)
        cases.append(Case(case, (path,), patient=str(1000 + patient), classes=present, unknown=unknown))
    manifest = Manifest(
        name="chest_phantoms",
        description=f"Synthetic chest X-rays with three findings; segpipe's generator, seed {seed}.",
        modality=("X-ray",),
        labels=dict(enumerate(FINDINGS)),
        target="findings",
        training=tuple(cases[:num_images]),
        test=tuple(cases[num_images:]),
    )
    write_text(folder / FINDINGS_TABLE, _table(manifest))
    return _write(manifest, folder, seed)


def _numbered(num_images: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, patient and number within the patient of each image."""
    for number in with_progress(range(num_images), "Making phantoms"):
        yield number, *divmod(number, IMAGES_A_PATIENT)


def _require_enough(num_images: int, num_test: int, fewest: int) -> None:
    if num_images < fewest or num_images % IMAGES_A_PATIENT or num_test < 0:
        raise SegpipeError(
            f"phantoms: {num_images} images to train on and {num_test} to test asked for; needs an even number of at "
            f"least {fewest}, since a patient has {IMAGES_A_PATIENT} images and {NUM_FOLDS} folds share the classes"
        )


def _write_image(pixels: NDArray[np.uint8], path: Path) -> None:
    write_volume(pixels, Grid.from_affine(pixels.shape, np.diag([-1.0, -1.0, 1.0, 1.0])), path)


def _write(manifest: Manifest, folder: Path, seed: int) -> Path:
    manifest = replace(
        manifest,
        source="segpipe phantoms dataset",
        licence="CC0-1.0",
        patients=f"every {IMAGES_A_PATIENT} phantoms are one patient",
        checksums="taken from the files as they were written",
    )
    path = folder / MANIFEST_NAME
    present = [case.classes for case in manifest.training]
    write_manifest(with_folds(with_checksums(manifest, folder), NUM_FOLDS, seed, present), path)
    return path


def _table(manifest: Manifest) -> str:
    """Return the findings of all cases as CSV, in CheXpert's form."""
    parts = [("train", case) for case in manifest.training] + [("test", case) for case in manifest.test]
    rows = [(*case.images, case.patient, part, *_values(case)) for part, case in parts]
    return csv_text(("image", "patient", "split", *FINDINGS), rows)


def _values(case: Case) -> Sequence[int]:
    return [1 if name in case.classes else -1 if name in case.unknown else 0 for name in FINDINGS]

"""Small data sets of images with a class or findings, for tests that read a folder."""

import numpy as np
from PIL import Image

from segpipe.dataset import Case, Manifest


def pixels(seed, size=(24, 20)):
    """Return 8-bit noise of (rows, columns)."""
    return np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def write_images(folder, names, size=(24, 20)):
    """Write an image of other noise for each name, and return the folder."""
    for seed, name in enumerate(names):
        save(folder / f"{name}.png", pixels(seed, size))
    return folder


def class_manifest(classes, *, patients=None, folds=None, splits=None, test=(), labels=("a", "b")):
    """Return a manifest of the cases c0, c1, ... with these classes; each a patient of its own by default."""
    cases = tuple(
        Case(
            f"c{number}",
            (f"c{number}.png",),
            patient=patients[number] if patients else f"p{number}",
            classes=(name,),
            fold=folds[number] if folds else None,
        )
        for number, name in enumerate(classes)
    )
    return Manifest(
        "made", ("OCT",), dict(enumerate(labels)), cases, tuple(test), target="class", splits=splits or {}
    )


def findings_manifest(present, *, unknown=None, labels=("Effusion", "Mass"), **options):
    """Return a manifest of the cases c0, c1, ... with these findings present."""
    cases = tuple(
        Case(
            f"c{number}",
            (f"c{number}.png",),
            patient=f"p{number}",
            classes=tuple(names),
            unknown=tuple(unknown[number]) if unknown else (),
        )
        for number, names in enumerate(present)
    )
    return Manifest("made", ("X-ray",), dict(enumerate(labels)), cases, target="findings", **options)

"""Small data sets for tests that read a folder."""

import json

import numpy as np

from segpipe.dataset import check_cases, load_manifest, write_manifest
from segpipe.volumes import Grid, write_label_map, write_volume

SIZE = (6, 5, 4)
CLASSES = {0: "background", 1: "tumour"}
KNOWN = {"labels": CLASSES, "modality": ["CT"]}


def write_image(path, seed=0, size=SIZE):
    voxels = np.random.default_rng(seed).integers(1, 200, size).astype(np.uint8)
    write_volume(voxels, Grid.from_affine(size, np.diag([-1.0, -1, 1, 1])), path)


def write_labels(path, values=(0, 1), size=SIZE):
    voxels = np.resize(np.array(values, np.uint8), size)
    write_label_map(voxels, Grid.from_affine(size, np.diag([-1.0, -1, 1, 1])), path)


def write_set(top, images=(), labels=(), size=SIZE):
    """Write images and label maps into a folder, and return the folder."""
    for seed, name in enumerate(images):
        write_image(top / name, seed, size)
    for name in labels:
        write_labels(top / name, size=size)
    return top


def write_nnunet(top, remove=(), **changes):
    """Write an nnU-Net folder of two channels with a changed description, and return the folder."""
    images = [f"imagesTr/{case}_{channel:04d}.nii.gz" for case in "ab" for channel in range(2)]
    write_set(top, [*images, "imagesTs/c_0000.nii.gz", "imagesTs/c_0001.nii.gz"])
    for case in "ab":
        write_labels(top / "labelsTr" / f"{case}.nii.gz")
    for name in remove:
        (top / name).unlink()
    content = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "tumour": 1},
        "numTraining": 2,
        "file_ending": ".nii.gz",
        **changes,
    }
    (top / "dataset.json").write_text(json.dumps(content))
    return top


def require_sound(created, folder):
    """Require that the manifest can be written and read, and that its files pass the check."""
    write_manifest(created.manifest, folder.parent / "manifest.json")
    manifest = load_manifest(folder.parent / "manifest.json")
    assert manifest == created.manifest
    cases = [*manifest.training, *manifest.test]
    assert check_cases(cases, folder, manifest, manifest.label_table()) == []

"""The folder of a manifest's files, where the command line does not give it."""

from __future__ import annotations

import os
from pathlib import Path

from segpipe.dataset.manifest import Manifest
from segpipe.dataset.manifest_files import shipped_manifests
from segpipe.errors import SegpipeError

DATA_VARIABLE = "SEGPIPE_DATA"


def known_dataset_dir(name_or_path: str, manifest: Manifest) -> Path | None:
    """Return the first existing folder of three: the manifest's `dataset_dir`, its folder, one below `SEGPIPE_DATA`.

    The manifest's folder counts only if it contains the first image. The folder below `SEGPIPE_DATA` counts only for a
    shipped manifest and has its name.

    Args:
        name_or_path: argument of `load_manifest`.
        manifest: result of `load_manifest`.

    Returns:
        an existing folder; None where none is known.
    """
    places = [Path(manifest.dataset_dir)] if manifest.dataset_dir else []
    manifest_folder = Path(name_or_path).parent
    first = manifest.training[0].images[0]
    if Path(name_or_path).is_file() and (manifest_folder / first).exists():
        places.append(manifest_folder)
    root = os.environ.get(DATA_VARIABLE)
    if root and name_or_path in shipped_manifests():
        places.append(Path(root) / name_or_path)
    return next((place for place in places if place.is_dir()), None)


def dataset_dir_of(name_or_path: str, manifest: Manifest, given: Path | None) -> Path:
    """Return the folder `given`, else the result of `known_dataset_dir`.

    Raises:
        SegpipeError: no folder is known.
    """
    folder = known_dataset_dir(name_or_path, manifest) if given is None else given
    if folder is None:
        noted = f", the manifest names {manifest.dataset_dir}" if manifest.dataset_dir else ""
        raise SegpipeError(
            f"{name_or_path}: the folder of its files is not known{noted}; give it with --dataset-dir, or set "
            f"{DATA_VARIABLE} to the folder that holds the data sets, each in a folder with its manifest's name"
        )
    return folder

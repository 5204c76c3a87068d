"""Where the files of a manifest lie, when nobody says it on the command line."""

from __future__ import annotations

import os
from pathlib import Path

from segpipe.dataset.manifest import Manifest
from segpipe.dataset.manifest_files import shipped_manifests
from segpipe.errors import SegpipeError

DATA_VARIABLE = "SEGPIPE_DATA"


def known_dataset_dir(name_or_path: str, manifest: Manifest) -> Path | None:
    """Return the folder that a manifest notes, else its own where its files lie there, else that below `SEGPIPE_DATA`.

    Args:
        name_or_path: as it was given to `load_manifest`.
        manifest: what that returned.

    Returns:
        a folder that is there; None where none is known.
    """
    places = [Path(manifest.dataset_dir)] if manifest.dataset_dir else []
    own = Path(name_or_path).parent
    first = manifest.training[0].images[0]
    if Path(name_or_path).is_file() and (own / first).exists():
        places.append(own)
    root = os.environ.get(DATA_VARIABLE)
    if root and name_or_path in shipped_manifests():
        places.append(Path(root) / name_or_path)
    return next((place for place in places if place.is_dir()), None)


def dataset_dir_of(name_or_path: str, manifest: Manifest, given: Path | None) -> Path:
    """Return the folder that was given, else the known one.

    Raises:
        SegpipeError: none is known.
    """
    folder = known_dataset_dir(name_or_path, manifest) if given is None else given
    if folder is None:
        noted = f", which says {manifest.dataset_dir}" if manifest.dataset_dir else ""
        raise SegpipeError(
            f"{name_or_path}: where its files lie is not known{noted}; say it with --dataset-dir, or set "
            f"{DATA_VARIABLE} to the folder that holds the data sets, each under its manifest's name"
        )
    return folder

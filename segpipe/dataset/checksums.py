"""SHA-256 of the files of a data set, for its manifest."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from segpipe.dataset.manifest import Case, Manifest
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256
from segpipe.volumes import voxel_file


def with_checksums(manifest: Manifest, dataset_dir: Path) -> Manifest:
    """Return the manifest with the SHA-256 of every file of its cases, and of the voxel file of every .mhd header.

    A DICOM series is a folder and gets no checksum.

    Raises:
        SegpipeError: a file is missing or cannot be read.
    """
    sha256_of = cache(file_sha256)  # several cases can be time frames of one file

    def summed(case: Case) -> Case:
        checksums = {}
        for path in case.files:
            if (dataset_dir / path).is_dir():
                continue
            if not (dataset_dir / path).is_file():
                raise SegpipeError(
                    f"{case.case}: {path} is no file below {dataset_dir}, so it has no checksum; "
                    "fetch it or correct the path"
                )
            checksums[path] = sha256_of(dataset_dir / path)
            voxels = voxel_file(dataset_dir / path)
            if voxels is not None:
                name = _name_below(voxels, dataset_dir, case)
                checksums[name] = sha256_of(voxels)
        return replace(case, sha256=checksums)

    return replace(
        manifest,
        training=tuple(summed(case) for case in manifest.training),
        test=tuple(summed(case) for case in manifest.test),
    )


def _name_below(voxels: Path, dataset_dir: Path, case: Case) -> str:
    """Return a voxel file's path relative to the data set's folder."""
    below = voxels.is_relative_to(dataset_dir) and ".." not in voxels.relative_to(dataset_dir).parts
    if not below or not voxels.is_file():
        raise SegpipeError(
            f"{case.case}: the voxel file {voxels} is missing or not below {dataset_dir}, so it has no checksum; "
            "fetch it or correct the header"
        )
    return voxels.relative_to(dataset_dir).as_posix()

"""Folders in the layout of the Medical Segmentation Decathlon (MSD): a dataset.json lists every file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segpipe.dataset.importing.found_cases import (
    DatasetPart,
    FoundCase,
    Layout,
    is_there,
    require_present,
    unlisted,
)
from segpipe.dataset.manifest import Manifest
from segpipe.dataset.manifest_files import parse_manifest
from segpipe.errors import shown

_TEXTS = ("description", "reference", "licence")
_PARTS: Mapping[str, DatasetPart] = {"training": "train", "validation": "validation", "test": "test"}


def cases_of_decathlon(folder: Path, content: Mapping[str, Any]) -> Layout:
    """Read the cases that a dataset.json lists, including an entry `validation`, which AMOS has.

    Args:
        folder: of the data set.
        content: of its dataset.json.

    Raises:
        SegpipeError: the dataset.json does not have MSD's form, or files are missing.
    """
    where = folder / "dataset.json"
    manifest = parse_manifest(content, str(where))
    listed = {key: content[key] for key in _PARTS if isinstance(content.get(key), list)}
    validation = listed.get("validation", [])
    held_out = [entry for entry in validation if _is_labelled(entry)]
    unlabelled = [entry for entry in validation if not _is_labelled(entry)]
    if held_out or unlabelled:
        training, test = [*listed["training"], *held_out], [*listed.get("test", []), *unlabelled]
        counts = {"numTraining": len(training), "numTest": len(test)}
        manifest = parse_manifest({**content, **counts, "training": training, "test": test}, str(where))
    cases = _cases(folder, manifest, len(listed["training"]))
    require_present((file for case in cases for file in case.files), folder, where)
    notes = unlisted(folder, cases, ("imagesTr", "labelsTr"), where.name)
    extra = {key for key, value in content.items() if isinstance(value, list)} - set(_PARTS)
    for entries in listed.values():
        extra |= {key for entry in entries if isinstance(entry, Mapping) for key in entry} - {
            "image",
            "label",
        }
    if extra:
        notes.append(f"{where.name}: these keys are not taken over: {shown(sorted(extra))}")
    texts = {name: getattr(manifest, name) for name in _TEXTS if getattr(manifest, name)}
    listed_files = {image for case in (*manifest.training, *manifest.test) for image in case.images}
    is_numbered = any(image not in listed_files for case in cases for image in case.images)
    what = "nnU-Net, first version" if is_numbered else "MSD"
    return Layout(what, cases, manifest.labels, manifest.modality, manifest.name, texts, notes)


def _is_labelled(entry: Any) -> bool:
    return isinstance(entry, Mapping) and "label" in entry


def _cases(folder: Path, manifest: Manifest, num_train: int) -> list[FoundCase]:
    parts: list[DatasetPart] = ["train"] * num_train
    parts += ["validation"] * (len(manifest.training) - num_train)
    parts += ["test"] * len(manifest.test)
    cases = []
    for case, part in zip((*manifest.training, *manifest.test), parts, strict=True):
        images = _present(folder, case.images, manifest.num_channels)
        cases.append(FoundCase(case.case, images, ("",) * len(images), case.label, part=part))
    return cases


def _present(folder: Path, images: tuple[str, ...], channels: int) -> tuple[str, ...]:
    """Return the image files of a case: as listed, or one a channel as nnU-Net's first version stores them."""
    if len(images) > 1 or is_there(folder / images[0]):
        return images
    for suffix in (".nii.gz", ".nii"):
        if images[0].endswith(suffix):
            bare = images[0].removesuffix(suffix)
            numbered = tuple(f"{bare}_{channel:04d}{suffix}" for channel in range(channels))
            if all(is_there(folder / path) for path in numbered):
                return numbered
    return images

"""Manifests as JSON files: reading, validating, writing, and the manifests shipped with segpipe.

The JSON is a superset of the `dataset.json` of the Medical Segmentation Decathlon (MSD), so MONAI's
`load_decathlon_datalist` reads a manifest and this module reads a plain MSD file. In an MSD file the name of the first
image is the case id. Label names keep their spelling; comparisons ignore upper and lower case.
"""

from __future__ import annotations

import difflib
import json
import os
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from segpipe.dataset.manifest import TEXTS, Case, Download, Manifest, Split
from segpipe.dataset.manifest_checks import check_consistency
from segpipe.dataset.manifest_schema import require_schema
from segpipe.errors import SegpipeError
from segpipe.files import read_json, write_text
from segpipe.regions import NamedRegion


def load_manifest(name_or_path: str | Path) -> Manifest:
    """Read and validate a manifest.

    Args:
        name_or_path: the name of a manifest shipped with segpipe (`hippocampus`), or the path of a JSON file: a text
            that ends in `.json` or names an existing file.

    Raises:
        SegpipeError: the manifest does not exist, or `parse_manifest` refuses it.
    """
    text = str(name_or_path)
    path = Path(name_or_path)
    if path.suffix.lower() != ".json" and not path.is_file():
        return load_manifest(_shipped_path(text))
    try:
        content = read_json(path, "the manifest")
    except SegpipeError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise SegpipeError(
                f"{text}: no such manifest file; give its path, or the name of a shipped one"
            ) from None
        raise
    manifest = parse_manifest(content, text)
    if not manifest.dataset_dir:
        return manifest
    return replace(manifest, dataset_dir=str((path.parent / manifest.dataset_dir).resolve()))


def is_plain_decathlon(path: Path) -> bool:
    """Return whether a JSON file is the Decathlon's own description, which must not be overwritten."""
    return "schema_version" not in read_json(path, "the manifest")


def shipped_manifests() -> tuple[str, ...]:
    """Return the names of the manifests shipped with segpipe."""
    return tuple(sorted(path.stem for path in _shipped_folder().glob("*.json")))


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest as JSON; the same manifest gives the same bytes.

    Raises:
        SegpipeError: `parse_manifest` refuses the manifest; nothing is written then.
    """
    content = manifest.to_json()
    if manifest.dataset_dir:
        content["dataset_dir"] = Path(
            os.path.relpath(manifest.dataset_dir, path.absolute().parent)
        ).as_posix()
    parse_manifest(content, str(path))
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def parse_manifest(content: Any, where: str) -> Manifest:
    """Validate a manifest's JSON content and build the manifest.

    Args:
        content: result of `json.load`.
        where: the file's name, for messages.

    Raises:
        SegpipeError: the content breaks the schema or contradicts itself: a case twice, a path out of the data set's
            folder, a wrong count, folds for some cases only. The message starts with `where` and names the place in
            the file.
    """
    content = require_schema(content, where)
    plain_decathlon = "schema_version" not in content
    manifest = Manifest(
        name=content["name"],
        modality=tuple(content["modality"][key] for key in sorted(content["modality"], key=int)),
        labels={int(value): content["labels"][value] for value in sorted(content["labels"], key=int)},
        training=tuple(_case_from_json(entry, plain_decathlon) for entry in content["training"]),
        test=tuple(_case_from_json(entry, plain_decathlon) for entry in content.get("test", [])),
        target=content.get("target", "mask"),
        splits={name: _split_from_json(entry) for name, entry in content.get("splits", {}).items()},
        downloads=tuple(Download(**entry) for entry in content.get("downloads", [])),
        regions=tuple(
            NamedRegion.from_json(position, row) for position, row in enumerate(content.get("regions", []))
        ),
        dataset_dir=content.get("dataset_dir", ""),
        resample_channels=content.get("resample_channels", False),
        **{key: content.get(key, "") for key in TEXTS},
    )
    for count, cases in (("numTraining", manifest.training), ("numTest", manifest.test)):
        if content.get(count, len(cases)) != len(cases):
            raise SegpipeError(
                f"{where}: $.{count} is {content[count]}, but {len(cases)} cases are listed; "
                "correct the number, or find the missing cases"
            )
    check_consistency(manifest, where)
    return manifest


def _shipped_folder() -> Path:
    """Return `data_manifests` inside an installed package, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "data_manifests"
    return installed if installed.is_dir() else package.parent / "data_manifests"


def _shipped_path(name: str) -> Path:
    shipped = shipped_manifests()
    if name not in shipped:
        nearest = difflib.get_close_matches(name, shipped, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}? " if nearest else ""
        raise SegpipeError(
            f"manifest {name!r} is neither a file nor shipped with segpipe; {hint}"
            f"shipped: {', '.join(shipped) or 'none'}; or give the path of a JSON file"
        )
    return _shipped_folder() / f"{name}.json"


def _case_from_json(entry: dict[str, Any] | str, plain_decathlon: bool) -> Case:
    if isinstance(entry, str):
        entry = {"image": entry}
    image = entry["image"]
    images = tuple(_plain_path(path) for path in ([image] if isinstance(image, str) else image))
    label = _plain_path(entry["label"]) if "label" in entry else None
    if plain_decathlon:
        name = PurePosixPath(images[0]).name.removesuffix(".gz")
        return Case(case=PurePosixPath(name).stem, images=images, label=label)
    return Case(
        case=entry["case"],
        images=images,
        label=label,
        patient=entry.get("patient"),
        fold=int(entry["fold"]) if "fold" in entry else None,  # 1.0 is an integer in JSON Schema
        classes=tuple(entry.get("classes", ())),
        unknown=tuple(entry.get("unknown", ())),
        sha256={_plain_path(path): digest for path, digest in entry.get("sha256", {}).items()},
        frame=int(entry["frame"]) if "frame" in entry else None,
        weight=float(entry["weight"]) if "weight" in entry else None,
    )


def _split_from_json(entry: dict[str, Any]) -> Split:
    train, validation, test = (tuple(entry.get(part, ())) for part in ("train", "validation", "test"))
    return Split(train, validation, test, entry.get("about", ""))


def _plain_path(path: str) -> str:
    """Drop the leading `./` that MSD writes; a later check refuses paths that leave the folder."""
    return str(PurePosixPath(path))

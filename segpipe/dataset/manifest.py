"""What a data set is: its cases and their files, labels, licence, checksums and folds, in one JSON file.

The JSON is a superset of the `dataset.json` of the Medical Segmentation Decathlon (MSD), so MONAI's
`load_decathlon_datalist` reads a manifest and this module reads a plain MSD file. From such a file a case
takes its id from the name of its first image; label names are kept as written and compared without regard to
case.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from segpipe.dataset.manifest_checks import check_consistency
from segpipe.dataset.manifest_schema import require_schema
from segpipe.errors import SegpipeError
from segpipe.files import json_sha256, read_json, write_text
from segpipe.labels import Label, LabelTable, class_color, same_name

Target = Literal["mask", "class", "findings"]

SCHEMA_VERSION = 1
_TEXTS = ("description", "source", "reference", "licence", "citation", "patients", "checksums")


@dataclass(frozen=True)
class Case:
    """One scan and what is known of it.

    Attributes:
        case: id, unique in its manifest, usable as a file name.
        images: paths of the channels' files below the data set's folder, with forward slashes; one file may
            hold all channels.
        label: path of the label map below the data set's folder; None for a test case or another target.
        patient: whose scan it is; None where that is not known.
        fold: the cross-validation fold that this case validates, from 0; None where no folds are assigned.
        classes: for target "class" the one class name, for "findings" any number of them.
        sha256: path -> hexadecimal SHA-256 of that file, or of a voxel file in or below the folder of a .mhd header;
            empty where no checksum is known.
    """

    case: str
    images: tuple[str, ...]
    label: str | None = None
    patient: str | None = None
    fold: int | None = None
    classes: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of all files of the case below the data set's folder: images, then the label map."""
        return self.images if self.label is None else (*self.images, self.label)


@dataclass(frozen=True)
class Split:
    """A division of the cases that somebody published, by case id.

    It may name cases that the manifest does not list, since a copy of the data can lack some.

    Attributes:
        train: what is trained on.
        validation: what is validated on during training.
        test: what is scored once in the end; neither of the two.
        about: whose division it is.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...] = ()
    about: str = ""


@dataclass(frozen=True)
class Download:
    """Where files of a data set are to be had.

    Attributes:
        url: of an archive (tar, compressed or not, or zip), or of one file.
        sha256: of what is downloaded, in hex.
        root: folder in the archive in which the manifest's paths begin; empty for the archive itself.
    """

    url: str
    sha256: str
    root: str = ""


@dataclass(frozen=True)
class Manifest:
    """A data set as a manifest describes it; `load_manifest` and `parse_manifest` validate it.

    Attributes:
        name: short name of the data set.
        modality: one text a channel, in the order of the channels.
        labels: stored value -> class name, in the order of the values. Names are distinct in a file; see `with_groups`.
        target: what a case is labelled with: a label map ("mask"), one class, or any number of findings.
        training: the labelled cases.
        test: further cases, labelled or not; never trained on.
        description: what the data set shows.
        source: where it is to be had.
        reference: who made it.
        licence: terms of the data.
        citation: what to cite.
        patients: what is known about whose scans they are.
        checksums: which copy of the files the checksums were taken from.
        splits: name -> a published division of the cases, beside the folds.
        downloads: where the files are to be had.
        dataset_dir: where they lie on this machine, absolute; empty where that is not known. A file has it relative to
            its own folder, and it does not count for `sha256`.
    """

    name: str
    modality: tuple[str, ...]
    labels: Mapping[int, str] = field(hash=False)
    training: tuple[Case, ...]
    test: tuple[Case, ...] = ()
    target: Target = "mask"
    description: str = ""
    source: str = ""
    reference: str = ""
    licence: str = ""
    citation: str = ""
    patients: str = ""
    checksums: str = ""
    splits: Mapping[str, Split] = field(default_factory=dict, hash=False)
    downloads: tuple[Download, ...] = ()
    dataset_dir: str = ""

    @property
    def num_channels(self) -> int:
        """Number of channels of every image."""
        return len(self.modality)

    def label_table(self) -> LabelTable:
        """Return the labels as a table by themselves, to check files without a bundle.

        The background is the class of that name, else of value 0, else of the smallest value.
        """
        order = sorted(
            self.labels.items(), key=lambda row: (same_name(row[1]) != "background", row[0] != 0, row[0])
        )
        return LabelTable(
            tuple(Label(index, name, class_color(index), value) for index, (value, name) in enumerate(order))
        )

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the content, whatever its layout in the file."""
        return json_sha256(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as plain JSON types, in the order in which `write_manifest` writes them."""
        content = {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            **{key: getattr(self, key) for key in _TEXTS if getattr(self, key)},
            "modality": {str(channel): text for channel, text in enumerate(self.modality)},
            "labels": {str(value): name for value, name in self.labels.items()},
            "target": self.target,
            "numTraining": len(self.training),
            "training": [_case_to_json(case) for case in self.training],
            "numTest": len(self.test),
            "test": [_case_to_json(case) for case in self.test],
        }
        if self.splits:
            content["splits"] = {name: _split_to_json(split) for name, split in self.splits.items()}
        if self.downloads:
            content["downloads"] = [asdict(download) for download in self.downloads]
        return content


def load_manifest(name_or_path: str | Path) -> Manifest:
    """Read and validate a manifest.

    Args:
        name_or_path: the name of a manifest that comes with segpipe (`hippocampus`), or the path of a JSON
            file: whatever ends in `.json` or names an existing file.

    Raises:
        SegpipeError: there is no such manifest, or `parse_manifest` refuses it.
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
    """Return whether a JSON file is the Decathlon's own description, which is not to be written over."""
    return "schema_version" not in read_json(path, "the manifest")


def shipped_manifests() -> tuple[str, ...]:
    """Return the names of the manifests that come with segpipe."""
    return tuple(sorted(path.stem for path in _shipped_folder().glob("*.json")))


def with_groups(manifest: Manifest, groups: Mapping[str, Sequence[str]]) -> Manifest:
    """Return the manifest with some of its classes united, in memory alone: such a manifest is not written.

    Args:
        manifest: of target "mask".
        groups: name of a united class -> the names of the manifest's classes in it; others stay as they are.

    Raises:
        SegpipeError: a class that the manifest has not, one in two groups, or a group named like another class.
    """
    group_of: dict[str, str] = {}
    for group, members in groups.items():
        for member in map(same_name, members):
            if member in group_of:
                raise SegpipeError(
                    f"--group (groups in YAML): {member} is in {group_of[member]} and in {group}; leave one"
                )
            group_of[member] = group
    names = {same_name(name) for name in manifest.labels.values()}
    for wrong, what in (
        (set(group_of) - names, "are not among the manifest's classes"),
        (set(map(same_name, groups)) & (names - set(group_of)), "are groups and other classes at a time"),
    ):
        if wrong:
            raise SegpipeError(
                f"{manifest.name}: --group (groups in YAML): {', '.join(sorted(wrong))} {what} "
                f"({', '.join(manifest.labels.values())}); correct the names"
            )
    labels = {value: group_of.get(same_name(name), name) for value, name in manifest.labels.items()}
    return replace(manifest, labels=labels)


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest as JSON; the same manifest gives the same bytes.

    Raises:
        SegpipeError: the manifest would not pass its own validation; nothing is written then.
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
        content: what `json.load` returned.
        where: the file's name, for messages.

    Raises:
        SegpipeError: the content breaks the schema, has a case twice, a path that leaves the data set's
            folder, a count that does not fit, folds for some cases only, and the like; one message that
            starts with `where` and names the place in the file.
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
        dataset_dir=content.get("dataset_dir", ""),
        **{key: content.get(key, "") for key in _TEXTS},
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
        sha256={_plain_path(path): digest for path, digest in entry.get("sha256", {}).items()},
    )


def _split_from_json(entry: dict[str, Any]) -> Split:
    train, validation, test = (tuple(entry.get(part, ())) for part in ("train", "validation", "test"))
    return Split(train, validation, test, entry.get("about", ""))


def _split_to_json(split: Split) -> dict[str, Any]:
    entry = {"about": split.about, "train": list(split.train), "validation": list(split.validation)}
    return {**entry, "test": list(split.test)} if split.test else entry


def _plain_path(path: str) -> str:
    """Drop the leading `./` that MSD writes; what leaves the folder is refused later, with its case."""
    return str(PurePosixPath(path))


def _case_to_json(case: Case) -> dict[str, Any]:
    entry: dict[str, Any] = {"case": case.case, "patient": case.patient, "image": list(case.images)}
    if case.label is not None:
        entry["label"] = case.label
    if case.classes:
        entry["classes"] = list(case.classes)
    if case.fold is not None:
        entry["fold"] = case.fold
    if case.sha256:
        entry["sha256"] = dict(case.sha256)
    return entry

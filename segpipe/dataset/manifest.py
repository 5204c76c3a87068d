"""The description of a data set: its cases and their files, labels, licence, checksums and folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from segpipe.categories import Categories
from segpipe.errors import SegpipeError
from segpipe.files import json_sha256
from segpipe.labels import IGNORE, Label, LabelTable, class_color, same_name
from segpipe.regions import NamedRegion

Target = Literal["mask", "class", "findings"]

SCHEMA_VERSION = 1
TEXTS = ("description", "source", "reference", "licence", "citation", "patients", "checksums")


@dataclass(frozen=True)
class Case:
    """One scan with its label and metadata.

    Attributes:
        case: id, unique in its manifest, usable as a file name.
        images: paths of the channels' files below the data set's folder, with forward slashes; one file may
            hold all channels.
        label: path of the label map below the data set's folder; None for a test case or another target.
        patient: id of the patient; None where it is not known.
        fold: the cross-validation fold that this case validates, from 0; None where no folds are assigned.
        classes: for target "class" the one class name, for "findings" the findings that are present.
        unknown: for target "findings" those of which nobody knows whether they are present; all others are absent.
        sha256: path -> hexadecimal SHA-256 of that file, or of a voxel file in or below the folder of a .mhd header;
            empty where no checksum is known.
        frame: number of the time frame of 4D files, from 1; None for other files. A label map with one frame is of
            this frame.
        weight: of target "mask", how often a training draws the case in comparison to others, see
            `segpipe.bundle.case_draws`; None where no weight is given, which counts as 1.
    """

    case: str
    images: tuple[str, ...]
    label: str | None = None
    patient: str | None = None
    fold: int | None = None
    classes: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict, hash=False)
    frame: int | None = None
    unknown: tuple[str, ...] = ()
    weight: float | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of all files of the case below the data set's folder: images, then the label map."""
        return self.images if self.label is None else (*self.images, self.label)


@dataclass(frozen=True)
class Split:
    """A named division of the cases, by case id, such as a published one.

    A split may name cases that the manifest does not list, since a copy of the data can lack cases.

    Attributes:
        train: ids of the training cases.
        validation: ids of the cases for validation during training.
        test: ids of the cases that are scored once in the end; in neither of the other two.
        about: author or origin of the division.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...] = ()
    about: str = ""


@dataclass(frozen=True)
class Download:
    """A source of files of a data set.

    Attributes:
        url: of an archive (tar, compressed or not, or zip), or of one file.
        sha256: of the downloaded file, in hex.
        root: folder in the archive in which the manifest's paths begin; empty for the top of the archive.
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
            The name `ignore` is no class: nobody looked at voxels of that value.
        target: kind of label of a case: a label map ("mask"), one class, or any number of findings.
        training: the labelled cases.
        test: further cases, labelled or not; never trained on.
        description: contents of the data set.
        source: where to get the data set.
        reference: authors of the data set.
        licence: terms of the data.
        citation: publication to cite.
        patients: what is known about the assignment of scans to patients.
        checksums: the copy of the files from which the checksums were taken.
        splits: name -> division of the cases, beside the folds.
        downloads: sources of the files.
        regions: unions of classes that a network learns instead of the classes, in the order in which a label map is
            written, see `segpipe.regions`.
        dataset_dir: absolute path of the files on this machine; empty where it is not known. The JSON file has a path
            relative to its folder. `sha256` ignores this path.
        resample_channels: bring channels of a case on other grids onto the grid of its first channel.
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
    regions: tuple[NamedRegion, ...] = ()
    dataset_dir: str = ""
    resample_channels: bool = False

    @property
    def num_channels(self) -> int:
        """Number of channels of every image."""
        return len(self.modality)

    def categories(self) -> Categories:
        """Return the classes, or the findings, of a data set whose target is no label map.

        Raises:
            SegpipeError: the target is "mask", or `Categories` refuses the names.
        """
        if self.target == "mask":
            raise SegpipeError(
                f"{self.name}: its target is mask: its cases have label maps, not classes or findings"
            )
        return Categories(tuple(self.labels[value] for value in sorted(self.labels)), self.target)

    def label_table(self) -> LabelTable:
        """Return the labels as a label table, to check files without a bundle.

        The background is the class named background, else the class of value 0, else that of the smallest value.

        Raises:
            SegpipeError: the regions do not fit the classes, see `LabelTable.with_regions`.
        """
        ignored = [value for value, name in self.labels.items() if same_name(name) == IGNORE]
        order = sorted(
            (row for row in self.labels.items() if row[0] not in ignored),
            key=lambda row: (same_name(row[1]) != "background", row[0] != 0, row[0]),
        )
        classes = LabelTable(
            tuple(Label(index, name, class_color(index), value) for index, (value, name) in enumerate(order)),
            ignore_value=next(iter(ignored), None),
        )
        return classes.with_regions(self.regions)

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the content; the layout of the file does not change it."""
        return json_sha256(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as plain JSON types, in the order in which `write_manifest` writes them."""
        content = {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            **{key: getattr(self, key) for key in TEXTS if getattr(self, key)},
            "modality": {str(channel): text for channel, text in enumerate(self.modality)},
            "labels": {str(value): name for value, name in self.labels.items()},
            **({"regions": [region.to_json() for region in self.regions]} if self.regions else {}),
            "target": self.target,
            "numTraining": len(self.training),
            "training": [_case_to_json(case) for case in self.training],
            "numTest": len(self.test),
            "test": [_case_to_json(case) for case in self.test],
        }
        if self.resample_channels:
            content["resample_channels"] = True
        if self.splits:
            content["splits"] = {name: _split_to_json(split) for name, split in self.splits.items()}
        if self.downloads:
            content["downloads"] = [asdict(download) for download in self.downloads]
        return content


def with_groups(manifest: Manifest, groups: Mapping[str, Sequence[str]]) -> Manifest:
    """Return the manifest with some of its classes united, for use in memory: such a manifest is never written.

    Args:
        manifest: of target "mask".
        groups: name of a united class -> the names of the manifest's classes in it; other classes stay unchanged.

    Raises:
        SegpipeError: a class is not in the manifest, a class is in two groups, or a group has the name of another
            class.
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


def _split_to_json(split: Split) -> dict[str, Any]:
    entry = {"about": split.about, "train": list(split.train), "validation": list(split.validation)}
    return {**entry, "test": list(split.test)} if split.test else entry


def _case_to_json(case: Case) -> dict[str, Any]:
    entry: dict[str, Any] = {"case": case.case, "patient": case.patient, "image": list(case.images)}
    if case.label is not None:
        entry["label"] = case.label
    if case.frame is not None:
        entry["frame"] = case.frame
    if case.classes:
        entry["classes"] = list(case.classes)
    if case.unknown:
        entry["unknown"] = list(case.unknown)
    if case.fold is not None:
        entry["fold"] = case.fold
    if case.weight is not None:
        entry["weight"] = case.weight
    if case.sha256:
        entry["sha256"] = dict(case.sha256)
    return entry

"""How a folder of scans and masks is laid out, and what it says of itself: MSD, nnU-Net, a CSV, or names alone."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segpipe.dataset.manifest import load_manifest
from segpipe.dataset.pairing import FoundCase, pairs_by_templates, pairs_by_words
from segpipe.errors import SegpipeError, shown
from segpipe.volumes import Scan, VolumeFormat, find_scans

_DESCRIPTION = "dataset.json"
_TEXTS = ("description", "reference", "licence")
_CASE_COLUMN, _IMAGE_COLUMN, _LABEL_COLUMN, _PATIENT_COLUMN = "case", "image", "label", "patient"
_FAMILIES = {
    VolumeFormat.NIFTI: "NIfTI",
    VolumeFormat.NIFTI_GZ: "NIfTI",
    VolumeFormat.MHD: "MetaImage",
    VolumeFormat.MHA: "MetaImage",
    VolumeFormat.NRRD: "NRRD",
    VolumeFormat.PNG: "PNG or JPEG",
    VolumeFormat.JPEG: "PNG or JPEG",
    VolumeFormat.DICOM: "DICOM",
}


@dataclass(frozen=True)
class Layout:
    """What a folder holds.

    Attributes:
        what: the layout, for people.
        cases: in the order of the folder.
        labels: stored value -> class name; None where the folder does not say.
        modality: one text a channel; None where the folder does not say.
        name: of the data set; empty where the folder does not say.
        texts: further entries of a manifest, such as its licence.
        notes: what a person should know of it.
    """

    what: str
    cases: Sequence[FoundCase]
    labels: Mapping[int, str] | None = None
    modality: tuple[str, ...] | None = None
    name: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def read_layout(
    folder: Path, *, images: Sequence[str] = (), label: str | None = None, table: Path | None = None
) -> Layout:
    """Recognise how a folder is laid out, and list its cases.

    In this order: as the table says, or the templates; by a `dataset.json` of the Medical Segmentation Decathlon or of
    nnU-Net; by the one CSV in the folder that has the columns; by the names of its files and folders.

    Args:
        folder: of the data set.
        images: templates, one a channel, see `segpipe.dataset.pairing.pairs_by_templates`.
        label: template of the label maps.
        table: a CSV with the columns image (or several that begin so, one a channel), label and, if known, case and
            patient; its paths begin in the folder.

    Raises:
        SegpipeError: no such folder, nothing in it, a table or description that cannot be read or that names files that
            are not there, or files that do not pair.
    """
    if not folder.is_dir():
        raise SegpipeError(f"{folder}: no such folder; give the one that holds the data set")
    if label is not None and not images:
        raise SegpipeError("--label is given without --image: give one template a channel of the images, too")
    if table is not None:
        if images:
            raise SegpipeError("--csv and --image are given: the table says already which files are which")
        return _by_table(folder, table)
    if images:
        paths = _relative(find_scans(folder), folder)
        return Layout("templates", pairs_by_templates(paths, images, label, str(folder)))
    if (folder / _DESCRIPTION).is_file():
        return _described(folder)
    tables = [path for path in sorted(folder.glob("*.csv")) if _LABEL_COLUMN in _columns(path)]
    if len(tables) == 1:
        return _by_table(folder, tables[0])
    scans = find_scans(folder)
    _require_one_format(scans, folder)
    paths = _relative(scans, folder)
    names = [(scan.name, path) for scan, path in zip(scans, paths, strict=True)]
    return Layout("pairs of files", pairs_by_words(names, str(folder)))


def _relative(scans: Iterable[Scan], folder: Path) -> list[str]:
    return [scan.path.relative_to(folder).as_posix() for scan in scans]


def _require_one_format(scans: Sequence[Scan], folder: Path) -> None:
    """Refuse volumes and pictures, or two kinds of volumes, side by side: the folder holds two sets, or a stray."""
    families = [_FAMILIES[scan.format] for scan in scans]
    counts = Counter(families).most_common()
    if len(counts) > 1:
        found = ", ".join(f"{count} {family}" for family, count in counts)
        strays = [scan.name for scan, family in zip(scans, families, strict=True) if family == counts[-1][0]]
        raise SegpipeError(
            f"{folder}: holds scans of several formats, {found}: {shown(strays)}; convert them, move what is of "
            "another set away, or say which files are which with --image and --label"
        )


def _described(folder: Path) -> Layout:
    """Read a folder with a dataset.json: nnU-Net's names its channels, MSD's its modality."""
    path = folder / _DESCRIPTION
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SegpipeError(f"{path}: cannot be read: {error}; mend it, or move it away") from error
    if not isinstance(content, Mapping):
        raise SegpipeError(f"{path}: must be one JSON object")
    if "channel_names" in content:
        return _nnunet(folder, content)
    return _decathlon(folder, path)


def _decathlon(folder: Path, path: Path) -> Layout:
    manifest = load_manifest(path)
    cases, missing = [], []
    for case in (*manifest.training, *manifest.test):
        images = _present(folder, case.images, manifest.num_channels)
        missing += [image for image in images if not (folder / image).exists()]
        if case.label is not None and not (folder / case.label).exists():
            missing.append(case.label)
        cases.append(FoundCase(case.case, images, ("",) * len(images), case.label, case.patient))
    _require_present(missing, path)
    listed = {file for case in cases for file in (*case.images, *([case.label] if case.label else []))}
    notes = _unlisted(folder, listed, ("imagesTr", "labelsTr"))
    texts = {name: getattr(manifest, name) for name in _TEXTS if getattr(manifest, name)}
    return Layout("MSD", cases, manifest.labels, manifest.modality, manifest.name, texts, notes)


def _present(folder: Path, images: tuple[str, ...], channels: int) -> tuple[str, ...]:
    """Return the files of a case; nnU-Net's first version has one a channel where the description names one."""
    if len(images) > 1 or (folder / images[0]).exists():
        return images
    for suffix in (".nii.gz", ".nii"):
        if images[0].endswith(suffix):
            bare = images[0].removesuffix(suffix)
            numbered = tuple(f"{bare}_{channel:04d}{suffix}" for channel in range(channels))
            if all((folder / path).exists() for path in numbered):
                return numbered
    return images


def _nnunet(folder: Path, content: Mapping[str, Any]) -> Layout:
    where = folder / _DESCRIPTION
    channels, ending = content["channel_names"], content.get("file_ending")
    if not isinstance(channels, Mapping) or not isinstance(ending, str) or not channels:
        raise SegpipeError(
            f"{where}: channel_names must be an object and file_ending a text, as nnU-Net has them"
        )
    labels = _nnunet_labels(content.get("labels"), where)
    modality = tuple(str(channels[key]) for key in sorted(channels, key=int))
    explicit = content.get("dataset")
    if explicit:
        cases = [
            FoundCase(name, tuple(entry["images"]), modality, entry["label"])
            for name, entry in explicit.items()
        ]
    else:
        cases = _numbered_cases(folder, ending, len(modality), where)
    files = [file for case in cases for file in (*case.images, *([case.label] if case.label else []))]
    _require_present([file for file in files if not (folder / file).exists()], where)
    expected = content.get("numTraining")
    labelled = sum(case.label is not None for case in cases)
    notes = []
    if isinstance(expected, int) and expected != labelled:
        notes.append(f"{where} says numTraining {expected}, {labelled} cases with label maps are there")
    name = str(content.get("name", ""))
    texts = {name: str(content[name]) for name in _TEXTS if content.get(name)}
    return Layout("nnU-Net", cases, labels, modality, name, texts, notes)


def _nnunet_labels(labels: Any, where: Path) -> dict[int, str]:
    if not isinstance(labels, Mapping) or not labels:
        raise SegpipeError(f"{where}: labels must be an object of name: value, as nnU-Net has it")
    regions = [name for name, value in labels.items() if not isinstance(value, int)]
    if regions:
        raise SegpipeError(
            f"{where}: labels {shown(regions)} are regions of several values; segpipe's classes exclude each other: "
            "name each value once"
        )
    if "ignore" in labels:
        raise SegpipeError(
            f"{where}: labels has ignore, value {labels['ignore']}: voxels that are not to be learned from; segpipe's "
            "manifests have no such value yet: give the voxels a class, or remove the cases that have any"
        )
    return {value: str(name) for name, value in sorted(labels.items(), key=lambda pair: pair[1])}


def _numbered_cases(folder: Path, ending: str, channels: int, where: Path) -> list[FoundCase]:
    """List the cases of imagesTr with labelsTr, and those of imagesTs."""
    cases = []
    labelled = {
        path.name.removesuffix(ending): f"labelsTr/{path.name}"
        for path in sorted((folder / "labelsTr").glob(f"*{ending}"))
    }
    for part, is_training in (("imagesTr", True), ("imagesTs", False)):
        found: dict[str, set[int]] = {}
        for path in sorted((folder / part).glob(f"*{ending}")):
            bare, _, number = path.name.removesuffix(ending).rpartition("_")
            if not (bare and len(number) == len("0000") and number.isdigit()):
                raise SegpipeError(
                    f"{path}: must end in _ and the four digits of its channel, such as _0000{ending}; rename it"
                )
            found.setdefault(bare, set()).add(int(number))
        for name, numbers in found.items():
            if numbers != set(range(channels)):
                raise SegpipeError(
                    f"{folder / part}: {name} has the channels {sorted(numbers)}, {where} names {channels}; add what "
                    "is missing"
                )
        if is_training:
            without = sorted(set(found) - set(labelled))
            strays = sorted(set(labelled) - set(found))
            if without or strays:
                said = [f"{len(without)} images without labels: {shown(without)}"] if without else []
                said += [f"{len(strays)} labels without images: {shown(strays)}"] if strays else []
                raise SegpipeError(
                    f"{folder}: {'; '.join(said)}; add the partners, or move what has none away"
                )
        cases += [
            FoundCase(
                name,
                tuple(f"{part}/{name}_{channel:04d}{ending}" for channel in range(channels)),
                ("",) * channels,
                labelled[name] if is_training else None,
            )
            for name in found
        ]
    if not any(case.label for case in cases):
        raise SegpipeError(f"{folder}: imagesTr and labelsTr hold no files that end in {ending}")
    return cases


def _columns(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [name.strip().lower() for name in next(csv.reader(file, _dialect(path)), [])]
    except (OSError, UnicodeDecodeError):
        return []


def _dialect(path: Path) -> type[csv.Dialect]:
    """Return how a table's columns are divided: by commas, semicolons or tabs."""
    first = path.read_text(encoding="utf-8-sig").partition("\n")[0]

    class Found(csv.excel):
        delimiter = max(",;\t", key=first.count)

    return Found


def _by_table(folder: Path, path: Path) -> Layout:
    """Read the cases that a CSV lists."""
    if not path.is_file():
        raise SegpipeError(f"{path}: no such table")
    columns = _columns(path)
    images = [name for name in columns if name.startswith(_IMAGE_COLUMN)]
    if not images or _LABEL_COLUMN not in columns:
        raise SegpipeError(
            f"{path}: has the columns {', '.join(columns) or 'none'}; must have image (or image_t1, image_flair and so "
            "on, one a channel) and label, and may have case and patient"
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, columns, restkey="more", restval="", dialect=_dialect(path))
            rows = list(reader)[1:]
    except csv.Error as error:
        raise SegpipeError(f"{path}: is no table: {error}") from error
    cases, missing = [], []
    for number, row in enumerate(rows, start=2):
        if "more" in row:
            raise SegpipeError(
                f"{path}: line {number} has more fields than the header; quote what has commas in it"
            )
        files = [row[name].strip().replace("\\", "/") for name in images]
        label = row[_LABEL_COLUMN].strip().replace("\\", "/") or None
        if not all(files):
            raise SegpipeError(f"{path}: line {number} names no image; fill it in, or remove the line")
        missing += [file for file in (*files, *([label] if label else [])) if not (folder / file).exists()]
        case = row.get(_CASE_COLUMN, "").strip()
        cases.append(
            FoundCase(
                case or Path(files[0]).name.split(".")[0],
                tuple(files),
                tuple(name.removeprefix(_IMAGE_COLUMN).strip("_ :") for name in images),
                label,
                row.get(_PATIENT_COLUMN, "").strip() or None,
            )
        )
    if not cases:
        raise SegpipeError(f"{path}: lists no case")
    _require_present(missing, path)
    return Layout(f"the table {path.name}", cases)


def _require_present(missing: Sequence[str], where: Path) -> None:
    if missing:
        raise SegpipeError(
            f"{where}: {len(missing)} of the files that it names are not there: {shown(missing)}; fetch them, or "
            "remove their cases from it"
        )


def _unlisted(folder: Path, listed: set[str], parts: Sequence[str]) -> list[str]:
    """Say which scans of a folder its description passes over."""
    extra = [
        path
        for part in parts
        if (folder / part).is_dir()
        for path in _relative(find_scans(folder / part), folder)
        if path not in listed
    ]
    return [f"{len(extra)} scans are not listed in {_DESCRIPTION}: {shown(extra)}"] if extra else []

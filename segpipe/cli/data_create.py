"""`segpipe data create`: a manifest of a folder."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segpipe.cli.printed import say
from segpipe.cli.printed_manifest import say_categories, say_label_maps
from segpipe.printable import printable

if TYPE_CHECKING:
    from segpipe.regions import NamedRegion


class TargetOption(StrEnum):
    """Kind of label of a case."""

    MASK = "mask"
    CLASS = "class"
    FINDINGS = "findings"


class BlankOption(StrEnum):
    """Meaning of an empty field of a finding."""

    ABSENT = "absent"
    UNKNOWN = "unknown"


def create(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Folder of the scans and label maps, or of labelled images."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUTPUT.JSON", help="Manifest to write.")],
    target: Annotated[
        TargetOption | None,
        typer.Option(
            help="mask: label maps; class: one class an image; findings: any number. Default: what the folder shows."
        ),
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEMPLATE",
            help="Paths of the images, such as 'images/{case}_t1.nii.gz'; one template for each channel.",
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(metavar="TEMPLATE", help="Paths of the label maps, such as 'masks/{case}.nii.gz'."),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table with the columns image (image_t1, ...) and label, class, findings, or one column a finding; "
            "optional: case, patient, split, fold.",
        ),
    ] = None,
    patient: Annotated[
        str | None,
        typer.Option(
            metavar="TEMPLATE",
            help="Pattern that reads the patient from the case id, such as 'STS_{patient}_*'; {patient} takes as few "
            "characters as fit. Default: the folder, if scans lie in several.",
        ),
    ] = None,
    modality: Annotated[
        list[str] | None, typer.Option(help="CT, MRI, microscopy, ...: one for all channels, or one each.")
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Channel or modality to use, where the folder's names tell several; once for each, in order.",
        ),
    ] = None,
    merge_masks: Annotated[
        bool,
        typer.Option(
            "--merge-masks",
            help="One mask for each class (TotalSegmentator): write one label map for each case into merged_labels "
            "in FOLDER.",
        ),
    ] = False,
    convert_dicom: Annotated[
        bool,
        typer.Option(
            "--convert-dicom",
            help="DICOM series with segmentations or structure sets: write one label map for each series into "
            "dicom_labels in FOLDER.",
        ),
    ] = False,
    roi: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]PATTERN",
            help="Segments or regions of interest to use with --convert-dicom, and the name of their class, such as "
            "'tumour=GTV*'. Default: all.",
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="VALUE=NAME",
            help="Class name of a stored value; the name ignore: nobody looked at these voxels. For classes and "
            "findings of images: their names and order.",
        ),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=CLASS,CLASS",
            help="Union of classes (names or values) that a network learns as one; regions may overlap.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the data set. Default: the folder's name.")
    ] = None,
    resample_channels: Annotated[
        bool,
        typer.Option(
            "--resample-channels",
            help="Bring channels of a case on other grids onto the first channel's grid, in every use of the manifest.",
        ),
    ] = False,
    frames: Annotated[
        bool,
        typer.Option(
            "--frames",
            help="Take 4D images frame by frame: each labelled time frame is a case. {frame} in --label is its number.",
        ),
    ] = False,
    blank: Annotated[
        BlankOption,
        typer.Option(help="Meaning of an empty field where each finding has a column of the table."),
    ] = BlankOption.ABSENT,
    checksums: Annotated[bool, typer.Option(help="Write every file's SHA-256 into the manifest.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the manifest.")] = False,
) -> None:
    """Write a manifest of a folder of label maps, of class folders, or of a table of classes or findings.

    Label maps: MSD, nnU-Net, a public data set, a table, or files that pair by their names. Classes: a folder a class,
    with or without train, val and test above. A table has the columns image and class, or findings with | between, or
    one column a finding with 1, 0, -1 (unknown) or nothing.
    """
    from segpipe.dataset import create_manifest, write_manifest
    from segpipe.dataset.importing.dicom_labels import DicomLabels

    _require_free(output, overwrite)
    created = create_manifest(
        folder,
        images=image or (),
        label=label,
        table=csv,
        name=name,
        labels=_class_names(classes or ()),
        regions=_named_regions(region or ()),
        modality=modality or (),
        patient=patient,
        channels=channel or (),
        merge_masks=merge_masks,
        checksums=checksums,
        ask=_ask if sys.stdin.isatty() else None,
        resample_channels=resample_channels,
        frames=frames,
        dicom=DicomLabels(convert_dicom, tuple(roi or ())),
        target=None if target is None else target.value,
        blank=blank.value,
    )
    write_manifest(created.manifest, output)
    say(f"{folder}: {created.layout}")
    if created.manifest.target == "mask":
        say_label_maps(created, output)
    else:
        say_categories(created, output)


def _require_free(output: Path, overwrite: bool) -> None:
    """Refuse a path where a manifest cannot be written, or would replace another file."""
    from segpipe.errors import SegpipeError
    from segpipe.files import read_json, require_writable

    if output.is_dir():
        raise SegpipeError(f"{output}: is a folder; name the file, such as {output / 'manifest.json'}")
    if output.exists() and not overwrite:
        raise SegpipeError(f"{output}: exists already; choose another --output, or add --overwrite")
    if output.exists():
        content = read_json(output, "what --overwrite would replace")
        if not isinstance(content, dict) or "schema_version" not in content:
            raise SegpipeError(
                f"{output}: is no manifest of segpipe, so --overwrite does not replace it; choose another --output"
            )
    require_writable(output.parent)


def _ask(question: str, default: str) -> str:
    return str(typer.prompt(printable(question), default=default or None))


def _named_regions(given: Sequence[str]) -> list[NamedRegion]:
    from segpipe.errors import SegpipeError
    from segpipe.regions import NamedRegion

    regions = []
    for text in given:
        name, _, classes = text.partition("=")
        held = tuple(one.strip() for one in classes.split(",") if one.strip())
        if not name.strip() or not held:
            raise SegpipeError(
                f"--region {text}: must be NAME=CLASS,CLASS, such as --region 'whole tumour=oedema,core'"
            )
        regions.append(NamedRegion(name.strip(), held))
    return regions


def _class_names(given: Sequence[str]) -> dict[int, str] | None:
    from segpipe.errors import SegpipeError

    names: dict[int, str] = {}
    for text in given:
        stored, _, name = text.partition("=")
        value = int(stored) if re.fullmatch(r"\s*-?[0-9]+\s*", stored) else None
        if value is None or not name.strip():
            raise SegpipeError(f"--class {text}: must be VALUE=NAME, such as --class 1=tumour")
        if value in names:
            raise SegpipeError(f"--class: the value {value} is named twice; leave one")
        names[value] = name.strip()
    return names or None

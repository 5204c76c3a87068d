"""Make a manifest from a folder, whatever its target: label maps, one class an image, or findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Unpack

from segpipe.dataset.importing.created import Ask, CreatedManifest
from segpipe.dataset.importing.creation import CreateOptions, create_label_map_manifest
from segpipe.dataset.importing.dicom_labels import NO_DICOM_LABELS
from segpipe.dataset.importing.image_creation import create_image_manifest
from segpipe.dataset.importing.table_rows import TABLE_SUFFIXES
from segpipe.dataset.importing.target_choice import chosen_target


def create_manifest(
    folder: str | Path,
    *,
    images: Sequence[str] = (),
    label: str | None = None,
    table: str | Path | None = None,
    name: str | None = None,
    labels: Mapping[int, str] | None = None,
    modality: Sequence[str] = (),
    patient: str | None = None,
    checksums: bool = True,
    ask: Ask | None = None,
    **further: Unpack[CreateOptions],
) -> CreatedManifest:
    """Describe a folder of scans with label maps, or of images with one class or findings.

    Args:
        folder: of the data set; the manifest's paths begin there. A table instead of the folder stands for `table`, in
            its folder.
        images: templates of the images, one a channel, see `segpipe.dataset.importing.layouts.read_layout`.
        label: template of the label maps.
        table: a CSV that assigns files to cases.
        name: of the data set; default: from the folder's description, or the folder's name.
        labels: value -> name. Of label maps the name of every stored value; default: from the folder's description,
            else the user is asked. Every label map is read for its values; only the first one with a description. Of
            classes and findings their names and order, see `create_image_manifest`.
        modality: one text a channel, or one for all, such as CT or MRI; default: from the folder's description, or from
            names of channels that are modalities.
        patient: template of the case ids, such as `{patient}_*`; default: patients from the table or the templates,
            else from folders, see `segpipe.dataset.importing.patients`, else unknown.
        checksums: add every file's SHA-256; a DICOM series has none.
        ask: asks the user for missing information; None refuses instead.
        **further: see `CreateOptions`.

    Raises:
        SegpipeError: as `chosen_target`, and as `create_label_map_manifest` or `create_image_manifest`.
    """
    folder, table = Path(folder), None if table is None else Path(table)
    if table is None and folder.suffix.lower() in TABLE_SUFFIXES and folder.is_file():
        folder, table = folder.parent, folder
    target = chosen_target(folder, further.get("target"), table, _mask_options(images, label, further))
    if target == "mask":
        return create_label_map_manifest(
            folder,
            images=images,
            label=label,
            table=table,
            name=name,
            labels=labels,
            modality=modality,
            patient=patient,
            checksums=checksums,
            ask=ask,
            **further,
        )
    return create_image_manifest(
        folder,
        target,
        table,
        name=name,
        labels=labels,
        modality=modality,
        patient=patient,
        checksums=checksums,
        ask=ask,
        blank=further.get("blank", "absent"),
    )


def _mask_options(images: Sequence[str], label: str | None, further: CreateOptions) -> list[str]:
    """Return the options of the user that only label maps have."""
    given: dict[str, object] = {
        "--image": images,
        "--label": label,
        "--channel": further.get("channels"),
        "--region": further.get("regions"),
        "--merge-masks": further.get("merge_masks"),
        "--resample-channels": further.get("resample_channels"),
        "--frames": further.get("frames"),
    }
    of_dicom = further.get("dicom", NO_DICOM_LABELS).options
    return [*(option for option, value in given.items() if value), *of_dicom]

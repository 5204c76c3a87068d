"""Writes the names of the labels into a cohort's output folder: one label table per folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segpipe.errors import SegpipeError, shown
from segpipe.labels import LabelTable, same_name
from segpipe.prediction.ledger import Ledger
from segpipe.prediction.options import PredictOptions
from segpipe.volumes import Scan, VolumeFormat
from segpipe.volumes.label_files import write_label_files
from segpipe.volumes.label_headers import check_segments


def name_labels(
    folder: Path, labels: LabelTable, ledger: Ledger, scans: Sequence[Scan], options: PredictOptions
) -> None:
    """Write the files with the names and colours of the labels, before the first label map.

    Args:
        folder: output folder.
        labels: label table of the bundle.
        ledger: ledger of the output folder.
        scans: scans of this run; the run replaces their label maps.
        options: options of the run.

    Raises:
        SegpipeError: the folder has label maps of other classes, or a file with other names that segpipe may not
            replace; or the format cannot hold the label table.
    """
    if options.format is VolumeFormat.SEG_NRRD:
        check_segments(labels)
    replaced = {scan.name for scan in scans}
    others = {
        case: {same_name(volume.label) for volume in entry.volumes}
        for case, entry in ledger.entries.items()
        if case not in replaced and any((folder / file).is_file() for file in entry.files)
    }
    ours = set(map(same_name, (*labels.names, *labels.target_names)))
    unlike = [case for case, names in others.items() if names - ours]
    if unlike:
        there = ", ".join(sorted(others[unlike[0]]))
        raise SegpipeError(
            f"{folder}: has label maps of other classes: {shown(unlike)} ({there}), where the bundle has "
            f"{', '.join(labels.target_names)}; choose another --output, since the names of labels hold for the "
            "whole folder"
        )
    write_label_files(folder, labels, others=list(others), overwrite=options.overwrite)

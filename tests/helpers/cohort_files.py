"""Readers of a cohort's output files, and a function that corrects a label map."""

import json
from collections import Counter

import nibabel
import numpy as np

from segpipe.prediction.options import Outcome
from segpipe.volumes import read_volume

DONE, SKIPPED, KEPT, FAILED = Outcome.DONE, Outcome.SKIPPED, Outcome.KEPT, Outcome.FAILED


LABEL_MAPS = (".nii.gz", ".mhd")


class KilledError(BaseException):
    """End a run as a signal would: segpipe catches it nowhere."""


def outcomes(predictions):
    return Counter(prediction.outcome for prediction in predictions.values())


def entries(folder):
    """Return case -> the case's last entry in the ledger."""
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    return {entry["case"]: entry for entry in map(json.loads, lines)}


def correct(path, value=2):
    """Change a label map as a person would, with another program; return its bytes."""
    before = nibabel.load(path)
    labels = np.asarray(before.dataobj).copy()
    labels[:4, :4, :4] = value
    nibabel.save(nibabel.Nifti1Image(labels, before.affine, before.header), path)
    return path.read_bytes()


def posterior_voxels(folder, case):
    """Return one class's voxel count in volumes.csv; None if the file has no row for the case."""
    rows = [line.split(",") for line in (folder / "volumes.csv").read_text().splitlines()]
    return next((int(row[2]) for row in rows if row[:2] == [case, "posterior"]), None)


def counted(path, value=2):
    return int((read_volume(path).array == value).sum())

"""The plan of a locator: a small network at low resolution that finds the region of all classes in a whole scan.

A locator is a bundle of its own in the folder `locator/` of the bundle that it serves. Its one class unites all
classes. Its spacing is so coarse that a whole scan is one window. The same rules as for any bundle give its other
numbers.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import SegpipeError
from segpipe.labels import Label, LabelTable, class_color
from segpipe.planning.fingerprint import Class, Fingerprint
from segpipe.planning.plans import Plan, PlannedValue, PlanOptions, StepBytes
from segpipe.planning.rules import plan

_VOXELS = 2**16  # of the largest scan
_UNIT = 8  # the network halves each axis up to three times
_PATCHES = 640  # of a training: whole scans, and far coarser than the patches of other trainings
_FIRST_WIDTH = 8
_FOREGROUND = "foreground"


def locator_labels(labels: LabelTable) -> LabelTable:
    """Return the label table of a locator: background, and one class that unites all others."""
    rows = (labels.labels[0], Label(1, _FOREGROUND, class_color(1), labels.values[1]))
    return LabelTable(rows, ignore_value=labels.ignore_value)


def locator_groups(labels: LabelTable) -> dict[str, list[str]]:
    """Return the classes that a locator unites, as `groups` of its training."""
    return {_FOREGROUND: list(labels.foreground_names)}


def locator_fingerprint(data: Fingerprint) -> Fingerprint:
    """Return the fingerprint of a data set whose classes are united.

    The united class is in no fewer cases than its commonest class, whose position it gets.
    """
    commonest = max(data.classes[1:], key=lambda one: one.cases)
    share = sum(one.share for one in data.classes[1:])
    united = Class(share, commonest.cases, commonest.offsets)
    return replace(data, classes=(data.classes[0], united), regions=0)


def locator_plan(data: Fingerprint, options: PlanOptions, whole: Plan, step_bytes: StepBytes) -> Plan:
    """Return the numbers of a locator.

    Args:
        data: the fingerprint of the data set.
        options: options of the user; the number of epochs is for the bundle alone.
        whole: the plan of the bundle that the locator serves.
        step_bytes: see `segpipe.planning.memory.step_bytes`.

    Raises:
        SegpipeError: the bundle's network is 2D.
    """
    if whole.architecture.dims != 3:
        raise SegpipeError(
            f"plan: --locate is for networks of volumes, and this network is 2D ({whole.dims.why}): its windows are "
            "whole slices or nearly so; leave out --locate"
        )
    extent_mm = np.max(np.array(data.sizes, float) * np.array(data.spacings_mm, float), axis=0)
    planned_mm = np.array(whole.numbers["spacing_mm"].value, float)
    spacing_mm = locator_spacing(extent_mm, planned_mm)
    size = tuple(
        _UNIT * math.ceil(length / step / _UNIT) for length, step in zip(extent_mm, spacing_mm, strict=True)
    )
    coarse = replace(
        locator_fingerprint(data),
        sizes=(size,) * data.cases,
        spacings_mm=(tuple(spacing_mm),) * data.cases,
    )
    planned = plan(
        coarse,
        replace(options, network="unet", preset=None, dims=3, epochs=_epochs(data, options), like=None),
        step_bytes,
    )
    reasons = {
        "spacing_mm": f"coarse: the largest scan has about {_VOXELS:,} voxels",
        "patch_size": "the largest scan, rounded up: a patch is a whole scan",
        "window_size": "as the patch: a scan is one window",
        "epochs": f"about {_PATCHES} whole scans; override it for more",
    }
    numbers = {
        name: replace(number, why=reasons.get(name, number.why)) for name, number in planned.numbers.items()
    }
    widths = [_FIRST_WIDTH * 2**level for level in range(len(planned.architecture.widths))]
    numbers["filters"] = PlannedValue(
        widths, f"{_FIRST_WIDTH}, doubled: a locator must cost far less than it saves"
    )
    numbers["overlap"] = PlannedValue(0.25, "of scans larger than a window")
    warnings = [text for text in planned.warnings if text not in whole.warnings]
    return replace(
        planned,
        architecture=replace(planned.architecture, widths=tuple(widths)),
        numbers=numbers,
        mirrors=whole.mirrors,
        warnings=tuple(warnings),
    )


def locator_spacing(extent_mm: NDArray[np.float64], planned_mm: NDArray[np.float64]) -> list[float]:
    """Return the spacing with which a scan has `_VOXELS` voxels: cubes, but for axes that are coarser as they are.

    Args:
        extent_mm: of the largest scan along each axis.
        planned_mm: spacing of the bundle, which no axis goes below.
    """
    coarse = np.zeros(len(extent_mm), bool)
    spacing = planned_mm.copy()
    while not coarse.all():
        left = _VOXELS / np.prod(extent_mm[coarse] / planned_mm[coarse])
        cube = float(np.prod(extent_mm[~coarse]) / left) ** (1 / int((~coarse).sum()))
        spacing[~coarse] = np.maximum(planned_mm[~coarse], cube)
        coarser = ~coarse & (planned_mm > cube)
        if not coarser.any():
            break
        coarse |= coarser
    return [float(f"{value:.3g}") for value in spacing]


def _epochs(data: Fingerprint, options: PlanOptions) -> int:
    cases = max(round(data.cases * options.training_share), 1)
    repeats = max(64 // cases, 1)
    return max(round(_PATCHES / (cases * repeats)), 1)

"""The tables of a data set: parts, classes and their weights, sizes, spacings, intensities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segpipe.dataset import Case, CaseReport, Manifest, Part
from segpipe.dataset.leaks import Side, sides_of_folds, sides_of_split
from segpipe.dataset.manifest_split import class_names, part_of, present_classes
from segpipe.dataset.reports import CaseFacts
from segpipe.errors import SegpipeError
from segpipe.labels import LabelTable
from segpipe.losses import ClassCounts, median_frequency_weights

_AXES = "xyz"
Color = tuple[int, int, int]


@dataclass(frozen=True)
class ClassRow:
    """One class in the training cases.

    Attributes:
        name: name of the class.
        color: colour of the class in pictures.
        cases: number of cases that contain the class.
        voxels: number of the class's voxels in all label maps; None for classes of whole images.
        share: share of all voxels, or of all cases for classes of whole images.
        frequency: share that gives the weight: of the voxels of the label maps that contain the class, or of all cases.
        weight: weight by median frequency balancing; None where no case contains the class.
    """

    name: str
    color: Color
    cases: int
    voxels: int | None
    share: float
    frequency: float
    weight: float | None


@dataclass(frozen=True)
class FindingRow:
    """One finding in the training cases.

    Attributes:
        name: name of the finding.
        color: colour of the finding on the page.
        present: number of cases with the finding.
        absent: number of cases without the finding.
        unknown: number of cases of which nobody knows.
    """

    name: str
    color: Color
    present: int
    absent: int
    unknown: int

    @property
    def prevalence(self) -> float | None:
        """Share of the known cases that have the finding; None where none is known."""
        known = self.present + self.absent
        return self.present / known if known else None


@dataclass(frozen=True)
class Range:
    """The values of one measure over the cases.

    Attributes:
        name: name of the measure, such as "size along x" or "T1, mean".
        unit: unit, such as "mm"; empty without a unit.
        values: one value per case.
    """

    name: str
    unit: str
    values: Sequence[float]

    @property
    def spread(self) -> tuple[float, float, float]:
        """Minimum, median and maximum of the values."""
        return min(self.values), float(np.median(self.values)), max(self.values)


@dataclass(frozen=True)
class DatasetSummary:
    """The tables of a data set.

    Attributes:
        parts: training, each fold, each part of each split, test.
        classes: by index, with the background where there are label maps.
        geometry: sizes and spacings of all valid cases.
        intensities: mean and standard deviation of each channel.
        notes: remarks for the reader of the tables.
        findings: of a set whose target is findings.
    """

    parts: Sequence[Part]
    classes: Sequence[ClassRow]
    geometry: Sequence[Range]
    intensities: Sequence[Range]
    notes: Sequence[str]
    findings: Sequence[FindingRow] = ()


def summarize(manifest: Manifest, reports: Sequence[CaseReport], table: LabelTable) -> DatasetSummary:
    """Return the tables of a data set whose files were read.

    Args:
        manifest: manifest of the data set.
        reports: reports of the training cases, then of the test cases; cases with errors count in no class.
        table: the classes and their colours.
    """
    facts = {r.case: r.facts for r in reports if r.facts is not None and not r.has_errors}
    training = [case for case in manifest.training if case.case in facts]
    rows, notes = _class_rows(training, facts, table)
    bad = len(reports) - len(facts)
    if bad:
        notes = [
            f"{bad} of {len(reports)} cases have errors and are left out of classes, sizes and intensities",
            *notes,
        ]
    unknown = sum(case.patient is None for case in (*manifest.training, *manifest.test))
    if unknown:
        notes = [
            *notes,
            f"the patient of {unknown} of {len(reports)} cases is unknown: each of these cases counts as one patient",
        ]
    sound = list(facts.values())
    return DatasetSummary(_parts(manifest, facts), rows, _geometry(sound), _intensities(sound), notes)


def all_sides(manifest: Manifest) -> list[Side]:
    """Return the parts of a data set: all training cases, each fold, the parts of each split, the test cases."""
    splits = [side for name in manifest.splits for side in sides_of_split(manifest, name)]
    sides = [Side("training", "train", manifest.training), *sides_of_folds(manifest), *splits]
    return [side for side in (*sides, Side("test", "test", manifest.test)) if side.cases]


def _parts(manifest: Manifest, facts: Mapping[str, CaseFacts]) -> list[Part]:
    cases = (*manifest.training, *manifest.test)
    classes = {case.case: present_classes(manifest, case, facts.get(case.case)) for case in cases}
    return [part_of(side.name, side.cases, classes, class_names(manifest)) for side in all_sides(manifest)]


def _class_rows(
    training: Sequence[Case], facts: Mapping[str, CaseFacts], table: LabelTable
) -> tuple[list[ClassRow], list[str]]:
    if not training:
        return [], []
    per_map = [[facts[case.case].class_voxels[name] for name in table.names] for case in training]
    counts = ClassCounts.of_maps(per_map, table.names)
    having = (np.array(per_map) > 0).sum(axis=0)
    total = int(counts.class_voxels.sum())
    notes = []
    try:
        weights: list[float | None] = [round(float(weight), 6) for weight in median_frequency_weights(counts)]
    except SegpipeError as error:
        weights, notes = [None] * len(table.names), [str(error)]
    rows = [
        ClassRow(
            name,
            color,
            int(cases),
            int(voxels),
            share=int(voxels) / total,
            frequency=int(voxels) / max(int(of), 1),
            weight=weight,
        )
        for name, color, cases, voxels, of, weight in zip(
            table.names, table.colors, having, counts.class_voxels, counts.map_voxels, weights, strict=True
        )
    ]
    return rows, notes


def _geometry(facts: Sequence[CaseFacts]) -> list[Range]:
    dims = max((len(fact.size) for fact in facts), default=0)
    unit = "pixels" if dims == 2 else "voxels"
    sizes = [
        Range(f"size along {_AXES[axis]}", unit, [fact.size[axis] for fact in facts]) for axis in range(dims)
    ]
    if not all(fact.has_spacing for fact in facts):  # PNG and JPEG have pixels, and no mm
        return sizes
    return sizes + [
        Range(f"spacing along {_AXES[axis]}", "mm", [fact.spacing_mm[axis] for fact in facts])
        for axis in range(dims)
    ]


def _intensities(facts: Sequence[CaseFacts]) -> list[Range]:
    channels = [fact.channels for fact in facts]
    return [
        Range(f"{one_channel[0].name}, {what}", "", [getattr(channel, key) for channel in one_channel])
        for one_channel in zip(*channels, strict=True)
        for what, key in (("mean", "mean"), ("standard deviation", "std"))
    ]

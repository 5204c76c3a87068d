"""The tables of a set of images: parts, classes or findings, findings that occur together, sizes, brightness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from segpipe.dataset import Case, Finding, ImageFacts, ImageReport, Manifest
from segpipe.dataset.class_balance import balance_findings, unknown_counts_of
from segpipe.dataset.image_outliers import image_set_findings
from segpipe.dataset.manifest_split import class_names, part_of, present_classes
from segpipe.dataset.targets import target_of
from segpipe.labels import class_color
from segpipe.overview.summary import ClassRow, Color, DatasetSummary, FindingRow, Range, all_sides

_MOST_SIZES = 8  # with more sizes, a table of sizes by class would say nothing


@dataclass(frozen=True)
class FindingPair:
    """How often a second finding is present where a first finding is.

    Attributes:
        both: number of training cases with both.
        known: number of training cases with the first of which the second is known.
    """

    both: int
    known: int

    @property
    def share(self) -> float:
        """Share of the cases with the first finding that have the second; 0 without such cases."""
        return self.both / self.known if self.known else 0.0


@dataclass(frozen=True)
class ImageSetSummary(DatasetSummary):
    """The tables of a set of images.

    Attributes:
        unknown_in: for each part, name -> number of its cases of which nobody knows the finding.
        together: for each finding the pairs with every finding, in the manifest's order; empty for classes.
        alone: for each finding the number of training cases with this finding only; empty for classes.
        per_case: numbers of findings of the training cases; None for classes.
        sizes: size as text -> number of training images of each class; empty where sizes are many or one.
        compared: findings on the set as a whole, such as sizes that differ.
    """

    unknown_in: Sequence[Mapping[str, int]] = ()
    together: Sequence[Sequence[FindingPair]] = ()
    alone: Sequence[int] = ()
    per_case: Range | None = None
    sizes: Mapping[str, Sequence[int]] | None = None
    compared: Sequence[Finding] = ()


def category_colors(manifest: Manifest) -> dict[str, Color]:
    """Return the name of each class or finding -> its colour, in the manifest's order."""
    return {name: class_color(position + 1) for position, name in enumerate(class_names(manifest))}


def summarize_images(manifest: Manifest, reports: Sequence[ImageReport], where: str) -> ImageSetSummary:
    """Return the tables of a set of images that were read.

    Args:
        manifest: of target class or findings.
        reports: of the training cases, then of the test cases; cases with errors count in no table but the parts.
        where: the manifest on a command line, for commands in remarks.
    """
    listed = [*manifest.training, *manifest.test]
    facts = {r.case: r.facts for r in reports if r.facts is not None and not r.has_errors}
    training = [case for case in manifest.training if case.case in facts]
    is_class = manifest.target == "class"
    sides = all_sides(manifest)
    present = {case.case: present_classes(manifest, case, None) for case in listed}
    targets = np.array([target_of(case, manifest.categories()) for case in training], np.float64)
    compared = [*image_set_findings(manifest, listed, reports), *balance_findings(manifest, where)]
    together, alone = ([], []) if is_class or not training else _together(targets)
    return ImageSetSummary(
        parts=[part_of(side.name, side.cases, present, class_names(manifest)) for side in sides],
        classes=_class_rows(manifest, training) if is_class else [],
        findings=[] if is_class else _finding_rows(manifest, training),
        geometry=_geometry(list(facts.values())),
        intensities=_brightness(list(facts.values())),
        notes=_notes(listed, facts),
        unknown_in=[unknown_counts_of(side.cases, manifest) for side in sides],
        together=together,
        alone=alone,
        per_case=None
        if is_class or not training
        else Range("findings of a case", "findings", np.nansum(targets, axis=1).tolist()),
        sizes=_sizes(manifest, training, facts) if is_class else None,
        compared=sorted(compared, key=lambda finding: finding.severity),  # errors first
    )


def _notes(listed: Sequence[Case], facts: Mapping[str, ImageFacts]) -> list[str]:
    notes = []
    if bad := len(listed) - len(facts):
        notes.append(f"{bad} of {len(listed)} cases have errors: only the table of parts counts them")
    if unknown := sum(case.patient is None for case in listed):
        notes.append(
            f"the patient of {unknown} of {len(listed)} cases is unknown: each of these cases counts as one patient"
        )
    return notes


def _class_rows(manifest: Manifest, training: Sequence[Case]) -> list[ClassRow]:
    counts = Counter(name for case in training for name in present_classes(manifest, case, None))
    shares = {name: counts[name] / max(len(training), 1) for name in class_names(manifest)}
    middle = median(shares.values())
    return [
        ClassRow(
            name,
            color,
            counts[name],
            None,
            share=shares[name],
            frequency=shares[name],
            weight=round(middle / shares[name], 6) if all(shares.values()) else None,
        )
        for name, color in category_colors(manifest).items()
    ]


def _finding_rows(manifest: Manifest, training: Sequence[Case]) -> list[FindingRow]:
    present = Counter(name for case in training for name in present_classes(manifest, case, None))
    unknown = unknown_counts_of(training, manifest)
    return [
        FindingRow(name, color, present[name], len(training) - present[name] - unknown[name], unknown[name])
        for name, color in category_colors(manifest).items()
    ]


def _together(targets: NDArray[np.float64]) -> tuple[list[list[FindingPair]], list[int]]:
    """Return the pairs of findings and the cases with one finding only, of targets (cases, findings)."""
    present, known = targets == 1, ~np.isnan(targets)
    both = present.T.astype(int) @ present
    of = present.T.astype(int) @ known
    alone = (present & (present.sum(axis=1, keepdims=True) == 1)).sum(axis=0)
    pairs = [
        [FindingPair(int(count), int(total)) for count, total in zip(*rows, strict=True)]
        for rows in zip(both, of, strict=True)
    ]
    return pairs, alone.tolist()


def _sizes(
    manifest: Manifest, training: Sequence[Case], facts: Mapping[str, ImageFacts]
) -> Mapping[str, Sequence[int]] | None:
    """Return the numbers of images of each class by size, the commonest size first."""
    names = class_names(manifest)
    sizes = Counter((facts[case.case].columns, facts[case.case].rows) for case in training)
    if not 2 <= len(sizes) <= _MOST_SIZES:
        return None
    counts = Counter(
        (facts[case.case].columns, facts[case.case].rows, name)
        for case in training
        for name in present_classes(manifest, case, None)
    )
    return {
        f"{width} x {height}": [counts[width, height, name] for name in names]
        for (width, height), _ in sizes.most_common()
    }


def _geometry(facts: Sequence[ImageFacts]) -> list[Range]:
    if not facts:
        return []
    return [
        Range("width", "pixels", [fact.columns for fact in facts]),
        Range("height", "pixels", [fact.rows for fact in facts]),
    ]


def _brightness(facts: Sequence[ImageFacts]) -> list[Range]:
    if not facts:
        return []
    return [
        Range("mean brightness", "", [round(fact.mean, 4) for fact in facts]),
        Range("contrast (standard deviation)", "", [round(fact.deviation, 4) for fact in facts]),
    ]

"""How often a training draws each case with a label map: all alike, by the rarest class, or by weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from segpipe.bundle.cases import TrainingCases
from segpipe.dataset import Case
from segpipe.dataset.sampling import finding_draws
from segpipe.errors import SegpipeError, shown
from segpipe.labels import LabelTable
from segpipe.monai_run import refusal_ends_run

SAMPLINGS = ("shuffled", "rarest_class", "weights")


@refusal_ends_run()
def case_draws(
    cases: TrainingCases, labels: LabelTable, sampling: str | Mapping[str, float] = "shuffled"
) -> list[float] | None:
    """Return the weight of each training case for `segpipe.dataset.sampling.BalancedSampler`.

    The probability that a draw gives a case is its weight over the sum of the weights.

    Args:
        cases: cases of the run; their `provenance` gets `sampling`, the weight of each case.
        labels: the bundle's label table.
        sampling: "shuffled": each case once an epoch. "rarest_class": the weight of a case is that of the rarest class
            in its label map, one over the number of cases with this class; cases without a foreground class share
            the weight of one class. "weights": the manifest's `weight` of each case, 1 where it has none. A mapping
            from case to weight replaces the manifest's.

    Returns:
        a weight a case, in the order of `cases.train`; None for "shuffled".

    Raises:
        SegpipeError: there is no such sampling; a class is in no training case; no case of the manifest has a weight;
            the mapping names a case that the manifest lacks; or a weight is below 0 or not finite, or all are 0.
    """
    if isinstance(sampling, str) and sampling == "shuffled":
        return None
    if isinstance(sampling, str) and sampling == "rarest_class":
        weights = _by_rarest_class(cases, labels)
    elif isinstance(sampling, Mapping) or sampling == "weights":
        weights = _given(cases, sampling if isinstance(sampling, Mapping) else None)
    else:
        raise SegpipeError(
            f"sampling is {sampling!r}; choose one of {', '.join(SAMPLINGS)}, or give a mapping from case to weight"
        )
    names = [str(record["case"]) for record in cases.train]
    cases.provenance["sampling"] = dict(zip(names, weights, strict=True))
    return weights


def _by_rarest_class(cases: TrainingCases, labels: LabelTable) -> list[float]:
    name, present = cases.manifest.name, cases.class_cases
    if present is None:
        raise SegpipeError(f"{name}: sampling is rarest_class, and the training cases have no label maps")
    foreground = labels.names[1:]
    absent = [one for one in foreground if not any(one in classes for classes in present)]
    if absent:
        raise SegpipeError(
            f"{name}: sampling is rarest_class, and no training case has {shown(absent)}, so no draw can balance it; "
            "hold another fold out, or set sampling to shuffled"
        )
    targets = np.array([[one in classes for one in foreground] for classes in present], np.float32)
    return [float(weight) for weight in finding_draws(targets)]


def _given(cases: TrainingCases, given: Mapping[str, Any] | None) -> list[float]:
    """Return the manifest's weights of the training cases, replaced by the given ones."""
    manifest = cases.manifest
    listed: dict[str, Case] = {case.case: case for case in manifest.training}
    if given is None and all(case.weight is None for case in manifest.training):
        raise SegpipeError(
            f"{manifest.name}: sampling is weights, and no case of the manifest has a weight; add `weight` to its "
            "cases, or give sampling a mapping from case to weight"
        )
    given = {str(name): weight for name, weight in (given or {}).items()}
    unknown = sorted(set(given) - set(listed))
    if unknown:
        raise SegpipeError(
            f"{manifest.name}: sampling gives a weight to {shown(unknown)}, which the manifest does not list under "
            "training; correct the names"
        )
    for name, weight in given.items():
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not 0 <= weight < float("inf"):
            raise SegpipeError(
                f"{manifest.name}: sampling gives {name} the weight {weight!r}; must be a number of at least 0"
            )
    weights = []
    for record in cases.train:
        weight = listed[str(record["case"])].weight
        weights.append(float(given.get(str(record["case"]), 1.0 if weight is None else weight)))
    if not any(weights):
        raise SegpipeError(
            f"{manifest.name}: the weights of all {len(weights)} training cases are 0; give one case a larger weight"
        )
    return weights

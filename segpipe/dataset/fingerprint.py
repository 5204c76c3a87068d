"""A data set in numbers: sizes, spacings, intensities and classes, from the reports of the integrity check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from segpipe.dataset.reports import PERCENTILES, CaseReport, ChannelFacts
from segpipe.errors import SegpipeError


def dataset_fingerprint(reports: Sequence[CaseReport]) -> dict[str, Any]:
    """Sum up a data set.

    Args:
        reports: from `require_valid`, for the training cases only.

    Returns:
        Plain JSON types: `cases` (number of cases); `size_voxels` and `spacing_mm`, each with `min`, `median` and
            `max` along (x, y) or (x, y, z); `intensities`, one a channel, with its name and the min, median and
            max over the cases of each image's mean, standard deviation and percentiles, in the files' units;
            `classes`, one a class, with its name, `voxels` (sum over the cases) and `maps` (label maps that
            contain it).

    Raises:
        SegpipeError: `reports` is empty, or a report has an error.
    """
    facts = [report.facts for report in reports if report.facts is not None and not report.has_errors]
    if not facts or len(facts) < len(reports):
        raise SegpipeError(
            f"fingerprint: {len(reports) - len(facts)} of {len(reports)} cases have errors, must be none; correct "
            "the findings of `segpipe data check` first"
        )
    return {
        "cases": len(facts),
        "size_voxels": _spread([fact.size for fact in facts]),
        "spacing_mm": _spread([fact.spacing_mm for fact in facts]),
        "intensities": [
            _intensities([fact.channels[position] for fact in facts])
            for position in range(len(facts[0].channels))
        ],
        "classes": [
            {
                "name": name,
                "voxels": sum(fact.class_voxels[name] for fact in facts),
                "maps": sum(fact.class_voxels[name] > 0 for fact in facts),
            }
            for name in facts[0].class_voxels
        ],
    }


def _intensities(channels: Sequence[ChannelFacts]) -> dict[str, Any]:
    """Return one channel's spread over the cases."""
    return {
        "channel": channels[0].name,
        "mean": _spread([channel.mean for channel in channels]),
        "std": _spread([channel.std for channel in channels]),
        **{
            f"percentile_{percentile:g}": _spread([channel.percentiles[rank] for channel in channels])
            for rank, percentile in enumerate(PERCENTILES)
        },
    }


def _spread(values: Sequence[Any]) -> dict[str, Any]:
    """Return min, median and max over the first axis."""
    array = np.asarray(values)
    return {
        "min": array.min(axis=0).tolist(),
        "median": np.median(array, axis=0).tolist(),
        "max": array.max(axis=0).tolist(),
    }

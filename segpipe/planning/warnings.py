"""Weaknesses of a plan, reported before the training."""

from __future__ import annotations

from segpipe.planning.fingerprint import Fingerprint
from segpipe.planning.plans import PlanOptions


def plan_warnings(data: Fingerprint, options: PlanOptions, peak_gb: float) -> list[str]:
    """Return a sentence for each weakness.

    Args:
        data: the fingerprint.
        options: options of the user.
        peak_gb: planned peak of memory, GB.
    """
    warnings = []
    if peak_gb > options.memory_gb:
        warnings.append(
            f"validation holds all scores of a case, and the largest case needs about {peak_gb:.1f} GB, more than "
            f"the {options.memory_gb:g} GB given: train with fold all, then score with `segpipe predict` and "
            "`segpipe evaluate`"
        )
    if data.patients == 1:
        warnings.append(
            "all cases are of one patient: nothing can be held out, so no Dice can show how good the network is, "
            "and the network learns one anatomy only; use it to try the pipeline, not on other scans"
        )
    elif options.training_share == 1.0:
        warnings.append(
            "the manifest has no folds: the plan trains on every case and validates on none; divide them with "
            "`segpipe data split`"
        )
    absent = sum(not one.cases for one in data.classes[1:])
    if absent:
        warnings.append(
            f"{absent} of {len(data.classes) - 1} classes are in no label map, and will not be learnt"
        )
    not_hu = [
        channel.modality
        for channel in data.channels
        if channel.is_ct and not (channel.has_air or channel.fits_eight_bits)
    ]
    if not_hu:
        warnings.append(
            "the CT is neither in HU (there is no air) nor in 8 bits, and is z-scored; check what its numbers are"
        )
    return warnings

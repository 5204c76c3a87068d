"""What the file of an exported network says of its input and output."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segpipe import __version__
from segpipe.admission.gate import Admitted
from segpipe.bundle.opening import LoadedNetwork, is_ours
from segpipe.bundle.running import in_one_message, resolved_components
from segpipe.calibration import Calibration, calibration_path
from segpipe.information import Information


def exported_facts(
    about: Information, admission: Admitted, loaded: LoadedNetwork, size: Sequence[int], step: int | None
) -> dict[str, str]:
    """Return key -> text: words as they are, everything else as JSON.

    Args:
        about: of the bundle.
        admission: of the bundle.
        loaded: its network.
        size: pixels or voxels of an image that the network takes.
        step: by which an image may be longer; None: not at all.
    """
    parser = admission.parser
    ours = is_ours(parser)
    values = about.values or range(len(about.classes))
    facts: dict[str, Any] = {
        "name": about.name,
        "version": about.version,
        "description": about.description,
        "task": about.task,
        "target": about.target,
        "labels": [
            {"index": index, "name": name, "value": value}
            for index, (name, value) in enumerate(zip(about.classes, values, strict=True))
        ],
        "channels": list(about.channels),
        "modality": about.modality,
        "spacing_mm": about.settings.spacing_mm,
        "intensity_window": about.settings.intensity_window,
        "window_size": list(size),
        "size_step": step,
        "licence": about.licence,
        "weights_sha256": list(loaded.weights_sha256),
        "segpipe": __version__,
    }
    if ours:
        facts |= {
            "regions": parser.get(parser.meta_key).get("regions"),
            "activation": "sigmoid" if about.regions or about.target == "findings" else "softmax",
            "transforms": _transforms(about.path, admission),
            "calibration": _calibration(about, loaded.weights),
        }
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in facts.items()
        if value not in (None, "", [])
    }


def _transforms(root: Path, admission: Admitted) -> Any:
    if "deterministic_transforms" not in admission.parser:
        return None
    with in_one_message(root, "deterministic_transforms"):
        return resolved_components(admission.parser, "deterministic_transforms")


def _calibration(about: Information, weights: Sequence[Path]) -> Mapping[str, Any] | None:
    """Return how a classifier's scores become probabilities and decisions; None without a file that says it."""
    path = calibration_path(weights[0])
    if about.task != "classification" or len(weights) > 1 or not path.is_file():
        return None
    found = Calibration.read(path)
    return {
        "temperature": list(found.temperature),
        "shift": list(found.shift),
        "thresholds": list(found.thresholds),
    }

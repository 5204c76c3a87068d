"""From a classifier's logits to calibrated probabilities."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_to_tensor

from segpipe.calibration import Calibration


class CalibratedProbabilitiesd(MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Turn the logits of one image into calibrated probabilities.

    Args:
        keys: logits `(C,)`.
        calibration: of the weights; of C classes or findings.
        allow_missing_keys: of MONAI's MapTransform.
    """

    def __init__(
        self, keys: KeysCollection, calibration: Calibration, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.calibration = calibration

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the record with probabilities `(C,)` in place of logits, as a MetaTensor for MONAI Label's writer."""
        changed = dict(data)
        for key in self.key_iterator(changed):
            logits = convert_to_tensor(changed[key], track_meta=False).double().cpu().numpy()
            changed[key] = MetaTensor(torch.from_numpy(self.calibration.probabilities(logits[None])[0]))
        return changed

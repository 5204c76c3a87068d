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
from segpipe.errors import SegpipeError


class CalibratedProbabilitiesd(MapTransform):  # type: ignore[misc]  # MONAI is untyped
    """Turn the logits of one image, or of a batch, into calibrated probabilities.

    Args:
        keys: logits `(C,)`, or `(N, C)` as apps of MONAI Deploy's pipeline generator hand them over.
        calibration: of the weights; of C classes or findings.
        allow_missing_keys: of MONAI's MapTransform.

    Raises:
        SegpipeError: the values have another shape.
    """

    def __init__(
        self, keys: KeysCollection, calibration: Calibration, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.calibration = calibration

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the record with probabilities in place of logits, as a MetaTensor for MONAI Label's writer."""
        names = self.calibration.names
        changed = dict(data)
        for key in self.key_iterator(changed):
            logits = convert_to_tensor(changed[key], track_meta=False).double().cpu().numpy()
            if logits.ndim not in (1, 2) or logits.shape[-1] != len(names):
                raise SegpipeError(
                    f"{key}: values of shape {logits.shape}, must be ({len(names)},) or (images, {len(names)}): a "
                    f"logit each of {', '.join(names)}"
                )
            made = self.calibration.probabilities(logits.reshape(-1, len(names)))
            changed[key] = MetaTensor(torch.from_numpy(made.reshape(logits.shape)))
        return changed

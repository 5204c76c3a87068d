"""Rule 3 of a plan: how intensities become the network's input."""

from __future__ import annotations

import math
from collections.abc import Sequence

from segpipe.planning.fingerprint import Channel
from segpipe.planning.plans import Intensity, PlannedValue


def intensity_numbers(channels: Sequence[Channel]) -> tuple[Intensity, dict[str, PlannedValue]]:
    """Return how intensities are normalised, and for CT the window in HU (rule 3).

    Args:
        channels: channels of the fingerprint.
    """
    if not all(channel.is_ct for channel in channels):
        return "z-score", {}
    if all(channel.has_air for channel in channels):
        lowest = min(channel.foreground_low for channel in channels)
        highest = max(channel.foreground_high for channel in channels)
        low = float(math.floor(lowest))
        high = float(max(math.ceil(highest), math.floor(low) + 1))
        return "hu", {
            "window_hu": PlannedValue(
                [low, high], "HU that become 0 and 1: the foreground's 0.5th and 99.5th percentiles"
            ),
            "intensity": PlannedValue("auto", "set hu for a scan in HU that is taken for another kind"),
        }
    if all(channel.fits_eight_bits for channel in channels):
        return "uint8", {
            "window_hu": PlannedValue(
                [-1000.0, 400.0], "without effect: the cases are 8-bit images, and HU are refused"
            ),
            "intensity": PlannedValue("auto", "set uint8 for an 8-bit image that is stored in another type"),
        }
    return "z-score", {}

"""From a data set to a bundle: its fingerprint, the rules that turn it into numbers, and the files that hold them."""

from __future__ import annotations

from segpipe.planning.fingerprint import Channel, Class, Fingerprint, fingerprint
from segpipe.planning.planner import PlannedBundle, plan_bundle
from segpipe.planning.plans import NETWORKS, Number, Plan, Wishes

__all__ = [
    "NETWORKS",
    "Channel",
    "Class",
    "Fingerprint",
    "Number",
    "Plan",
    "PlannedBundle",
    "Wishes",
    "fingerprint",
    "plan_bundle",
]

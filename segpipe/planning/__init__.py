"""From a data set to a bundle: its fingerprint, the rules that turn it into numbers, and the files that hold them."""

from __future__ import annotations

from segpipe.planning.fingerprint import Channel, Class, Fingerprint, fingerprint
from segpipe.planning.planner import PlannedBundle, plan_bundle
from segpipe.planning.plans import NETWORKS, Plan, PlannedValue, PlanOptions

__all__ = [
    "NETWORKS",
    "Channel",
    "Class",
    "Fingerprint",
    "Plan",
    "PlanOptions",
    "PlannedBundle",
    "PlannedValue",
    "fingerprint",
    "plan_bundle",
]

"""Planning of a bundle from a data set: fingerprint, rules that give numbers with reasons, and the bundle's files."""

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

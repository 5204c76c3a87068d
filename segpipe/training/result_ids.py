"""Which ids of a training's configuration change its result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from segpipe.training.tracking_settings import without_tracking

# ids that change where and how a run computes, but not its result
_WHERE_AND_HOW = ("bundle_root", "dataset_dir", "device", "num_workers", "output_dir", "resume", "run_name")


def changed_ids(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the ids that differ between two configurations, without those that change no result, sorted."""
    before, after = result_ids(then), result_ids(now)
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def result_ids(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that changes the result, in JSON's types."""
    kept = {
        name: value for name, value in without_tracking(configuration).items() if name not in _WHERE_AND_HOW
    }
    plain: dict[str, Any] = json.loads(json.dumps(kept, default=str))  # dates, in a file that a user edited
    return plain

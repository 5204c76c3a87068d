"""The answer about one scan, which the process with the network sends to the server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

OK, REFUSED, DEFECT, TIMED_OUT, DISK_FULL = 200, 422, 500, 504, 507


@dataclass(frozen=True)
class Answer:
    """The answer about one scan.

    Attributes:
        status: HTTP status: 200 done, 422 refused, 500 a defect, 504 past the time limit, 507 the disk is full.
        message: reason, for the client; empty for a scan that is done.
        content: result of a scan that is done, in JSON's types.
        files: name of a result -> its file below the output folder, such as `label_map`.
        withheld: name of a file that this result lacks -> why, such as a DICOM SEG of a scan that is no DICOM series.
        where: for the server's log, the places in the program where a defect occurred; no values of a scan.
    """

    status: int
    message: str = ""
    content: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    withheld: Mapping[str, str] = field(default_factory=dict)
    where: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """Return the answer as JSON."""
        return json.dumps(asdict(self), allow_nan=False).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Answer:
        """Return the answer that `to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "where": tuple(values["where"])})

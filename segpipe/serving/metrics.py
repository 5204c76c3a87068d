"""Counts what the server did, in Prometheus' text format; no number is about a single scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass
class ServerCounts:
    """Counts since the start.

    Attributes:
        answers: HTTP status of an answer about a scan -> number of scans.
        rejected: HTTP status of an upload that was not taken -> number of uploads.
        received_bytes: of all uploads.
        seconds: sum of the time of all computed scans.
    """

    answers: Counter[int] = field(default_factory=Counter)
    rejected: Counter[int] = field(default_factory=Counter)
    received_bytes: int = 0
    seconds: float = 0.0

    @property
    def mean_seconds(self) -> float:
        """Mean time of a scan; 10 before the first."""
        return self.seconds / self.answers.total() if self.answers else 10.0


def metrics_text(counts: ServerCounts, gauges: Mapping[str, tuple[str, float]]) -> str:
    """Return the metrics as Prometheus reads them.

    Args:
        counts: since the start.
        gauges: name, without `segpipe_serve_` -> description and present value.
    """
    lines: list[str] = []
    for name, text, by_status in (
        ("scans_total", "Answers about scans, by HTTP status.", counts.answers),
        ("rejected_uploads_total", "Uploads that were not taken, by HTTP status.", counts.rejected),
    ):
        lines += _head(name, text, "counter")
        lines += [
            f'segpipe_serve_{name}{{status="{status}"}} {by_status[status]}' for status in sorted(by_status)
        ]
    lines += _head("received_bytes_total", "Bytes of uploads.", "counter")
    lines.append(f"segpipe_serve_received_bytes_total {counts.received_bytes}")
    lines += _head("scan_seconds", "Time of a scan, from unpacking to the label map.", "summary")
    lines.append(f"segpipe_serve_scan_seconds_sum {counts.seconds:.3f}")
    lines.append(f"segpipe_serve_scan_seconds_count {counts.answers.total()}")
    for name, (text, value) in gauges.items():
        lines += _head(name, text, "gauge")
        lines.append(f"segpipe_serve_{name} {value:g}")
    return "\n".join(lines) + "\n"


def _head(name: str, text: str, kind: str) -> list[str]:
    return [f"# HELP segpipe_serve_{name} {text}", f"# TYPE segpipe_serve_{name} {kind}"]

"""The fingerprint's figures equal figures computed by hand."""

import json

import pytest

from segpipe.dataset import CaseReport, Finding, dataset_fingerprint
from segpipe.dataset.reports import CaseFacts, ChannelFacts
from segpipe.errors import SegpipeError


def report(size, spacing, mean, tumour):
    channel = ChannelFacts("CT", (mean - 100, mean, mean + 100), mean, 50.0)
    voxels = {"background": 90, "tumour": tumour}
    return CaseReport("a", (), CaseFacts(size, spacing, (channel,), voxels, "ab" * 32))


def test_figures():
    reports = [
        report((10, 20, 30), (1.0, 1.0, 1.0), 0.0, 10),
        report((10, 30, 31), (1.0, 1.0, 3.0), 10.0, 0),
        report((10, 22, 35), (1.0, 1.0, 2.0), 50.0, 5),
    ]

    fingerprint = dataset_fingerprint(reports)

    assert fingerprint["cases"] == 3
    assert fingerprint["size_voxels"] == {"min": [10, 20, 30], "median": [10, 22, 31], "max": [10, 30, 35]}
    assert fingerprint["spacing_mm"] == {"min": [1, 1, 1], "median": [1, 1, 2], "max": [1, 1, 3]}
    (channel,) = fingerprint["intensities"]
    assert channel["channel"] == "CT"
    assert channel["mean"] == {"min": 0, "median": 10, "max": 50}
    assert channel["percentile_99.5"] == {"min": 100, "median": 110, "max": 150}
    # the tumour is in two of the three maps
    assert fingerprint["classes"] == [
        {"name": "background", "voxels": 270, "maps": 3},
        {"name": "tumour", "voxels": 15, "maps": 2},
    ]
    assert json.loads(json.dumps(fingerprint)) == fingerprint


def test_case_with_an_error_is_refused():
    broken = CaseReport("b", (Finding("error", "b", "b.nii", "missing"),), None)

    with pytest.raises(SegpipeError, match="1 of 2 cases have errors"):
        dataset_fingerprint([report((1, 1, 1), (1, 1, 1), 0, 1), broken])

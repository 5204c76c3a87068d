"""Thousands of damaged files of each format are refused or read as the original, with no other exception.

`benchmarks/fuzz.py` runs more of them and prints how many came to what.
"""

from __future__ import annotations

import pytest
from fuzz_samples import NAMES, make
from mutations import fuzz

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning")]  # pydicom's, of odd values

COUNTS = {"DICOM series": 1000}
SEEDS = (0, 1)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_refused_or_read_as_the_original(name, tmp_path, capfd):
    sample = make(name, tmp_path)

    for seed in SEEDS:
        outcomes = fuzz(sample, COUNTS.get(name, 1500), seed)

        assert outcomes.faults == []
        assert outcomes.counts["refused"] > 0.4 * outcomes.counts.total()  # the damage is worth looking at
        assert outcomes.counts["same"] > 0
    capfd.readouterr()  # what libjpeg prints by itself

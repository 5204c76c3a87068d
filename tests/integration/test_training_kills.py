"""Training processes killed at random moments: no run is lost, and every run ends with the same weights."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "training_kills.py"


@pytest.mark.slow
def test_twenty_kills_lose_nothing():
    """Seed 1 gives SIGKILL, SIGTERM, SIGINT and SIGHUP, with and without loader processes."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--kills", "20", "--seed", "1"],
        capture_output=True,
        text=True,
        timeout=900,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["failures"] == 0

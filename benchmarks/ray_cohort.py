"""A cohort on Ray: what a machine that dies costs, and what a second worker gains.

    python benchmarks/ray_cohort.py --kills 20 --scans 60

Every run is a process with a Ray cluster of its own on this machine, whose nodes have one core and one worker each.

- kills: two nodes; one is killed at a random moment between the first outcome and the end of an undisturbed run. The
  label maps, `volumes.csv` and the ledger's cases are compared with those of `segpipe predict` without workers, byte by
  byte. Moments come from the seed.
- speed: the scans a second of two workers, divided by those of one worker. The time runs from the first outcome to the
  last one: the start of Ray, the workers' imports and the first scan are excluded.

Prints one JSON line for each run and one for all; exit status 1 after a difference. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import numpy as np
from scipy import ndimage

import segpipe
from segpipe.prediction.options import PredictOptions
from segpipe.volumes import Grid, write_volume

BUNDLE = Path(__file__).parents[1] / "bundles" / "mri_hippocampus_unet"
SIZE = (64, 64, 64)
NODE = {"num_cpus": 1}
OPTIONS = PredictOptions(overlays=False, engine="torch", precision="float32")
TARGET_GAIN = 1.8


def write_scans(folder: Path, count: int, seed: int) -> None:
    """Write scans of smooth noise, which take the network as long as real ones."""
    noise = np.random.default_rng(seed)
    for index in range(count):
        values = ndimage.gaussian_filter(noise.normal(size=SIZE), 2.0) * 1000 + 500
        write_volume(
            values.astype(np.int16), Grid.from_affine(SIZE, np.eye(4)), folder / f"scan_{index:03d}.nii.gz"
        )


def cohort(scans: Path, out: Path, nodes: int, kill_after_s: float | None) -> dict[str, Any]:
    """Predict a cohort on a cluster of this process; return the times of the outcomes, from the first one."""
    import ray
    from ray.cluster_utils import Cluster

    from segpipe.prediction.ray_pool import ray_workers

    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    others = [cluster.add_node(**NODE) for _ in range(nodes - 1)]
    os.environ["RAY_ADDRESS"] = cluster.address
    times: list[float] = []

    def watch(*_: object) -> None:
        times.append(time.monotonic())
        if len(times) == 1 and kill_after_s is not None:
            threading.Timer(kill_after_s, cluster.remove_node, (others[0], False)).start()

    done = segpipe.predict(scans, BUNDLE, out, options=OPTIONS, workers=ray_workers(1), watch=watch)
    ray.shutdown()
    cluster.shutdown()
    outcomes = Counter(one.outcome.value for one in done)
    return {"outcomes": outcomes, "seconds": round(times[-1] - times[0], 3), "scans": len(times)}


def in_process(scans: Path, out: Path, nodes: int, kill_after_s: float | None = None) -> dict[str, Any]:
    """Run `cohort` in a process of its own."""
    child = [sys.executable, __file__, "--child", json.dumps([str(scans), str(out), nodes, kill_after_s])]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    done = subprocess.run(child, capture_output=True, text=True, env={**os.environ, **token})
    if done.returncode:
        raise SystemExit(done.stderr)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]  # Ray prints lines, too
    return dict(json.loads(lines[-1]))


def outputs(folder: Path) -> dict[str, bytes]:
    """Return the bytes of the label maps and tables."""
    files = [*folder.rglob("*.nii.gz"), folder / "volumes.csv"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def doubled(folder: Path) -> int:
    """Return how many lines of the ledger repeat a case in the same state."""
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    return len(lines) - len({(line["case"], line["state"]) for line in lines})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--scans", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        scans, out, nodes, kill_after_s = json.loads(given.child)
        print(json.dumps(cohort(Path(scans), Path(out), nodes, kill_after_s)))
        return
    failures, moments = 0, random.Random(given.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "scans").mkdir()
        write_scans(folder / "scans", given.scans, given.seed)
        segpipe.predict(folder / "scans", BUNDLE, folder / "whole", options=OPTIONS)
        expected = outputs(folder / "whole")
        runs = {}
        for nodes in (1, 2):
            runs[nodes] = in_process(folder / "scans", folder / f"nodes_{nodes}", nodes)
            same = outputs(folder / f"nodes_{nodes}") == expected
            failures += not same
            print(json.dumps({"run": f"{nodes} workers", **runs[nodes], "same_bytes": same}), flush=True)
        for number in range(given.kills):
            out, moment = folder / f"kill_{number}", moments.uniform(0, runs[2]["seconds"])
            run = in_process(folder / "scans", out, 2, moment)
            same, twice = outputs(out) == expected, doubled(out)
            failures += not same or twice > 0
            line = {"run": "kill", "after_s": round(moment, 3), **run, "same_bytes": same, "doubled": twice}
            print(json.dumps(line), flush=True)
    gain = runs[1]["seconds"] / runs[2]["seconds"]
    print(
        json.dumps(
            {
                "scans": given.scans,
                "kills": given.kills,
                "failures": failures,
                "gain_of_second_worker": round(gain, 2),
                "target_gain": TARGET_GAIN,
                "cores": os.cpu_count(),
                "excluded": "start of Ray, imports of the workers, first scan",
            }
        )
    )
    raise SystemExit(failures > 0)


if __name__ == "__main__":
    main()

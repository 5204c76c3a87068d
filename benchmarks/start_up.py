"""How long does `segpipe predict` take before, or without, any computing?

    python benchmarks/start_up.py SCAN [--rounds 3]

Whole commands of new processes, in turn: `import torch` and `import monai` for comparison, `--help`, an option that is
refused, a scan whose header is damaged, a scan that is finished, and one scan from nothing. SCAN is one that
`mri_hippocampus_unet` takes. Processor time is user and system time of all threads; medians of the rounds. A line is
added to results/start_up.jsonl.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bundle_runs import append_line

from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name

RESULTS = Path(__file__).with_name("results") / "start_up.jsonl"
SEGPIPE = [sys.executable, "-m", "segpipe"]
BUNDLE = "mri_hippocampus_unet"
DAMAGED_BYTES = 60  # within the header of a compressed file


@dataclass(frozen=True)
class Command:
    """A command with the exit status that it must have."""

    words: list[str]
    status: int = 0


def commands(scan: Path, folder: Path) -> dict[str, Command]:
    """Return name -> command; `{round}` in a word stands for the number of the round."""
    damaged = folder / f"damaged_{scan.name}"
    damaged.write_bytes(scan.read_bytes()[:DAMAGED_BYTES])
    predict = [*SEGPIPE, "predict", "--bundle", BUNDLE]
    return {
        "import torch": Command([sys.executable, "-c", "import torch"]),
        "import monai": Command([sys.executable, "-c", "import monai"]),
        "segpipe --help": Command([*SEGPIPE, "--help"]),
        "an option is refused": Command(
            [*predict, str(scan), "-o", str(folder / "o"), "--precision", "half"], 2
        ),
        "a damaged header": Command([*predict, str(damaged), "-o", str(folder / "damaged{round}")], 1),
        "a finished scan": Command([*predict, str(scan), "-o", str(folder / "finished")]),
        "one scan": Command([*predict, str(scan), "-o", str(folder / "one{round}")]),
    }


def timed(command: Command, number: int) -> tuple[float, float]:
    """Run a command; return its wall time and its processor time in seconds."""
    before, since = os.times(), time.perf_counter()
    done = subprocess.run(
        [word.format(round=number) for word in command.words], capture_output=True, text=True, check=False
    )
    wall, after = time.perf_counter() - since, os.times()
    if done.returncode != command.status:
        sys.exit(f"{command.words}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
    of_children = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, of_children


def main() -> None:
    """Run every command once without a clock, then in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scan", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    times: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        named = commands(options.scan, Path(folder))
        for number in range(options.rounds + 1):
            for name, command in named.items():
                taken = timed(command, number)
                if number:  # the first round fills the disk's cache
                    times.setdefault(name, []).append(taken)
    medians = {
        name: [round(statistics.median(values), 2) for values in zip(*taken, strict=True)]
        for name, taken in times.items()
    }
    torch = medians["import torch"][1]
    print(f"{'command':24}{'wall, s':>10}{'processor, s':>14}{'times import torch':>20}")
    for name, (wall, processor) in medians.items():
        print(f"{name:24}{wall:10.2f}{processor:14.2f}{processor / torch:20.2f}")
    line = {"seconds": medians, "rounds": options.rounds, "commit": commit(), "machine": processor_name()}
    append_line(RESULTS, {**line, "command": "python benchmarks/start_up.py SCAN"})


if __name__ == "__main__":
    main()

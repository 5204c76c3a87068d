"""How much faster two processes train than one, on a processor: torchrun with gloo against one process of one thread.

    python benchmarks/torchrun.py --dataset-dir DATASET_DIR [--processes 2] [--rounds 3]

Both run the hippocampus bundle's own commands in turn, one thread a process. The rate is that of the second epoch,
without validation, as the run logs it in samples a second of all processes. It needs as many idle cores as processes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "bundles" / "mri_hippocampus_unet"
AIM = 1.5
EPOCHS = 2


def samples_per_second(processes: int, arguments: argparse.Namespace) -> float:
    """Train two epochs, and return the rate of the second."""
    files = ["train.yaml"] + ["multi_gpu_train.yaml"] * (processes > 1)
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "config_file": [str(BUNDLE / "configs" / name) for name in files],
            "bundle_root": str(BUNDLE),
            "dataset_dir": str(arguments.dataset_dir.resolve()),
            "output_dir": folder,
            "run_name": "rate",
            "epochs": EPOCHS,
            "val_interval": EPOCHS,
            "precision": arguments.precision,
            "reference_ranges": False,
            "train#dataset#data": f"$@cases.train[:{arguments.cases}]",
            "validate#dataset#data": f"$@cases.validation[:{processes}]",
        }
        several = [f"--nproc_per_node={processes}", "--master_port=29517"]
        command = [
            sys.executable,
            "-P",
            *(["-m", "torch.distributed.run", *several] if processes > 1 else []),
        ]
        command += ["-m", "monai.bundle", "run", *(f"--{name}={value}" for name, value in options.items())]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        log = EventAccumulator(str(Path(folder) / "rate" / "tensorboard"))
        log.Reload()
        return float(log.Scalars("speed/samples_per_second")[-1].value)


def main() -> None:
    """Measure both in turn; print the table and the line for the results file."""
    arguments = parse_arguments()
    counts = (1, arguments.processes)
    rates: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(arguments.rounds):
        for count in counts:
            rates[count].append(samples_per_second(count, arguments))
    print("| processes | samples a second | times one process |")
    print("|---|---|---|")
    one = statistics.median(rates[1])
    for count in counts:
        rate = statistics.median(rates[count])
        each = ", ".join(f"{value:.2f}" for value in rates[count])
        print(f"| {count} | {rate:.2f} ({each}) | {rate / one:.2f} |")
    times = statistics.median(rates[arguments.processes]) / one
    print(f"\n{times:.2f} times one process, aim {AIM}")
    result = {
        "processes": arguments.processes,
        "precision": arguments.precision,
        "times": round(times, 3),
        "samples_per_second": {str(count): [round(value, 3) for value in rates[count]] for count in counts},
        "cores": os.cpu_count(),
        "machine": processor_name(),
        "commit": commit(ROOT / "segpipe"),
        "command": f"python benchmarks/torchrun.py --dataset-dir DATASET_DIR --processes {arguments.processes} "
        f"--precision {arguments.precision} --cases {arguments.cases} --rounds {arguments.rounds}",
    }
    print(json.dumps(result))


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset-dir", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--cases", type=int, default=64, help="training cases of an epoch")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()

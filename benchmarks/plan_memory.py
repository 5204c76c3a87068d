"""How far the planned memory of a training step is from the measured memory, for U-Net and SegNet in 2D and 3D.

    python benchmarks/plan_memory.py                  # measures what is not yet measured at this commit
    python benchmarks/plan_memory.py --only segnet    # plans of this network alone

Plans are made for invented fingerprints. For each plan a fresh process makes the network, the loss and the optimiser of
the bundle and trains three batches of noise. Measured is the peak of the process's resident memory (Linux: VmHWM);
planned is this code's estimate of the process with its step. Loaded images and validation are left out.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from bundle_runs import append_line, read_lines

from segpipe.inference import PrecisionInferer
from segpipe.inference.heap import LARGEST_OF_A_STEP, keep_freed_memory
from segpipe.losses import DiceCrossEntropy
from segpipe.networks.group_norms import instance_to_group_norms
from segpipe.planning import Channel, Class, Fingerprint, PlanOptions
from segpipe.planning.memory import PROCESS_BYTES, made, step_bytes
from segpipe.planning.rules import plan
from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name

RESULTS = Path(__file__).with_name("results") / "plan_memory.jsonl"
DATA = {  # size and spacing of the median case, and the number of classes
    "slices 128": ((128, 128), (1.0, 1.0), 2),
    "slices 256": ((256, 256), (1.0, 1.0), 4),
    "slices 384": ((384, 384), (1.0, 1.0), 4),
    "volume 35 x 50 x 36": ((35, 50, 36), (1.0, 1.0, 1.0), 3),
    "volume 64 x 64 x 64": ((64, 64, 64), (1.0, 1.0, 1.0), 3),
    "volume 96 x 96 x 32": ((96, 96, 32), (1.0, 1.0, 1.0), 2),
    "volume 96 x 96 x 32, 12 classes": ((96, 96, 32), (1.0, 1.0, 1.0), 12),
    "thick slices 170 x 172 x 57": ((170, 172, 57), (0.98, 0.98, 3.27), 2),
}
NETWORKS = ("unet", "segnet")


def planned(data: str, network: str) -> Any:
    """Return the plan for an invented data set of four cases."""
    size, spacing, classes = DATA[data]
    cases = 4
    share = 0.1 / (classes - 1)
    fingerprint = Fingerprint(
        patients=cases,
        sizes=(size,) * cases,
        spacings_mm=(spacing,) * cases,
        channels=(Channel("MRI", 0.0, 900.0, 100.0, 700.0),),
        classes=(Class(0.9, cases), *(Class(share, cases) for _ in range(classes - 1))),
    )
    return plan(fingerprint, PlanOptions(memory_gb=16.0, network=network), step_bytes)


def train(data: str, network: str) -> None:
    """Train three batches, and print the peak of this process's memory before and after, in bytes."""
    import monai.bundle  # what a training imports

    import segpipe.bundle
    import segpipe.training  # noqa: F401

    of_plan = planned(data, network)
    values = {name: number.value for name, number in of_plan.numbers.items()}
    module = made(of_plan.architecture)
    instance_to_group_norms(module)  # as a training on a processor
    keep_freed_memory(LARGEST_OF_A_STEP)
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)
    inferer = PrecisionInferer(monai.inferers.SimpleInferer(), values["precision"])
    loss = DiceCrossEntropy(batch_dice=values["batch_dice"], skip_absent=values["batch_dice"])
    before = peak()
    shape = (values["batch_size"], 1, *values["patch_size"])
    for _ in range(3):
        image = torch.randn(shape)
        label = torch.randint(0, of_plan.architecture.num_classes, shape).float()
        optimizer.zero_grad(set_to_none=True)
        loss(inferer(image, module), label).backward()
        optimizer.step()
    print(before, peak())


def peak() -> int:
    """Return the peak of this process's resident memory, bytes."""
    status = Path("/proc/self/status").read_text()  # getrusage counts the parent's memory too
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def measured(data: str, network: str) -> dict[str, Any]:
    """Return one line of results."""
    of_plan = planned(data, network)
    values = {name: number.value for name, number in of_plan.numbers.items()}
    command = [sys.executable, __file__, "--train", data, network]
    before, after = map(int, subprocess.check_output(command, text=True).split()[-2:])
    return {
        "data": data,
        "network": of_plan.architecture.name,
        "patch": values["patch_size"],
        "batch": values["batch_size"],
        "process_gb": round(before / 1e9, 3),
        "measured_gb": round(after / 1e9, 3),
        "threads": torch.get_num_threads(),
        "machine": f"{processor_name()}, {platform.system()}, torch {torch.__version__}",
        "commit": commit(Path(__file__).resolve().parents[1] / "segpipe"),
    }


def main() -> None:
    """Measure what is asked for and not yet measured at this commit; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=NETWORKS)
    parser.add_argument("--train", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        train(*arguments.train)
        return
    done = {(line["data"], line["asked"], line["commit"]) for line in read_lines(RESULTS)}
    version = commit(Path(__file__).resolve().parents[1] / "segpipe")
    for data in DATA:
        for network in NETWORKS:
            if arguments.only not in (None, network) or (data, network, version) in done:
                continue
            append_line(RESULTS, {"asked": network, **measured(data, network)})
    print(
        "| data | network | patch | batch | process, GB | planned, GB | measured, GB | measured / planned |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for line in read_lines(RESULTS):
        architecture = planned(line["data"], line["asked"]).architecture
        line["planned_gb"] = (PROCESS_BYTES + step_bytes(architecture, line["batch"], line["patch"])) / 1e9
        ratio = line["measured_gb"] / line["planned_gb"]
        patch = " x ".join(map(str, line["patch"]))
        found = " | ".join(f"{line[name]:.2f}" for name in ("process_gb", "planned_gb", "measured_gb"))
        print(f"| {line['data']} | {line['network']} | {patch} | {line['batch']} | {found} | {ratio:.2f} |")


if __name__ == "__main__":
    main()

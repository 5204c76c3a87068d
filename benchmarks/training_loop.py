"""How much of a training's time goes into anything but the network: the loop against bare steps on ready tensors.

    python benchmarks/training_loop.py --dataset-dir DATASET_DIR [--bundle mri_hippocampus_unet] [--rounds 5]

Tiles have no manifest that comes with segpipe: `--bundle ct_covid_tile_cnn --manifest TILES/dataset.json`.

One process takes both in turn, so that a machine whose speed drifts slows both: an epoch of the bundle's own training
(loading, augmentation, collation, Ignite, handlers, the state written to disk; all but validation), then as many
forward, backward and optimiser steps on batches that lie ready in memory.

Wall time counts. Beside it stands processor time, which other programs on the machine disturb less.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from monai.utils import convert_to_tensor

from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name

ROOT = Path(__file__).resolve().parents[1]
TARGETS = {"mri_hippocampus_unet": 0.85} | dict.fromkeys(
    (
        "ct_covid_unet",
        "ct_covid_segnet",
        "oct_retina_efficientnet",
        "cxr_findings_efficientnet",
        "ct_covid_tile_cnn",
    ),
    1 / 1.15,
)


Seconds = tuple[float, float]  # wall time and processor time


def now() -> Seconds:
    """Read both clocks."""
    return time.perf_counter(), time.process_time()


def since(began: Seconds) -> Seconds:
    """Return wall time and processor time since a reading."""
    wall, processor = now()
    return wall - began[0], processor - began[1]


class BareSteps:
    """Forward, backward and step on batches that lie ready, on copies of the trainer's network and optimiser."""

    def __init__(self, workflow: ConfigWorkflow) -> None:
        parser = workflow.parser
        trainer = parser.get_parsed_content("train#trainer")
        self.network = copy.deepcopy(trainer.network)
        trained = [value for value in self.network.parameters() if value.requires_grad]
        self.optimizer = type(trainer.optimizer)(trained, lr=1e-4, fused=True)
        self.loss, self.inferer = trainer.loss_function, trainer.inferer
        self.batches = [
            tuple(convert_to_tensor(batch[key], track_meta=False).clone() for key in ("image", "label"))
            for batch in trainer.data_loader
        ]

    def seconds(self) -> Seconds:
        """Return what one pass over the batches takes."""
        began = now()
        for image, label in self.batches:
            self.optimizer.zero_grad(set_to_none=True)
            self.loss(self.inferer(image, self.network), label).backward()
            self.optimizer.step()
        return since(began)


def main() -> None:
    """Measure and print one row a round and the median ratio."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        root = ROOT / "bundles" / arguments.bundle
        workflow = ConfigWorkflow(
            config_file=str(root / "configs" / "train.yaml"),
            workflow_type="train",
            bundle_root=str(root),
            dataset_dir=str(arguments.dataset_dir),
            output_dir=folder,
            run_name="loop",
            epochs=arguments.rounds + 1,
            val_interval=arguments.rounds + 2,
            fold="all",
            **({"manifest": str(arguments.manifest)} if arguments.manifest else {}),
        )
        workflow.initialize()
        trainer = workflow.parser.get_parsed_content("train#trainer")
        rounds: list[tuple[Seconds, Seconds]] = []
        began = now()
        bare: BareSteps | None = None

        @trainer.on(Events.EPOCH_STARTED)
        def _start(_: Engine) -> None:
            nonlocal began
            began = now()

        @trainer.on(Events.EPOCH_COMPLETED)  # attached last: the state is on disk
        def _compare(_: Engine) -> None:
            nonlocal bare
            loop = since(began)
            if bare is None:  # the first epoch fills the cache, warms up, and freezes what is frozen
                bare = BareSteps(workflow)
                bare.seconds()
            else:
                rounds.append((loop, bare.seconds()))

        workflow.run()
    report(arguments, trainer.state.epoch_length, rounds)


def report(arguments: argparse.Namespace, steps: int, rounds: list[tuple[Seconds, Seconds]]) -> None:
    """Print the table and the line for the results file."""
    bundle = arguments.bundle
    print("| round | steps | training loop, s | bare steps, s | bare / loop | the same in processor time |")
    print("|---|---|---|---|---|---|")
    for number, (loop, bare) in enumerate(rounds, 1):
        ratios = " | ".join(f"{bare[clock] / loop[clock]:.3f}" for clock in (0, 1))
        print(f"| {number} | {steps} | {loop[0]:.2f} | {bare[0]:.2f} | {ratios} |")
    ratio, processor = (
        statistics.median(bare[clock] / loop[clock] for loop, bare in rounds) for clock in (0, 1)
    )
    print(f"\nmedian {ratio:.3f}, in processor time {processor:.3f}, target {TARGETS[bundle]:.2f}")
    result = {
        "bundle": bundle,
        "ratio": round(ratio, 3),
        "rounds": [[round(loop[0], 2), round(bare[0], 2)] for loop, bare in rounds],
        "processor_ratio": round(processor, 3),
        "processor_rounds": [[round(loop[1], 2), round(bare[1], 2)] for loop, bare in rounds],
        "threads": torch.get_num_threads(),
        "machine": processor_name(),
        "commit": commit(ROOT / "segpipe"),
        "command": "python benchmarks/training_loop.py --dataset-dir DATASET_DIR "
        f"--bundle {bundle} --rounds {len(rounds)}" + " --manifest MANIFEST" * bool(arguments.manifest),
    }
    print(json.dumps(result))


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset-dir", type=Path, required=True)
    parser.add_argument("--bundle", default="mri_hippocampus_unet", choices=TARGETS)
    parser.add_argument("--manifest", type=Path, help="in place of the bundle's")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()

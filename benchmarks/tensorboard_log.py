"""How large the TensorBoard log of fifty epochs is, and what of a training's time its figures take.

    python benchmarks/tensorboard_log.py --dataset-dir DATASET_DIR [--bundle ct_covid_unet] [--epochs 2]

Trains a bundle for a few epochs as it stands, but with a validation after each, and adds up what the log holds once, an
epoch and a validation. A network that has learnt for so short a time draws specks, which pack worse than what a
trained one draws. Of the time, processor seconds of the training process are counted: what is done at each step for
gradient norm, terms and samples, against the epoch.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

from segpipe.provenance import commit
from segpipe.training import TrainingScalars
from segpipe.training.gradient_norm import GradientNorm
from segpipe.training.run_folder import processor_name

ROOT = Path(__file__).resolve().parents[1]
BUNDLES = ("ct_covid_unet", "ct_covid_segnet", "mri_hippocampus_unet")
EPOCHS = 50


class Stopwatch:
    """Processor seconds in functions that it stands before."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def watch(self, owner: type, name: str) -> None:
        """Put itself before a method."""
        method = getattr(owner, name)

        def timed(*arguments: Any, **keywords: Any) -> Any:
            began = time.process_time()
            try:
                return method(*arguments, **keywords)
            finally:
                self.seconds += time.process_time() - began

        setattr(owner, name, timed)


def main() -> None:
    """Train, and print one row and the line for the results file."""
    arguments = parse_arguments()
    logging = Stopwatch()
    for owner, name in ((GradientNorm, "_count"), (TrainingScalars, "_count"), (TrainingScalars, "_collect")):
        logging.watch(owner, name)
    with tempfile.TemporaryDirectory() as folder:
        root = ROOT / "bundles" / arguments.bundle
        workflow = ConfigWorkflow(
            config_file=str(root / "configs" / "train.yaml"),
            workflow_type="train",
            bundle_root=str(root),
            dataset_dir=str(arguments.dataset_dir),
            output_dir=folder,
            run_name="log",
            epochs=arguments.epochs,
            val_interval=1,
        )
        workflow.initialize()
        training = seconds_of(workflow.parser.get_parsed_content("train#trainer"))
        workflow.run()
        sizes = bytes_of(Path(folder) / "log" / "tensorboard", arguments.epochs)
    interval = configuration_of(root)["val_interval"]
    own = sizes["once"] + EPOCHS * sizes["an epoch"] + EPOCHS // interval * sizes["a validation"]
    most = sizes["once"] + EPOCHS * (sizes["an epoch"] + sizes["a validation"])
    share = logging.seconds / training()
    print(
        "| bundle | once, kB | an epoch, kB | a validation, kB | 50 epochs, MB | validated each, MB | share |"
    )
    print("|---|---|---|---|---|---|---|")
    kilobytes = " | ".join(f"{size / 1e3:.1f}" for size in sizes.values())
    print(f"| {arguments.bundle} | {kilobytes} | {own / 1e6:.1f} | {most / 1e6:.1f} | {share:.2%} |")
    result = {
        "bundle": arguments.bundle,
        **{name: round(size) for name, size in sizes.items()},
        "val_interval": interval,
        "mb_of_50_epochs": round(own / 1e6, 2),
        "mb_validated_each": round(most / 1e6, 2),
        "share_of_time": round(share, 5),
        "threads": torch.get_num_threads(),
        "machine": processor_name(),
        "commit": commit(ROOT / "segpipe"),
        "command": "python benchmarks/tensorboard_log.py --dataset-dir DATASET_DIR "
        f"--bundle {arguments.bundle} --epochs {arguments.epochs}",
    }
    print(json.dumps(result))


def seconds_of(trainer: Engine) -> Callable[[], float]:
    """Return a function that gives the processor seconds of all epochs, validation not included."""
    seconds, began = [], 0.0

    def begin(_: Engine) -> None:
        nonlocal began
        began = time.process_time()

    def end(_: Engine) -> None:
        seconds.append(time.process_time() - began)

    trainer.add_event_handler(Events.EPOCH_STARTED, begin)
    # after an epoch's last step, before anything validates
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED(event_filter=lambda engine, step: step % engine.state.epoch_length == 0),
        end,
    )
    return lambda: sum(seconds)


def bytes_of(log: Path, epochs: int) -> dict[str, float]:
    """Return the bytes that a log holds once, an epoch and a validation."""
    found: dict[str, list[int]] = defaultdict(list)
    pictures = set()
    (file,) = log.iterdir()
    for record in RawEventFileLoader(str(file)).Load():
        for value in Event.FromString(record).summary.value:
            found[value.tag].append(len(record))
            if value.HasField("image"):
                pictures.add(value.tag)
    again = {tag: sum(lengths) / epochs for tag, lengths in found.items() if len(lengths) == epochs}
    validations = sum(size for tag, size in again.items() if tag in pictures)
    figures = sum(again.values()) - validations
    return {
        "once": file.stat().st_size - epochs * (validations + figures),
        "an epoch": figures,
        "a validation": validations,
    }


def configuration_of(root: Path) -> dict[str, Any]:
    """Return the configuration that a bundle is shipped with."""
    workflow = ConfigWorkflow(config_file=str(root / "configs" / "train.yaml"), workflow_type="train")
    configuration: dict[str, Any] = workflow.parser.get()
    return configuration


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset-dir", type=Path, required=True)
    parser.add_argument("--bundle", default="ct_covid_unet", choices=BUNDLES)
    parser.add_argument("--epochs", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()

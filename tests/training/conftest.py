"""A tiny network with dropout on tiny volumes, trained in a second with the real handlers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, MeanDice, from_engine
from monai.transforms import AsDiscreted, Compose, Lambdad, RandGaussianNoised
from monai.utils import set_determinism
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segpipe.dataset.loading import CaseDataset, CaseLoader, EpochSampler
from segpipe.labels import LabelTable, class_color
from segpipe.networks import Identity
from segpipe.training import (
    RunFolder,
    SaveBest,
    TrainingScalars,
    TrainingState,
    Validate,
    ValidationPictures,
    ValidationScalars,
)


def volume(number: int) -> tuple[MetaTensor, MetaTensor]:
    generator = torch.Generator().manual_seed(number)
    label = torch.zeros(1, 8, 8, 8)
    label[:, 1 + number % 4 : 5 + number % 4, 2:6, 2:6] = 1
    return MetaTensor(label + torch.randn(1, 8, 8, 8, generator=generator)), MetaTensor(label)


def records(numbers: range) -> list[dict[str, Any]]:
    return [
        {"case": f"case_{n}", "image": image, "label": label} for n in numbers for image, label in [volume(n)]
    ]


def cross_entropy(scores: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(scores, label[:, 0].long())


@dataclass
class Training:
    """One run of the tiny training; `run` may interrupt it after an epoch."""

    output_dir: Path
    run_name: str = "run"
    resume: bool = False
    epochs: int = 4
    began: int = 0  # epochs before the present cycle of the learning rate
    seed: int = 0
    val_interval: int = 1
    patience: int = 0
    num_workers: int = 0
    validation: int = 2
    learning_rate: float = 1e-2
    validation_loss: bool = False
    loss: Callable = cross_entropy
    logged: bool = True
    names: tuple[str, ...] = ("background", "ball")
    class_voxels: dict[str, int] | None = None
    provenance: dict[str, Any] = field(default_factory=lambda: {"cases": {"case_0": "ab"}})

    def __post_init__(self) -> None:
        set_determinism(self.seed)
        self.folder = RunFolder(self.output_dir, self.run_name, self.resume)
        self.folder.start(
            {"seed": self.seed, "epochs": self.epochs, "num_workers": self.num_workers}, self.class_voxels
        )
        classes = len(self.names)
        self.network = torch.nn.Sequential(
            torch.nn.Conv3d(1, 4, 3, padding=1),
            torch.nn.BatchNorm3d(4),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.5),
            torch.nn.Conv3d(4, classes, 1),
        )
        rows = [
            {"index": index, "name": name, "color": list(class_color(index)), "value": index}
            for index, name in enumerate(self.names)
        ]
        identity = Identity.of(self.network, [], rows)
        labels = LabelTable.from_rows(rows)
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.learning_rate)
        chain = Compose([Lambdad("image", lambda image: image), RandGaussianNoised("image", prob=0.7)])
        data = CaseDataset(records(range(6)), chain, self.seed)
        loader = CaseLoader(
            data, sampler=EpochSampler(data, self.seed), batch_size=2, num_workers=self.num_workers
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self.learning_rate,
            total_steps=(self.epochs - self.began) * len(loader),
        )
        held_out = CaseDataset(
            records(range(10, 10 + self.validation)), Compose([Lambdad("image", lambda i: i)])
        )
        self.evaluator = SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=CaseLoader(held_out, batch_size=1, num_workers=0),
            network=self.network,
            postprocessing=AsDiscreted(["pred", "label"], argmax=[True, False], to_onehot=classes),
            key_val_metric={
                "val_mean_dice": MeanDice(
                    include_background=False, output_transform=from_engine(["pred", "label"])
                )
            },
            val_handlers=[
                SaveBest(self.folder, self.network, identity, self.provenance),
                *(self._validation_log(labels) if self.logged else []),
            ],
        )
        self.trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=self.epochs,
            train_data_loader=loader,
            network=self.network,
            optimizer=optimizer,
            loss_function=self.loss,
            train_handlers=[
                *([TrainingScalars(self.folder, optimizer)] if self.logged else []),
                LrScheduleHandler(schedule, epoch_level=False, print_lr=False),
                Validate(self.evaluator, self.val_interval, self.patience),
                TrainingState(
                    self.folder, self.network, optimizer, schedule, self.evaluator, identity, self.provenance
                ),
            ],
        )

    def _validation_log(self, labels: LabelTable) -> list[Any]:
        return [
            ValidationScalars(self.folder, labels, loss=self.loss if self.validation_loss else None),
            ValidationPictures(self.folder, labels, num_cases=1),
        ]

    def run(self) -> "Training":
        self.trainer.run()
        return self

    def scalars(self) -> dict[str, dict[int, float]]:
        """Return TensorBoard's values: tag -> epoch -> value."""
        log = self.log()
        return {tag: {event.step: event.value for event in log.Scalars(tag)} for tag in log.Tags()["scalars"]}

    def log(self) -> EventAccumulator:
        log = EventAccumulator(
            str(self.folder.path / "tensorboard"), size_guidance={"images": 0, "scalars": 0, "tensors": 0}
        )
        log.Reload()
        return log


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """Return a finished tiny training that ran without an interruption; tests only read it."""
    return Training(tmp_path_factory.mktemp("whole"), "whole").run()


@pytest.fixture
def training(tmp_path):
    """Return a function that sets a tiny training up below `tmp_path`."""

    def make(run_name: str = "run", **kwargs: Any) -> Training:
        return Training(tmp_path, run_name, **kwargs)

    return make

"""The handlers of a classifier's training: figures, calibration, and the frozen backbone."""

import csv
import json
from math import nan

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from refusals import refusal_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segpipe.calibration import Calibration, fitted_calibration
from segpipe.categories import Categories
from segpipe.files import file_sha256
from segpipe.networks import Identity
from segpipe.training import (
    ImageScore,
    ImageTrainingScalars,
    ImageValidationPictures,
    ImageValidationScalars,
    RunFolder,
    SaveBest,
    SaveCalibration,
    Unfreeze,
    Validate,
)
from segpipe.training.image_handlers import validation_table
from segpipe.training.image_scores import ImageScores

CLASSES = Categories(("CNV", "DME", "NORMAL"), "class")
FINDINGS = Categories(("Effusion", "Mass"), "findings")
SIDE = 6


class Network(torch.nn.Module):
    """A batch norm and a linear layer; the batch norm can be frozen."""

    def __init__(self, outputs):
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(3)
        self.classifier = torch.nn.Linear(3 * SIDE**2, outputs)
        self.frozen = []

    def forward(self, images):
        return self.classifier(self.norm(images).flatten(1))

    def freeze(self, parts=None):
        self.frozen.append(parts)
        self.norm.requires_grad_(parts == 0)


def records(labels, count, seed):
    """Return images of noise; the target decides the brightness of a channel."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for number in range(count):
        image = torch.randn(3, SIDE, SIDE, generator=generator)
        if labels.exclusive:
            image[number % 3] += 2
            target = torch.tensor(number % 3)
        else:
            target = torch.tensor([float(number % 2), [0.0, 1.0, nan][number % 3]])
            image[0] += 2 * target[0]
        made.append({"case": f"case_{number}", "image": image, "label": target})
    return made


class Training:
    """Three epochs with every handler of a classifier."""

    def __init__(self, folder, labels, loss, unfreeze_after=0):
        torch.manual_seed(0)
        self.folder, self.network = RunFolder(folder, "run"), Network(labels.num)
        self.folder.start({"seed": 0}, dict.fromkeys(labels.names, 4))
        self.metric, self.calibrations = ImageScore(labels), {}
        optimizer = torch.optim.SGD(self.network.parameters(), lr=0.05)
        identity = Identity.of(self.network, [], labels.rows())
        self.evaluator = SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=torch.utils.data.DataLoader(records(labels, 9, seed=1), batch_size=4),
            network=self.network,
            key_val_metric={"val_score": self.metric},
            val_handlers=[
                SaveBest(self.folder, self.network, identity, {}),
                SaveCalibration(self.folder, self.metric, 2),
                ImageValidationScalars(self.folder, self.metric, loss),
                ImageValidationPictures(self.folder, self.metric, num_cases=2),
            ],
        )
        self.trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=3,
            train_data_loader=torch.utils.data.DataLoader(records(labels, 12, seed=0), batch_size=4),
            network=self.network,
            optimizer=optimizer,
            loss_function=loss,
            train_handlers=[
                Unfreeze(self.network, unfreeze_after),
                ImageTrainingScalars(self.folder, optimizer),
                Validate(self.evaluator, 1),
            ],
        )

    def log(self):
        log = EventAccumulator(
            str(self.folder.path / "tensorboard"), size_guidance={"images": 0, "scalars": 0, "tensors": 0}
        )
        log.Reload()
        return log


@pytest.fixture(scope="module")
def of_classes(tmp_path_factory):
    made = Training(tmp_path_factory.mktemp("classes"), CLASSES, torch.nn.CrossEntropyLoss())
    made.trainer.run()
    return made


@pytest.fixture(scope="module")
def of_findings(tmp_path_factory):
    from segpipe.losses import WeightedBinaryCrossEntropy

    made = Training(tmp_path_factory.mktemp("findings"), FINDINGS, WeightedBinaryCrossEntropy())
    made.trainer.run()
    return made


@pytest.mark.parametrize("name", ["of_classes", "of_findings"])
def test_every_epoch_has_the_figures_of_training_and_validation(name, request):
    made = request.getfixturevalue(name)
    log, scores = made.log(), made.metric.result

    tags = {f"auroc/{name}" for name in scores.labels.names}
    tags |= {"auroc/mean", "loss/train", "loss/validation", "accuracy/train", "accuracy/validation"}
    assert tags <= set(log.Tags()["scalars"])
    for tag in tags:
        assert [event.step for event in log.Scalars(tag)] == [1, 2, 3], tag
    last = {tag: log.Scalars(tag)[-1].value for tag in log.Tags()["scalars"]}
    assert last["accuracy/validation"] == pytest.approx(scores.accuracy())
    assert last["log_loss/validation"] == pytest.approx(scores.log_loss())
    assert last["auroc/mean"] == pytest.approx(np.nanmean(scores.aurocs()))
    for name, area in zip(scores.labels.names, scores.aurocs(), strict=True):
        assert last[f"auroc/{name}"] == pytest.approx(area)


def test_the_validation_loss_is_the_mean_over_the_images(of_classes):
    assert of_classes.log().Scalars("loss/validation")[-1].value == pytest.approx(
        of_classes.metric.result.log_loss(), rel=1e-5
    )


def test_the_best_validation_leaves_its_calibration_and_its_logits(of_classes):
    best = of_classes.folder.best
    calibration = Calibration.read(best.with_name("best_calibration.json"))
    assert calibration.weights_sha256 == (file_sha256(best),)
    epoch = of_classes.evaluator.state.best_metric_epoch
    assert calibration.about == {"cases": 9, "validation": 2, "epoch": epoch}
    with best.with_name("best_validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == [f"case_{number}" for number in range(9)]

    logits = np.array([[float(row[f"logit_{name}"]) for name in CLASSES.names] for row in rows])
    targets = np.array([[int(row[f"target_{name}"]) for name in CLASSES.names] for row in rows]).argmax(1)
    again = fitted_calibration(logits, targets, CLASSES)
    assert calibration.temperature == pytest.approx(again.temperature, rel=1e-3)
    assert calibration.thresholds == pytest.approx(again.thresholds, rel=1e-3)


def test_a_validation_that_is_not_the_best_changes_no_file(of_findings, monkeypatch):
    best = of_findings.folder.best
    files = {path: path.read_bytes() for path in best.parent.glob("best*")}
    assert {path.name for path in files} == {
        *("best.pt", "best.json", "best_calibration.json", "best_validation.csv"),
    }
    monkeypatch.setattr(ImageScore, "compute", lambda _: -1.0)

    of_findings.evaluator.run(4)

    assert {path: path.read_bytes() for path in best.parent.glob("best*")} == files


def test_a_table_of_findings_leaves_unknown_ones_empty():
    scores = ImageScores(
        ("one", "two, too"),
        np.array([[1.25, -2], [0, 1e-7]]),
        np.array([[1, nan], [0, 1]], np.float32),
        FINDINGS,
    )

    assert validation_table(scores).splitlines() == [
        "case,logit_Effusion,logit_Mass,target_Effusion,target_Mass",
        "one,1.25,-2,1,",
        '"two, too",0,1e-07,0,1',
    ]


def test_the_pictures_show_first_and_worst_images_and_the_confusion(of_classes, of_findings):
    tags = {"pictures/case_0", "pictures/case_1", "validation/worst_1", "validation/worst_2"}

    assert set(of_classes.log().Tags()["images"]) == {*tags, "validation/confusion"}
    assert set(of_findings.log().Tags()["images"]) == tags


def test_the_notes_count_images_with_each_class(of_classes):
    notes = of_classes.log().Tensors("run/classes/text_summary")[0].tensor_proto.string_val[0].decode()

    assert "| CNV | 4 | 33.3 % | 1 |" in notes
    assert "images of the training cases" in notes
    assert json.loads((of_classes.folder.path / "best.json").read_text())["training"]["validation"]


def test_what_is_frozen_depends_on_the_epoch_alone(tmp_path):
    """After a resume in epoch 3 the backbone is trained; in the second of two frozen epochs it is not."""
    made = Training(tmp_path, CLASSES, torch.nn.CrossEntropyLoss(), unfreeze_after=2)
    made.trainer.run()

    assert made.network.frozen == [None, None, 0]
    for epoch, expected in ((1, None), (2, None), (3, 5), (7, 5)):
        network = Network(3)
        engine = Engine(lambda *_: None)
        engine.state.epoch = epoch
        Unfreeze(network, 2, parts=5)._set(engine)
        assert network.frozen == [expected], epoch


def test_never_and_0_epochs(tmp_path):
    never = Network(3)
    engine = Engine(lambda *_: None)
    Unfreeze(never, "never").attach(engine)
    untouched = Network(3)
    Unfreeze(untouched, 0).attach(engine)
    few = Network(3)
    Unfreeze(few, 0, parts=4).attach(engine)

    engine.run([0], max_epochs=3)

    assert never.frozen == [None, None, None]
    assert untouched.frozen == []
    assert few.frozen == [4, 4, 4]


@pytest.mark.parametrize("after", [-1, 1.5, True, "always", None])
def test_another_number_of_frozen_epochs_is_refused(after):
    refusal = refusal_of(Unfreeze, Network(3), after)

    assert refusal == f"unfreeze_after is {after!r}, must be a number of epochs of at least 0, or never"


@pytest.mark.parametrize(("after", "parts"), [(1, 0), ("never", 0), (0, 2)])
def test_a_network_without_a_backbone_cannot_be_frozen(after, parts):
    refusal = refusal_of(Unfreeze, torch.nn.Linear(1, 1), after, parts)

    assert "but Linear has no backbone to freeze" in refusal
    Unfreeze(torch.nn.Linear(1, 1), 0)

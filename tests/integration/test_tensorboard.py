"""TensorBoard reads from a run every figure of every epoch, unchanged, and the pictures."""

import io
import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segpipe.evaluation.case_scores import CaseScores
from segpipe.evaluation.metrics import METRICS
from segpipe.evaluation.summary import read_summary
from segpipe.networks import read_sidecar

EPOCHS = 2  # of finished_run
OF_OUR_LOSS = [
    f"loss_terms/{term}/{of}" for term in ("dice", "cross_entropy") for of in ("train", "validation")
]


def read(run):
    log = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    log.Reload()
    return log


@pytest.fixture(scope="module")
def log(finished_run):
    return read(finished_run)


@pytest.fixture(scope="module")
def names(bundle):
    return [row["name"] for row in bundle.parser("train")["_meta_"]["label_table"]][1:]


def scalars(log, tag):
    return {event.step: event.value for event in log.Scalars(tag)}


@pytest.mark.every_bundle
def test_every_figure_is_logged_at_every_epoch(bundle, log, names):
    expected = {
        "loss/train",
        "loss/validation",
        "voxel_accuracy/train",
        "voxel_accuracy/validation",
        *(OF_OUR_LOSS if bundle.modality == "CT" else []),
        "optimizer/learning_rate",
        "optimizer/gradient_norm",
        "speed/seconds_per_epoch",
        "speed/samples_per_second",
        "memory/peak_gb",
        "dice/mean",
        *(f"dice/{n}" for n in names),
    }

    assert set(log.Tags()["scalars"]) == expected
    for tag in expected:
        assert list(scalars(log, tag)) == [1, 2], tag


def test_losses_and_seconds_are_sound(log):
    loss = scalars(log, "loss/train")

    assert all(np.isfinite(value) and value > 0 for value in loss.values())
    assert loss[2] < loss[1]
    assert all(0 < value < 600 for value in scalars(log, "speed/seconds_per_epoch").values())


def test_the_learning_rate_is_the_schedules(bundle, log):
    """The expected value is the scheduler's at each epoch's last step."""
    parser = bundle.parser("train", **bundle.training, epochs=EPOCHS)
    scheduler, optimizer = parser.get_parsed_content("lr_scheduler"), parser.get_parsed_content("optimizer")
    steps = len(parser.get_parsed_content("train#dataloader"))
    used = []
    for _ in range(EPOCHS * steps):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()

    assert scalars(log, "optimizer/learning_rate") == pytest.approx(
        {1: used[steps - 1], 2: used[-1]}, rel=1e-6
    )


def test_mean_dice_is_the_mean_over_cases_and_classes(log, names):
    """Phantoms have both classes in every case, so the mean of the classes' means is the mean of all."""
    for step, mean in scalars(log, "dice/mean").items():
        classes = [scalars(log, f"dice/{name}")[step] for name in names]
        assert mean == pytest.approx(np.mean(classes), abs=1e-6)
        assert all(0 <= value <= 1 for value in classes)


def test_dice_and_accuracy_are_what_an_evaluation_of_the_best_weights_gives(bundle, finished_run, log, names):
    """Phantoms' grids are the network's, so scores on the scan's own grid are those of the training."""
    bundle.run("train", "evaluate", **bundle.training, run_name=finished_run.name)

    best = read_sidecar(finished_run / "best.pt").training
    scores = CaseScores.read(finished_run / "evaluation" / "best-fold0")
    assert len(scores.cases) == 2
    for name in names:
        scored = scores.values[:, METRICS.index("dice"), scores.class_names.index(name)].mean()
        assert scalars(log, f"dice/{name}")[best["epoch"]] == pytest.approx(scored, abs=2e-3), name
    pooled = read_summary(finished_run / "evaluation" / "best-fold0")["pooled"]
    accuracy = scalars(log, "voxel_accuracy/validation")[best["epoch"]]
    assert accuracy == pytest.approx(pooled["accuracy"], abs=1e-4)
    mean = scalars(log, "dice/mean")
    assert mean[best["epoch"]] == pytest.approx(best["validation"]["val_mean_dice"], abs=1e-6)
    assert mean[best["epoch"]] == max(mean.values())


def held_out(bundle):
    training = json.loads(bundle.manifest.read_text())["training"]
    return [entry["case"] for entry in training if entry["fold"] == 0]


def picture(event):
    return np.asarray(Image.open(io.BytesIO(event.encoded_image_string)).convert("RGB")).astype(int)


@pytest.mark.every_bundle
def test_the_same_cases_the_worst_one_and_the_confusion_are_drawn_at_every_validation(bundle, log):
    cases = {f"pictures/{case}" for case in held_out(bundle)}

    assert {tag: [event.step for event in log.Images(tag)] for tag in log.Tags()["images"]} == {
        tag: [1, 2] for tag in (*cases, "validation/worst_case", "validation/confusion")
    }


@pytest.mark.every_bundle
def test_classes_configuration_and_environment_are_said_once(bundle, finished_run, log, names):
    texts = {
        name: [event.tensor_proto.string_val[0].decode() for event in log.Tensors(f"run/{name}/text_summary")]
        for name in ("classes", "configuration", "environment")
    }

    assert {name: len(entries) for name, entries in texts.items()} == dict.fromkeys(texts, 1)
    rows = texts["classes"][0].splitlines()[-len(names) :]
    assert [row.split(" | ")[0] for row in rows] == [f"| {name}" for name in names]
    weighted = not texts["classes"][0].startswith("The loss weighs all classes alike")
    assert weighted == (bundle.modality == "CT")
    recorded = (finished_run / "configuration.yaml").read_text()
    assert yaml.safe_load(texts["configuration"][0]) == yaml.safe_load(recorded)
    commit = json.loads((finished_run / "environment.json").read_text())["commit"]
    assert f"| commit | {commit or '-'} |" in texts["environment"][0]


def views(tile):
    """Return image, reference and prediction of a tile: below each other if wider than high, else side by side."""
    rows = np.flatnonzero(tile[:, 8:-8].max(axis=(1, 2)) > 0)
    assert rows.size
    height, width, _ = tile.shape
    if height > width / 2:  # three rows of planes
        step = (height - 3 * 20 - 16) // 3
        return [tile[48 + step * number : 28 + step * (number + 1) - 8, 8:-8] for number in range(3)]
    step = (width - 8) // 3
    return [tile[48:-68, 8 + step * number : step * (number + 1)] for number in range(3)]


def test_a_tile_has_the_image_in_grey_and_both_label_maps_in_the_tables_colours(bundle, log):
    """JPEG changes grey and colours a little."""
    colours = [row["color"] for row in bundle.parser("train")["_meta_"]["label_table"]]
    for case in held_out(bundle):
        image, reference, prediction = views(picture(log.Images(f"pictures/{case}")[-1]))

        assert image.shape == reference.shape == prediction.shape
        assert np.ptp(image, axis=-1).max() < 30, "the image is grey"
        for colour in colours[1:]:
            assert (np.abs(reference - colour).max(axis=-1) < 40).any()
        assert (np.ptp(prediction, axis=-1) > 40).any()
        assert np.abs(prediction - reference).max() > 40
        untouched = (np.ptp(reference, axis=-1) < 20) & (np.ptp(prediction, axis=-1) < 20)
        assert untouched.mean() > 0.2
        assert np.abs(reference - image)[untouched].mean() < 6


def test_the_prediction_is_another_at_each_validation(bundle, log):
    for case in held_out(bundle):
        first, second = (picture(event) for event in log.Images(f"pictures/{case}"))
        assert (first != second).any()


@pytest.mark.every_bundle
def test_fifty_epochs_stay_below_20_mb(finished_run, log):
    """The log repeats each tag for fifty epochs with fifty validations, and has a third case."""
    size = sum(path.stat().st_size for path in (finished_run / "tensorboard").rglob("*") if path.is_file())
    drawn = {
        tag: [len(event.encoded_image_string) for event in log.Images(tag)] for tag in log.Tags()["images"]
    }
    a_validation = sum(
        max(sizes) * (1.5 if tag.startswith("pictures") else 1)
        for tag, sizes in drawn.items()
        if len(sizes) == EPOCHS
    )

    assert size + 50 * a_validation < 20e6


class PowerCut(BaseException):
    """An exception that no handler catches."""


@pytest.mark.slow
def test_a_resumed_runs_log_is_that_of_one_run(bundle, monkeypatch):
    """Entries after the last saved epoch are hidden: every step appears once."""
    from segpipe.training import TrainingState

    small = {"epochs": 3, "patch_size": [32, 32, 32], "filters": [8, 16, 32, 64]}
    save = TrainingState._save

    def cut(self, engine):
        if engine.state.epoch == 2:
            raise PowerCut  # epoch 2 is logged and validated, not saved
        save(self, engine)

    monkeypatch.setattr(TrainingState, "_save", cut)
    with pytest.raises(PowerCut):
        bundle.train("cut", **small)
    monkeypatch.undo()

    log = read(bundle.train("cut", **small, resume=True))

    for tag in ("loss/train", "dice/mean"):
        assert [event.step for event in log.Scalars(tag)] == [1, 2, 3], tag


@pytest.mark.slow
def test_loss_is_the_mean_of_an_epochs_batches(bundle, monkeypatch):
    from monai.losses import DiceCELoss

    losses = {"train": [], "validation": []}
    forward = DiceCELoss.forward

    def recorded(self, scores, label):
        loss = forward(self, scores, label)
        losses["train" if scores.requires_grad else "validation"].append(loss.detach())
        return loss

    monkeypatch.setattr(DiceCELoss, "forward", recorded)

    log = read(bundle.train("losses", epochs=1, patch_size=[32, 32, 32], filters=[8, 16, 32, 64]))

    for name, values in losses.items():
        expected = torch.stack(values).mean().item()
        assert scalars(log, f"loss/{name}") == pytest.approx({1: expected}, rel=1e-5), name

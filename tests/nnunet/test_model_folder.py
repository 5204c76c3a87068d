"""Finding a trained model's files, and reading a checkpoint without running code."""

import os
import shutil

import pytest
import torch
from hostile_weights import Call
from nnunet_models import write_model

from segpipe.errors import SegpipeError
from segpipe.nnunet.model_folder import read_checkpoint, read_model_folder


def test_every_numbered_fold_with_the_checkpoint_is_taken(tmp_path):
    root = write_model(tmp_path / "model", folds=3)
    (root / "fold_1" / "checkpoint_final.pth").unlink()
    (root / "fold_all").mkdir()
    shutil.copy(root / "fold_0" / "checkpoint_final.pth", root / "fold_all")

    assert list(read_model_folder(root).checkpoints) == ["0", "2"]
    assert list(read_model_folder(root, ["all"]).checkpoints) == ["all"]


def test_a_checkpoint_may_hold_single_numbers_of_numpy(tmp_path):
    """nnU-Net's logs and its best score are such numbers."""
    checkpoint = read_checkpoint(write_model(tmp_path / "model") / "fold_0" / "checkpoint_final.pth")

    assert (checkpoint.trainer, checkpoint.configuration) == ("nnUNetTrainer_5epochs", "3d_fullres")
    assert (checkpoint.mirror_axes, checkpoint.epoch) == ((0, 1, 2), 5)
    assert checkpoint.state["encoder.stages.0.0.convs.0.conv.weight"].shape == (4, 1, 1, 3, 3)


def test_a_checkpoint_that_needs_code_is_refused(tmp_path):
    path = write_model(tmp_path / "model", harm=Call(os.system, "true")) / "fold_0" / "checkpoint_final.pth"

    with pytest.raises(SegpipeError, match=r"holds more than tensors .* could run code\): posix.system"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"state": torch.ones(1)},
            "is no checkpoint of nnU-Net 2: it has no network_weights, trainer_name, init_args",
        ),
        (
            {"network_weights": {"a": 1}, "trainer_name": "nnUNetTrainer", "init_args": {}},
            "weights, trainer or configuration are of another kind",
        ),
    ],
)
def test_other_files_are_no_checkpoints(tmp_path, content, message):
    torch.save(content, tmp_path / "checkpoint_final.pth")

    with pytest.raises(SegpipeError, match=message):
        read_checkpoint(tmp_path / "checkpoint_final.pth")


def test_mirror_axes_that_are_none_are_refused(tmp_path):
    root = write_model(tmp_path / "model", inference_allowed_mirroring_axes=(0, 7))

    with pytest.raises(SegpipeError, match=r"inference_allowed_mirroring_axes is \(0, 7\), must be axes"):
        read_checkpoint(root / "fold_0" / "checkpoint_final.pth")


def without(name):
    return lambda root: (root / name).unlink()


def of_version_1(root):
    (root / "fold_0" / "model_final_checkpoint.model.pkl").touch()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("plans.json"), "has no plans.json; give the folder that nnUNetv2_train wrote"),
        (without("dataset.json"), "has no dataset.json"),
        (without("fold_0/checkpoint_final.pth"), "has no fold_0/checkpoint_final.pth; no fold has one"),
        (of_version_1, "is a model of nnU-Net 1, whose plans are a pickle"),
        (lambda root: (root / "plans.json").write_text("{"), r"plans.json: is not JSON"),
        (lambda root: (root / "plans.json").write_text("[]"), r"plans.json: must be an object"),
    ],
)
def test_folders_of_no_model_are_refused(tmp_path, change, message):
    root = write_model(tmp_path / "model")
    change(root)

    with pytest.raises(SegpipeError, match=message):
        read_model_folder(root)


def test_a_fold_that_was_not_trained_is_refused_with_those_that_were(tmp_path):
    root = write_model(tmp_path / "model", folds=2)

    with pytest.raises(
        SegpipeError, match=r"fold 4 has no checkpoint_final.pth; the folds with one are 0, 1"
    ):
        read_model_folder(root, ["4"])


def test_the_folder_of_several_models_is_refused_with_their_names(tmp_path):
    write_model(tmp_path / "Dataset007_Knee" / "nnUNetTrainer__nnUNetPlans__2d")

    with pytest.raises(SegpipeError, match="give one of the folders in it: nnUNetTrainer__nnUNetPlans__2d"):
        read_model_folder(tmp_path / "Dataset007_Knee")


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(SegpipeError, match="no such folder; give the folder that nnUNetv2_train wrote"):
        read_model_folder(tmp_path / "model")

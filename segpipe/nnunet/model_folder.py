"""The folder that nnU-Net's training leaves: plans, data set, and a checkpoint for each fold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segpipe.documents import DocumentError, parse_json, read_document
from segpipe.errors import SegpipeError, shown
from segpipe.files import file_sha256
from segpipe.networks.weights_files import read_state

FINAL = "checkpoint_final.pth"
"""Name of the checkpoint that nnU-Net predicts with."""
_OF_A_MODEL = ("dataset.json", "plans.json")
_FOLD = re.compile("fold_([0-9]+|all)")
_ALL = "all"
_OF_V1 = ("plans.pkl", "model_final_checkpoint.model.pkl")
_GIVE = "give the folder that nnUNetv2_train wrote, with dataset.json, plans.json and fold_0"


@dataclass(frozen=True)
class ModelFolder:
    """A trained model of nnU-Net.

    Attributes:
        root: folder of the model, such as `nnUNetTrainer__nnUNetPlans__3d_fullres`.
        dataset, plans: contents of dataset.json and plans.json.
        checkpoints: fold -> its checkpoint, in the order of the folds.
    """

    root: Path
    dataset: Mapping[str, Any]
    plans: Mapping[str, Any]
    checkpoints: Mapping[str, Path]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of nnU-Net; nothing but tensors and plain values was read.

    Attributes:
        path, sha256: of the file.
        state: tensors of the network by name.
        trainer: class name of the trainer.
        configuration: name of the configuration in the plans, such as 3d_fullres.
        mirror_axes: axes along which a prediction mirrors its windows.
        epoch: number of finished epochs; None: not stated.
    """

    path: Path
    sha256: str
    state: Mapping[str, torch.Tensor]
    trainer: str
    configuration: str
    mirror_axes: tuple[int, ...]
    epoch: int | None


def read_model_folder(root: Path, folds: Sequence[str] = (), checkpoint: str = FINAL) -> ModelFolder:
    """Find the files of a trained model.

    Args:
        root: folder of the model.
        folds: folds to take, numbers or `all`; empty: every numbered fold that has the checkpoint, else `all`.
        checkpoint: name of the checkpoints.

    Raises:
        SegpipeError: the folder is none of nnU-Net 2, a file is missing or unreadable, or a fold has no checkpoint.
    """
    if not root.is_dir():
        raise SegpipeError(f"{root}: no such folder; {_GIVE}")
    _require_version_2(root)
    missing = [name for name in _OF_A_MODEL if not (root / name).is_file()]
    if missing:
        inner = [path.parent.name for path in sorted(root.glob("*/plans.json"))]
        advice = f"give one of the folders in it: {shown(inner)}" if inner else _GIVE
        raise SegpipeError(f"{root}: has no {' and no '.join(missing)}; {advice}")
    present = {
        match.group(1): path / checkpoint
        for path in sorted(root.iterdir())
        if (match := _FOLD.fullmatch(path.name)) and (path / checkpoint).is_file()
    }
    numbered = sorted((fold for fold in present if fold != _ALL), key=int)
    chosen = list(folds) or numbered or list(present)
    absent = [fold for fold in chosen if fold not in present]
    if absent or not chosen:
        there = f"the folds with one are {shown(present)}" if present else "no fold has one"
        which = f"fold {absent[0]} has no {checkpoint}" if absent else f"has no fold_0/{checkpoint}"
        raise SegpipeError(f"{root}: {which}; {there}: train it, or choose with --fold and --checkpoint")
    dataset, plans = (_object(root / name) for name in _OF_A_MODEL)
    return ModelFolder(root, dataset, plans, {fold: present[fold] for fold in dict.fromkeys(chosen)})


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint: tensors, plain values and single numbers of NumPy; anything else is refused.

    Raises:
        SegpipeError: see `read_state`; or the file is no checkpoint of nnU-Net 2.
    """
    content = read_state(path)
    needed = ("network_weights", "trainer_name", "init_args")
    lacking = [name for name in needed if not isinstance(content, Mapping) or name not in content]
    if lacking:
        raise SegpipeError(f"{path}: is no checkpoint of nnU-Net 2: it has no {', '.join(lacking)}; {_GIVE}")
    state, arguments = content["network_weights"], content["init_args"]
    configuration = arguments.get("configuration") if isinstance(arguments, Mapping) else None
    tensors = isinstance(state, Mapping) and all(isinstance(one, torch.Tensor) for one in state.values())
    if not tensors or not isinstance(configuration, str) or not isinstance(content["trainer_name"], str):
        raise SegpipeError(
            f"{path}: is no checkpoint of nnU-Net 2: weights, trainer or configuration are of another kind; {_GIVE}"
        )
    epoch = content.get("current_epoch")
    return Checkpoint(
        path,
        file_sha256(path),
        dict(state),
        content["trainer_name"],
        configuration,
        _mirror_axes(content.get("inference_allowed_mirroring_axes"), path),
        epoch if isinstance(epoch, int) else None,
    )


def _mirror_axes(axes: Any, path: Path) -> tuple[int, ...]:
    if axes is None:
        return ()
    whole = isinstance(axes, list | tuple) and all(type(axis) is int and 0 <= axis < 3 for axis in axes)
    if not whole or len(set(axes)) < len(axes):
        raise SegpipeError(
            f"{path}: inference_allowed_mirroring_axes is {axes!r:.80}, must be axes such as [0, 1, 2], each once; "
            f"{_GIVE}"
        )
    return tuple(axes)


def _object(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_document(path))
    except DocumentError as error:
        raise SegpipeError(f"{path}: {error.reason}") from error
    if not isinstance(content, dict):
        raise SegpipeError(f"{path}: must be an object, as nnU-Net writes it; {_GIVE}")
    return content


def _require_version_2(root: Path) -> None:
    folders = [root, *(path for path in root.iterdir() if path.is_dir())]
    if any((folder / name).is_file() for folder in folders for name in _OF_V1):
        raise SegpipeError(
            f"{root}: is a model of nnU-Net 1, whose plans are a pickle (plans.pkl), which could run code; train it "
            "with nnU-Net 2"
        )

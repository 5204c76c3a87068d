"""The parts of a network that a bundle's training changes; `inference.yaml` does not know them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from segpipe.admission.gate import admitted
from segpipe.bundle.opening import made
from segpipe.training import Unfreeze

_HANDLERS = "train::handlers"


def freeze_as_trained(
    network: torch.nn.Module, root: Path, files: Sequence[Path], *, trust: bool = False
) -> None:
    """Freeze the parts of a network that the last epoch of the bundle's training leaves unchanged.

    A training freezes them by `segpipe.training.Unfreeze`. Without this handler, or without files of a training, the
    network stays as its constructor made it.

    Args:
        network: of the bundle's inference.
        root: the bundle's folder.
        files: configuration files of inference, see `training_files`.
        trust: run the training's configuration whatever `segpipe audit` finds.

    Raises:
        SegpipeError: the training's configuration cannot be read, or could run code that the user has not trusted; or
            its numbers do not fit the network.
    """
    trainings = training_files(files)
    if not trainings:
        return
    with admitted(root, trainings, trust=trust) as admission:
        parser = admission.parser
        handlers = parser.get(_HANDLERS, [])
        for place, handler in enumerate(handlers):
            if isinstance(handler, Mapping) and _freezes(handler):
                name = f"{_HANDLERS}::{place}"
                after = made(root, parser, f"{name}::after")
                parts = made(root, parser, f"{name}::parts") if "parts" in handler else 0
                epochs = made(root, parser, "train::trainer::max_epochs")
                Unfreeze(network, after, parts).freeze_in(epochs)


def _freezes(handler: Mapping[str, object]) -> bool:
    """Return whether a handler freezes parts of the network, whatever weights a training starts from."""
    return handler.get("_target_") == "segpipe.training.Unfreeze" and handler.get("network") == "@network_def"


def training_files(files: Sequence[Path]) -> list[Path]:
    """Return the configuration files of the training of an inference; empty if one is missing.

    Args:
        files: `inference.yaml`, of which the counterpart is `train.yaml`; or `NAME_inference.yaml`, of which it is
            `NAME.yaml`.
    """
    names = [file.stem.removesuffix("_inference") for file in files]
    pairs = [
        file.with_stem("train" if name == "inference" else name)
        for file, name in zip(files, names, strict=True)
    ]
    return pairs if all(pair.is_file() for pair in pairs) else []

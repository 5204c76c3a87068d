"""Promotes the weights of several runs to a bundle: an ensemble whose scores are averaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from segpipe.bundle.promote import checked_weights, forget_others, forget_side_files, require_promotable
from segpipe.bundle.weights_list import WeightsList
from segpipe.bundle_names import bundle_folder
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256
from segpipe.networks import load_weights, save_weights
from segpipe.networks.weights_files import PYTORCH, SAFETENSORS


def promote_ensemble(
    weights: Sequence[Path],
    bundle: str | Path,
    *,
    half: bool = True,
    replace: bool = False,
    safetensors: bool = False,
    trust: bool = False,
) -> list[Path]:
    """Copy the weights of several runs into a bundle, and name all of them in its `configs/inference.yaml`.

    The first file is `models/model.pt`, for programs that take one network; the others are `models/model_2.pt` and so
    on. The ensemble has neither reference ranges nor a calibration: those beside the runs are of each run alone.

    Args:
        weights: `best.pt` or `last.pt` of at least two runs of one configuration, each with its sidecar.
        bundle: the bundle's folder or name.
        half: store float16 numbers.
        replace: overwrite weights of the bundle.
        safetensors: write safetensors in place of PyTorch's form.
        trust: run the bundle whatever `segpipe audit` finds.

    Returns:
        paths of the new weights files.

    Raises:
        SegpipeError: see `segpipe.bundle.promote.promote`; a file is given twice, or is the bundle's own; or the
            configuration's weights are no list of files in `models/`.
    """
    bundle = bundle_folder(bundle)
    _require_distinct(weights)
    _require_outside(weights, bundle)
    names = [f"model_{number}{PYTORCH}" if number > 1 else f"model{PYTORCH}" for number in _from_1(weights)]
    require_promotable(bundle, names, replace=replace)
    listed = WeightsList(bundle)
    listed.require_place()
    network, identity, sidecars = checked_weights(weights, bundle, trust=trust)
    targets = [
        (bundle / "models" / name).with_suffix(SAFETENSORS if safetensors else PYTORCH) for name in names
    ]
    former = [*names, *listed.names]
    forget_side_files(bundle, former)
    for path, sidecar, target in zip(weights, sidecars, targets, strict=True):
        load_weights(network, path, identity)
        save_weights(target, network, identity, sidecar.training, torch.float16 if half else None)
    forget_others(bundle, former, targets)
    listed.write(names)
    return targets


def _from_1(weights: Sequence[Path]) -> range:
    return range(1, len(weights) + 1)


def _require_outside(weights: Sequence[Path], bundle: Path) -> None:
    """Refuse the bundle's own weights: the first new file may replace one that is still to be copied."""
    models = (bundle / "models").resolve()
    own = next((path for path in weights if path.resolve().parent == models), None)
    if own is not None:
        raise SegpipeError(
            f"{own}: lies in the bundle's models/, whose files are replaced; give the weights of runs, or copy the "
            "file and its sidecar elsewhere first"
        )


def _require_distinct(weights: Sequence[Path]) -> None:
    missing = [path for path in weights if not path.is_file()]
    if missing:
        raise SegpipeError(f"{missing[0]}: no such file; give the weights of a run, such as best.pt")
    counts = Counter(map(file_sha256, weights))
    twice = next((path for path in weights if counts[file_sha256(path)] > 1), None)
    if twice is not None:
        raise SegpipeError(f"{twice}: is given twice; give the weights of different runs")

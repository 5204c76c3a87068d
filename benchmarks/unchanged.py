"""Two checkouts on the same data: are weights, label maps and scores the same, bit for bit?

    python benchmarks/unchanged.py record --checkout BEFORE --data SHARED_DATA > before.json
    python benchmarks/unchanged.py record --checkout AFTER --data SHARED_DATA > after.json
    python benchmarks/unchanged.py compare before.json after.json

`record` runs the programs of a checkout as a user does: two short trainings with fixed seeds on phantoms, predictions
by the shipped weights of every bundle, on phantoms and on real scans, and the scores of these label maps. It prints
hashes of the weights' values, of the voxels and grids of the label maps, and the scores. Both run on the same machine:
sums of another processor may differ in their last bit. `compare` prints what differs; exit status 1 if something does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import nibabel
import numpy as np
import SimpleITK
import torch

BUNDLES = ("mri_hippocampus_unet", "ct_covid_unet", "ct_covid_segnet")
HIPPOCAMPI = 20
SLICES = 8  # a header and a file of voxels each
TRAININGS = {
    "mri_hippocampus_unet": ["--patch_size", "[32,40,32]", "--window_size", "[32,40,32]"],
    "ct_covid_segnet": [],
}
MODALITIES = {"mri_hippocampus_unet": "mri", "ct_covid_segnet": "ct"}


class Checkout:
    """The programs of a checkout, run with its own code by this interpreter."""

    def __init__(self, root: Path, work: Path) -> None:
        self.root, self.work = root.resolve(), work
        self._environment = {**os.environ, "PYTHONPATH": str(self.root), "PYTHONUNBUFFERED": "1"}

    def run(self, *arguments: object) -> None:
        """Run a module of Python's, such as "segpipe", with arguments; end with its output where it fails."""
        done = subprocess.run(
            [sys.executable, "-m", *map(str, arguments)],
            env=self._environment,
            cwd=self.work,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, arguments))}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")

    def bundle(self, name: str) -> Path:
        """Return a shipped bundle's folder."""
        return self.root / "bundles" / name


def values_sha256(path: Path) -> str:
    """Return the hash of the names and values of a state, whatever the file's form."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + state[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def label_maps(folder: Path) -> dict[str, str]:
    """Return a hash of voxels and grid for each label map below a folder."""
    hashes = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.name.endswith((".nii", ".nii.gz")):
            image = nibabel.load(path)
            voxels, grid = np.asarray(image.dataobj), image.affine
        elif path.suffix in (".mha", ".mhd", ".nrrd", ".png"):
            read = SimpleITK.ReadImage(str(path))
            voxels = SimpleITK.GetArrayFromImage(read)
            grid = np.array([*read.GetSpacing(), *read.GetOrigin(), *read.GetDirection()])
        else:
            continue
        content = (
            str((voxels.dtype.str, voxels.shape)).encode() + voxels.tobytes() + np.asarray(grid).tobytes()
        )
        hashes[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return hashes


def scores(folder: Path) -> list[str]:
    """Return the rows of metrics.csv."""
    return (folder / "metrics.csv").read_text().splitlines()


def train(checkout: Checkout, name: str) -> dict[str, Any]:
    """Train a bundle for an epoch on phantoms, with validation, and return the hashes of its weights."""
    data, bundle = checkout.work / f"{name}_phantoms", checkout.bundle(name)
    checkout.run("segpipe", "phantoms", "dataset", data, "--modality", MODALITIES[name], "--cases", "8")
    overrides = ["--epochs", "1", "--val_interval", "1", "--output_dir", "runs", "--run_name", name]
    where = ["--bundle_root", bundle, "--manifest", data / "dataset.json", "--dataset_dir", data]
    command = ["monai.bundle", "run", "--config_file", bundle / "configs" / "train.yaml"]
    checkout.run(*command, *where, *overrides, *TRAININGS[name])
    run = checkout.work / "runs" / name
    return {weights: values_sha256(run / weights) for weights in ("best.pt", "last.pt")}


def predict(checkout: Checkout, name: str, scans: Path, references: Path | None) -> dict[str, Any]:
    """Segment scans with the shipped weights; return the hashes of the label maps and, with references, the scores."""
    output = checkout.work / f"{name}_of_{scans.name}"
    checkout.run("segpipe", "predict", scans, "--bundle", checkout.bundle(name), "--output", output)
    result: dict[str, Any] = {"label_maps": label_maps(output)}
    if references:
        metadata = checkout.bundle(name) / "configs" / "metadata.json"
        folders = ["--predictions", output, "--references", references, "--labels", metadata]
        checkout.run("segpipe", "evaluate", *folders, "--output", f"{output}_scores")
        result["scores"] = scores(Path(f"{output}_scores"))
    return result


def copied(folder: Path, files: list[Path]) -> Path:
    """Return a new folder of copies of files."""
    folder.mkdir()
    for path in files:
        shutil.copy(path, folder)
    return folder


def record(root: Path, data: Path) -> dict[str, Any]:
    """Return what a checkout makes of phantoms and of real scans."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        checkout = Checkout(root, work)
        result: dict[str, Any] = {f"train {name}": train(checkout, name) for name in TRAININGS}
        checkout.run(
            "segpipe", "phantoms", "scans", work / "phantoms", "--references", work / "phantom_labels"
        )
        mri = data / "hippocampus"
        labels = sorted((mri / "labelsTr").glob("*.nii.gz"))[:HIPPOCAMPI]
        lung = sorted((data / "covid_ct_512" / "images").iterdir())[: 2 * SLICES]
        real = {
            BUNDLES[0]: copied(work / "hippocampi", [mri / "imagesTr" / path.name for path in labels]),
            **dict.fromkeys(BUNDLES[1:], copied(work / "slices", lung)),
        }
        references = {
            BUNDLES[0]: copied(work / "hippocampus_labels", labels),
            **dict.fromkeys(
                BUNDLES[1:],
                copied(
                    work / "slice_labels", [data / "covid_ct_512" / "labels" / path.name for path in lung]
                ),
            ),
        }
        name = BUNDLES[0]
        result[f"predict phantoms {name}"] = predict(checkout, name, work / "phantoms", None)
        for name in BUNDLES:
            result[f"predict real {name}"] = predict(checkout, name, real[name], references[name])
        return result


def differences(before: Any, after: Any, where: str = "") -> list[str]:
    """Return a line for each value that differs."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = [*before, *(name for name in after if name not in before)]
        return [
            line
            for name in names
            for line in differences(before.get(name), after.get(name), f"{where} / {name}" if where else name)
        ]
    return [] if before == after else [f"{where}: {before!r} before, {after!r} after"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("--checkout", type=Path, required=True)
    recording.add_argument("--data", type=Path, required=True)
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "record":
        print(json.dumps(record(arguments.checkout, arguments.data.resolve()), indent=1))
        return
    before, after = (json.loads(path.read_text()) for path in (arguments.before, arguments.after))
    lines = differences(before, after)
    print("\n".join(lines) or f"the same: {', '.join(before)}")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()

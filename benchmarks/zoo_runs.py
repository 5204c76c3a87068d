"""Do `segpipe predict` and MONAI's own run write the same labels with segmentation bundles of the model zoo?

    python benchmarks/zoo_runs.py model-zoo/models --work FOLDER --source COMMIT

The folder holds bundles, such as a clone of github.com/Project-MONAI/model-zoo; `BUNDLES` names those that are run.
Weights are random: each bundle's own network definition makes them; for pictures the last layer's bias is shifted, so
that both classes occur. Scans are synthetic and small; a NIfTI scan is oblique, with unequal spacing; a picture is a
PNG, since Pillow, which MONAI calls, and ITK decode the colours of a JPEG differently. Both programs compute in float32
on the CPU, with the windows of `Run.window` where the bundle's windows need too much memory. A line for each bundle
goes to results/zoo_runs.jsonl:

- refused: what `segpipe predict` says of the bundle as it stands, where it refuses;
- chain: streamed, or MONAI's chain;
- labels: the values in MONAI's files; a map with a single label would compare nothing;
- differing: number of voxels that differ, out of `voxels`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from bundle_runs import append_line, source
from monai.bundle import ConfigParser
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from segpipe.provenance import commit
from segpipe.training.run_folder import processor_name

RESULTS = Path(__file__).with_name("results") / "zoo_runs.jsonl"
REGIONS = {  # what brats_mri_segmentation's Lambda does, in words; see docs/howto/model_zoo.md
    "label_table": [
        {"index": 0, "name": "background", "value": 0},
        {"index": 1, "name": "necrosis", "value": 1},
        {"index": 2, "name": "oedema", "value": 2},
        {"index": 3, "name": "enhancing", "value": 4},
    ],
    "regions": [
        {"name": "Whole tumor", "classes": ["necrosis", "oedema", "enhancing"]},
        {"name": "Tumor core", "classes": ["necrosis", "enhancing"]},
        {"name": "Enhancing tumor", "classes": ["enhancing"]},
    ],
}
_NIFTI = "$sorted(glob.glob(@dataset_dir + '/*.nii.gz'))"


@dataclass(frozen=True)
class Run:
    """How a bundle is run.

    Attributes:
        datalist: id -> value for MONAI's run, which lists the scans.
        channels: of a scan; 0 for a colour picture.
        window: id -> value for both programs, where the bundle's own windows are too large.
        run_id: of MONAI's run.
        outputs: entries that the bundle's metadata lack.
    """

    datalist: dict[str, str] = field(default_factory=lambda: {"datalist": _NIFTI})
    channels: int = 1
    window: dict[str, Any] = field(default_factory=dict)
    run_id: str = "run"
    outputs: dict[str, Any] = field(default_factory=dict)


BUNDLES = {
    "wholeBody_ct_segmentation": Run(),
    "endoscopic_tool_segmentation": Run({"datalist": _NIFTI.replace("nii.gz", "png")}, channels=0),
    "renalStructures_UNEST_segmentation": Run(run_id="evaluating"),
    "brats_mri_segmentation": Run(
        {
            "test_datalist": "$[{'image': sorted(glob.glob(@dataset_dir + '_channels/scan_' + str(n) + '_*.nii.gz'))} "
            "for n in range(2)]"
        },
        channels=4,
        window={"inferer#roi_size": [48, 48, 48]},
        outputs=REGIONS,
    ),
}


def write_weights(bundle: Path) -> None:
    """Write random weights of the network of a bundle; the working directory is the bundle's folder."""
    sys.path.insert(0, str(bundle))
    torch.manual_seed(0)
    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "inference.json")
    network = parser.get_parsed_content("network_def")
    for path in sorted(bundle.with_name(f"{bundle.name}_scans").glob("*.png"))[:1]:
        _balance(network, np.asarray(Image.open(path))[:160, :224])
    (bundle / "models").mkdir(exist_ok=True)
    torch.save(network.state_dict(), bundle / "models" / "model.pt")


def _balance(network: torch.nn.Module, picture: NDArray[Any]) -> None:
    """Shift the last layer so that each channel is the largest somewhere: of two channels, one may win everywhere."""
    channels_first = torch.tensor(picture / 255, dtype=torch.float32).movedim(-1, 0)[None]
    with torch.no_grad():
        scores = network.eval()(channels_first)
        convolutions = (one for one in network.modules() if isinstance(one, torch.nn.Conv2d))
        last = [one for one in convolutions if one.out_channels == scores.shape[1] and one.bias is not None][
            -1
        ]
        last.bias -= scores[0].flatten(1).median(1).values


def write_scans(folder: Path, channels: int) -> None:
    """Write two synthetic scans: blobs and noise, in Hounsfield units where there is one channel."""
    apart = folder.with_name(f"{folder.name}_channels")
    for one in (folder, apart):
        one.mkdir(parents=True)
    for seed in range(2):
        rng = np.random.default_rng(seed)
        if not channels:
            picture = gaussian_filter(rng.uniform(0, 255, (180, 240, 3)), (3, 3, 0))
            picture = 255 * (picture - picture.min()) / np.ptp(picture)
            Image.fromarray(picture.astype(np.uint8)).save(folder / f"picture_{seed}.png")
            continue
        size = (44, 40, 30 + seed)
        values = np.stack([gaussian_filter(rng.normal(size=size), 2) for _ in range(channels)], -1)
        values = 900 * values / np.abs(values).max() + rng.normal(0, 20, values.shape)
        turn, affine = np.deg2rad(12), np.eye(4)
        affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        affine[:3, :3] = affine[:3, :3] @ np.diag([-1.4, 1.3, 2.1])
        affine[:3, 3] = 20, -30, 5
        image = nib.Nifti1Image(values.squeeze(-1) if channels == 1 else values, affine)
        image.header.set_data_dtype(np.float32)
        nib.save(image, folder / f"scan_{seed}.nii.gz")
        for channel in range(channels if channels > 1 else 0):  # MONAI stacks files of one channel
            part = nib.Nifti1Image(values[..., channel].astype(np.float32), affine)
            nib.save(part, apart / f"scan_{seed}_{channel}.nii.gz")


def command(arguments: Sequence[str], folder: Path) -> tuple[str, float]:
    """Return the output of a command and its seconds; an output of a failed command begins with FAILED."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    text = f"{done.stdout}\n{done.stderr}".strip()
    return f"{'FAILED ' if done.returncode else ''}{text}", time.perf_counter() - began


def labels_below(folder: Path) -> dict[str, NDArray[Any]]:
    """Return name of the scan -> label map, of all label maps below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name.endswith(".nii.gz"):
            found["_".join(path.name.split(".")[0].split("_")[:2])] = np.asanyarray(nib.load(path).dataobj)
        elif path.suffix == ".png":
            found["_".join(path.stem.split("_")[:2])] = np.asarray(Image.open(path))
    return found


def compared(ours: Path, theirs: Path) -> dict[str, Any]:
    """Return how two folders of label maps differ; a picture's 255 is class 1."""
    mine, other = labels_below(ours), labels_below(theirs)
    if not other or set(mine) != set(other):
        return {"error": f"label maps of {sorted(mine)} and {sorted(other)}"}
    pairs = [(mine[name], np.where(other[name] == 255, 1, other[name]).squeeze()) for name in other]
    return {
        "labels": len(np.unique(np.concatenate([theirs.ravel() for _, theirs in pairs]))),
        "voxels": sum(theirs.size for _, theirs in pairs),
        "differing": sum(int((one != theirs).sum()) for one, theirs in pairs),
    }


def run(name: str, run_: Run, zoo: Path, work: Path) -> dict[str, Any]:
    """Run a bundle in both programs."""
    bundle, scans = work / name, work / f"{name}_scans"
    shutil.copytree(zoo / name, bundle)
    write_scans(scans, run_.channels)
    command([str(Path(__file__).resolve()), str(bundle), "--weights-only"], bundle)
    line: dict[str, Any] = {"bundle": name}
    line["check"] = command(["-m", "segpipe", "check", str(bundle), "--config", "inference.json"], work)[0]
    overrides = [
        part for key, value in run_.window.items() for part in ("--set", f"{key}={json.dumps(value)}")
    ]
    predict = ["-m", "segpipe", "predict", str(scans), "--bundle", str(bundle), "--trust", "--no-overlays"]
    predict += [
        "--precision",
        "float32",
        "--device",
        "cpu",
        *overrides,
        "--output",
        str(work / f"{name}_segpipe"),
    ]
    text, seconds = command(predict, work)
    if run_.outputs:
        line["refused"] = text if text.startswith("FAILED") else "no"
        path = bundle / "configs" / "metadata.json"
        metadata = json.loads(path.read_text())
        (output,) = metadata["network_data_format"]["outputs"].values()
        output |= run_.outputs
        path.write_text(json.dumps(metadata))
        text, seconds = command(predict, work)
    line["chain"] = "MONAI's chain" if "own chain" in text else "streamed"
    line["seconds"] = round(seconds, 1)
    theirs = ["-m", "monai.bundle", "run", run_.run_id, "--config_file", "configs/inference.json"]
    theirs += ["--meta_file", "configs/metadata.json", "--bundle_root", ".", "--dataset_dir", str(scans)]
    theirs += ["--dataloader#num_workers", "0", "--output_dir", str(work / f"{name}_monai")]
    theirs += [
        part for key, value in (run_.datalist | run_.window).items() for part in (f"--{key}", str(value))
    ]
    other, line["monai_seconds"] = command(theirs, bundle)
    line["monai_seconds"] = round(line["monai_seconds"], 1)
    for program, output in (("segpipe", text), ("monai", other)):
        (work / f"{name}_{program}.log").write_text(output)
    failed = [output[-600:] for output in (text, other) if output.startswith("FAILED")]
    return line | (
        {"error": failed} if failed else compared(work / f"{name}_segpipe", work / f"{name}_monai")
    )


def main() -> None:
    """Run the bundles, and print and keep a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of bundles")
    parser.add_argument("--work", type=Path, help="new folder for copies, scans and label maps")
    parser.add_argument("--only", default="", help="bundles whose names hold this")
    parser.add_argument("--source", help="commit of the bundles, where the folder is no repository")
    parser.add_argument("--weights-only", action="store_true", help="make weights; the folder is a bundle")
    options = parser.parse_args()
    if options.weights_only:
        write_weights(options.folder)
        return
    options.work.mkdir(parents=True)
    for name, run_ in BUNDLES.items():
        if options.only not in name:
            continue
        line = run(name, run_, options.folder.resolve(), options.work.resolve())
        print(json.dumps(line), flush=True)
        append_line(
            RESULTS,
            {
                "commit": commit(),
                "source": options.source or source(options.folder),
                "command": "python benchmarks/zoo_runs.py model-zoo/models --work FOLDER",
                "machine": processor_name(),
                "monai": version("monai"),
                "torch": version("torch"),
                **line,
            },
        )


if __name__ == "__main__":
    main()

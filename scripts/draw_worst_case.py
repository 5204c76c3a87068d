r"""Draw the held-out case that a run segments worst, for the bundle's page: reference above, prediction below.

    python scripts/draw_worst_case.py RUN/evaluation/last-fold0 --weights RUN/last.pt \
        --dataset-dir DATASET_DIR --output bundles/mri_hippocampus_unet/docs/worst_case.png

The case is the one with the lowest Dice, as the mean of its classes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Orientation
from numpy.typing import NDArray
from skimage.io import imsave

from segpipe.dataset import load_manifest
from segpipe.evaluation.case_scores import CaseScores
from segpipe.evaluation.metrics import METRICS
from segpipe.labels import load_label_table
from segpipe.pictures.overlay import label_centre, overlay_planes
from segpipe.volumes import read_volume

BUNDLE = Path(__file__).resolve().parents[1] / "bundles" / "mri_hippocampus_unet"
GAP = 4  # pixels between reference and prediction


def worst_case(scores: Path) -> str:
    """Return the case with the lowest mean Dice of an evaluation."""
    cases = CaseScores.read(scores)
    return cases.cases[int(np.nanargmin(cases.class_means[:, METRICS.index("dice")]))]


def upright(path: Path) -> tuple[NDArray[np.float32], list[float]]:
    """Return a file's voxels in RAS order and their spacing in mm."""
    volume = read_volume(path)
    turned = Orientation(axcodes="RAS", labels=None)(
        MetaTensor(np.asarray(volume.array, dtype=np.float32)[None], affine=volume.grid.affine)
    )
    return turned.numpy()[0], [float(step) for step in turned.pixdim]


def draw(case: str, dataset_dir: Path, weights: Path) -> NDArray[np.uint8]:
    """Segment one case with a run's weights and return the picture, RGB."""
    found = next(entry for entry in load_manifest("hippocampus").training if entry.case == case)
    table = load_label_table(BUNDLE / "configs" / "metadata.json")
    scan = dataset_dir / found.images[0]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.yaml"]
        options = ["--dataset_dir", str(scan.resolve()), "--output_dir", folder]
        options += ["--weights", str([str(weights.resolve())])]
        subprocess.run([*command, *options], cwd=BUNDLE, check=True, stdout=sys.stderr)
        prediction, _ = upright(Path(folder) / scan.name)
    image, spacing_mm = upright(scan)
    reference, _ = upright(dataset_dir / found.label)
    centre = label_centre(reference.astype(np.uint8))
    above, below = (
        overlay_planes(image, labels.astype(np.uint8), table.colors, centre, spacing_mm)
        for labels in (reference, prediction)
    )
    return np.concatenate([np.pad(above, ((0, GAP), (0, 0), (0, 0))), below])


def main() -> None:
    """Parse the command line, draw and write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scores", type=Path, help="folder of a run's evaluation on its held-out fold")
    parser.add_argument("--weights", type=Path, required=True, help="of the same run")
    parser.add_argument("--dataset-dir", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    case = worst_case(arguments.scores)
    imsave(arguments.output, draw(case, arguments.dataset_dir, arguments.weights), check_contrast=False)
    print(f"{case}: {arguments.output}")


if __name__ == "__main__":
    main()

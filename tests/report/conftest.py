"""An evaluation of three small cases, as files."""

import numpy as np
import pytest

from segpipe.evaluation.scoring import score_folder
from segpipe.evaluation.summary import summarise
from segpipe.labels import LabelTable
from segpipe.volumes import Grid, write_label_map, write_volume

TABLE = LabelTable.from_rows(
    {"index": index, "name": name, "color": color, "value": index}
    for index, (name, color) in enumerate(
        [("background", [0, 0, 0]), ("liver", [230, 160, 0]), ("</script> <b>tumour", [80, 180, 230])]
    )
)
SIZE = (12, 10, 8)


@pytest.fixture(scope="package")
def evaluated(tmp_path_factory):
    """Return the folder of `predictions`, `references` and `images`.

    `p1_a` is right, `p1_b` one voxel off, and in `p2_a` the tumour was missed.
    """
    folder = tmp_path_factory.mktemp("evaluated")
    tilted = np.diag([-1.0, -1.0, 2.0, 1.0])
    tilted[:2, :2] = [[-0.8, 0.6], [-0.6, -0.8]]
    grid = Grid.from_affine(SIZE, tilted)
    for number, (name, shift, tumour) in enumerate((("p1_a", 0, 2), ("p1_b", 1, 2), ("p2_a", 1, 1))):
        truth = np.zeros(SIZE, np.uint8)
        truth[2:8, 2:8, 2:6] = 1
        truth[4:6, 4:6, 3:5] = 2
        predicted = np.where(truth == 2, tumour, truth)
        noise = np.random.default_rng(number).normal(100, 10, SIZE) + 40 * truth
        write_label_map(truth, grid, folder / "references" / f"{name}.nii.gz")
        write_label_map(
            np.roll(predicted, shift, 0).astype(np.uint8), grid, folder / "predictions" / f"{name}.nii.gz"
        )
        write_volume(noise.astype(np.int16), grid, folder / "images" / f"{name}.nii.gz")
    return folder


@pytest.fixture(scope="package")
def scores(evaluated):
    return score_folder(evaluated / "predictions", evaluated / "references", TABLE, patient="{patient}_*")


@pytest.fixture(scope="package")
def summary(scores):
    return summarise(scores)

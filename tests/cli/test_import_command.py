"""`segpipe import nnunet` writes a bundle that segments as nnU-Net does."""

import nibabel
import numpy as np
import pytest
import torch
from nnunet_models import dataset, name_of, network_of, plans, write_model
from scipy import ndimage
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.inference.even_windows import even_starts, importance_map

SPACING = (1.4, 1.1, 4.5)  # mm, x, y, z: thick slices
SIZE = (15, 18, 7)


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_it_says_what_it_wrote_and_what_comes_next(tmp_path):
    model = write_model(tmp_path / "model", folds=2)

    result = run("import", "nnunet", model, "-o", tmp_path / "knee")

    assert result.exit_code == 0, result.output
    assert f"{tmp_path / 'knee'}: written from 3d_fullres, trained by nnUNetTrainer_5epochs" in result.output
    assert "folds: 0, 1; their scores are averaged" in result.output
    assert "mirror images: along 0, 1, 2; --set flips=[] leaves them out" in result.output
    assert f"next: segpipe predict SCANS --bundle {tmp_path / 'knee'} --output FOLDER" in result.output


def test_it_refuses_with_one_message(tmp_path):
    model = write_model(tmp_path / "model", trainer_name="MyTrainer")

    result = run("import", "nnunet", model, "-o", tmp_path / "knee")

    assert result.exit_code == 2
    assert "was trained by MyTrainer" in result.output
    assert not (tmp_path / "knee").exists()
    assert run("import", "nnunet", model, "-o", tmp_path / "knee", "--network-of-plans").exit_code == 0


def scan_of(folder):
    """Write a scan with a margin of zeros, and return its voxels as nnU-Net reads them: z, y, x."""
    rng = np.random.default_rng(0)
    voxels = np.zeros(SIZE, np.float32)
    blobs = ndimage.gaussian_filter(rng.normal(size=SIZE), 1.5)
    voxels[2:, 1:-1, :6] = (1000 * blobs / blobs.std()).round()[2:, 1:-1, :6]
    folder.mkdir()
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([*SPACING, 1])), folder / "scan.nii.gz")
    return voxels.transpose(2, 1, 0)


def resized(volume, size, order):
    """Interpolate slices one by one, and take the nearest slice: places are centres of voxels."""
    places = [(np.arange(new) + 0.5) * old / new - 0.5 for new, old in zip(size, volume.shape, strict=True)]
    planes = volume[np.floor(places[0] + 0.5).astype(int).clip(0, len(volume) - 1)].astype(float)
    in_slice = np.stack(np.meshgrid(*places[1:], indexing="ij")) + 12
    padded = [np.pad(plane, 12, mode="edge") for plane in planes]
    result = np.stack([ndimage.map_coordinates(plane, in_slice, order=order) for plane in padded])
    return result.clip(planes.min((1, 2), keepdims=True), planes.max((1, 2), keepdims=True))


def expected_labels(zyx, of_plans, folds):
    """Return the labels, z, y, x, by arithmetic written for this test."""
    (configuration,) = of_plans["configurations"].values()
    box = tuple(
        slice(*(np.flatnonzero((zyx != 0).any(others))[[0, -1]] + [0, 1]))
        for others in ((1, 2), (0, 2), (0, 1))
    )
    cropped = zyx[box]
    normal = (cropped - cropped.mean()) / cropped.std()
    own, wanted = SPACING[::-1], configuration["spacing"]
    size = [
        round(o / w * n)
        for o, w, n in zip(own, [own[0]] * (3 - len(wanted)) + wanted, normal.shape, strict=True)
    ]
    image = torch.tensor(resized(normal, size, 3), dtype=torch.float32)
    window = [1] * (3 - len(configuration["patch_size"])) + configuration["patch_size"]
    missing = [max(w - n, 0) for w, n in zip(window, size, strict=True)]
    padded = torch.nn.functional.pad(image, [side for m in missing[::-1] for side in (m // 2, m - m // 2)])
    sums, counts = torch.zeros(3, *padded.shape), torch.zeros(padded.shape)
    dims = len(configuration["patch_size"])
    weights = importance_map(tuple(configuration["patch_size"])).reshape(window)
    axes = [even_starts(n, w, 0.5 if w > 1 else 0) for n, w in zip(padded.shape, window, strict=True)]
    for start in np.stack(np.meshgrid(*axes), -1).reshape(-1, 3):
        place = tuple(slice(begin, begin + side) for begin, side in zip(start, window, strict=True))
        part = padded[place].reshape(1, 1, *window[-dims:])
        for seed in range(folds):
            network = network_of(of_plans, seed=seed)
            turns = [[axis for axis in range(dims) if bits >> axis & 1] for bits in range(2**dims)]
            for turn in turns:
                along = [axis + 2 for axis in turn]
                scores = network(part.flip(along)).flip(along)[0]
                sums[(slice(None), *place)] += scores.reshape(3, *window) * weights / len(turns) / folds
        counts[place] += weights
    inside = tuple(slice(m // 2, m // 2 + n) for m, n in zip(missing, size, strict=True))
    scores = (sums / counts)[(slice(None), *inside)].numpy()
    labels = np.zeros(zyx.shape, int)
    labels[box] = np.stack([resized(one, cropped.shape, 1) for one in scores]).argmax(0)
    return labels


@pytest.mark.slow
@pytest.mark.parametrize(("dims", "folds"), [(3, 2), (2, 1)], ids=["volume", "slices"])
def test_labels_are_those_of_nnunets_arithmetic(tmp_path, dims, folds):
    """By segpipe's stream and by MONAI's chain; scores of a random network are rarely equal."""
    of_plans = plans(dims)
    model = write_model(tmp_path / "model", of_plans, dataset(), folds=folds)
    zyx = scan_of(tmp_path / "scans")
    assert run("import", "nnunet", model, "-o", tmp_path / "bundle").exit_code == 0
    with torch.inference_mode():
        expected = expected_labels(zyx, of_plans, folds)

    where = ["--bundle", tmp_path / "bundle", "--output", tmp_path / "labels", "--engine", "torch"]
    result = run("predict", tmp_path / "scans", *where)

    assert result.exit_code == 0, result.output
    (path,) = (tmp_path / "labels").glob("scan*.nii.gz")
    labels = np.asarray(nibabel.load(path).dataobj).transpose(2, 1, 0)
    assert len(np.unique(expected)) == 3
    assert (labels != expected).mean() < 1e-3
    assert name_of(dims) in (tmp_path / "bundle" / "configs" / "inference.yaml").read_text()

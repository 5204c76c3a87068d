"""MONAI's transforms in slabs against MONAI's own on the whole volume."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Orientationd, ScaleIntensityRanged, Spacingd, SpatialResample

from segpipe.inference import slabs
from segpipe.inference.slabs import SlabResample, work_in_slabs


@pytest.fixture(autouse=True)
def _small_slabs(monkeypatch):
    monkeypatch.setattr(slabs, "_SLAB_VOXELS", 700)


def scan(size=(23, 19, 17), affine=None, channels=1):
    voxels = torch.as_tensor(np.random.default_rng(0).normal(0, 100, (channels, *size)).astype(np.float32))
    return MetaTensor(voxels, affine=np.diag([-0.8, -0.7, 1.2, 1.0]) if affine is None else affine)


def oblique(degrees=20):
    turn = np.deg2rad(degrees)
    affine = np.diag([0.8, 0.9, 1.3, 1.0])
    rotation = np.array(
        [[np.cos(turn), -np.sin(turn), 0.1], [np.sin(turn), np.cos(turn), 0], [-0.1, 0.05, 1]]
    )
    affine[:3, :3] = rotation @ affine[:3, :3]
    affine[:3, 3] = (-3.2, 14.1, 5.5)
    return affine


def notes(image):
    """Return the transforms' records for the inversion, without the transforms' ids."""
    return [
        {name: value for name, value in operation.items() if name != "id"}
        for operation in image.applied_operations
    ]


def assert_same_notes(ours, theirs):
    for mine, other in zip(notes(ours), notes(theirs), strict=True):
        assert mine.keys() == other.keys()
        for name in mine.keys() - {"extra_info"}:
            assert str(mine[name]) == str(other[name])
        for name, value in mine["extra_info"].items():
            np.testing.assert_array_equal(np.asarray(value), np.asarray(other["extra_info"][name]))


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("target", [np.diag([1.0, 1.0, 1.0, 1.0]), oblique(-35)], ids=["straight", "oblique"])
def test_resampling_in_slabs_gives_monais_voxels_grid_and_notes(mode, padding, target):
    """The target grid also reaches outside the scan, where padding counts."""
    image, size = scan(affine=oblique(), channels=2), (31, 24, 26)
    settings = {"mode": mode, "padding_mode": padding}

    ours = SlabResample(**settings)(image, target, size)
    theirs = SpatialResample(**settings)(image, target, size)

    torch.testing.assert_close(ours.as_tensor(), theirs.as_tensor(), atol=1e-3, rtol=0)
    assert ours.dtype == theirs.dtype == torch.float32
    torch.testing.assert_close(ours.affine, theirs.affine)
    assert_same_notes(ours, theirs)


def test_a_grid_far_outside_the_scan_takes_its_border():
    """A slab may need no voxel of the scan."""
    far = np.eye(4)
    far[0, 3] = -500.0
    image = scan(affine=np.eye(4))

    ours = SlabResample()(image, far, (40, 19, 18))

    torch.testing.assert_close(ours.as_tensor(), SpatialResample()(image, far, (40, 19, 18)).as_tensor())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_chain_in_slabs_gives_what_it_gave_and_is_undone_as_it_was(dtype):
    """The slabs do not divide the sizes."""

    def chain():
        return Compose(
            [
                Orientationd("image", axcodes="RAS", labels=None),
                Spacingd("image", pixdim=(1.0, 1.0, 1.0), dtype=dtype),
                ScaleIntensityRanged("image", -150, 250, 0.0, 1.0, clip=True),
            ]
        )

    theirs_chain, ours_chain = chain(), chain()
    work_in_slabs(ours_chain)

    ours, theirs = ours_chain({"image": scan()}), theirs_chain({"image": scan()})

    assert isinstance(ours_chain.transforms[1].spacing_transform.sp_resample, SlabResample)
    torch.testing.assert_close(ours["image"].as_tensor(), theirs["image"].as_tensor(), atol=1e-5, rtol=0)
    assert_same_notes(ours["image"], theirs["image"])
    back, expected = ours_chain.inverse(ours)["image"], theirs_chain.inverse(theirs)["image"]
    torch.testing.assert_close(back.as_tensor(), expected.as_tensor(), atol=1e-5, rtol=0)
    torch.testing.assert_close(back.affine, expected.affine)


def test_resampling_takes_the_memory_of_slabs_and_monais_that_of_the_volume(monkeypatch):
    """The size of the largest tensor of coordinates counts."""
    grids = []
    original = torch.nn.functional.affine_grid

    def affine_grid(*arguments, **settings):
        grids.append(original(*arguments, **settings))
        return grids[-1]

    monkeypatch.setattr(torch.nn.functional, "affine_grid", affine_grid)

    SlabResample()(scan(), np.eye(4), (20, 15, 20))

    # two planes of 300 voxels a slab, three coordinates a voxel
    assert [grid.numel() for grid in grids] == [1800] * 10


@pytest.mark.parametrize(
    "change",
    [{"mode": 3}, {"padding_mode": "reflection"}, {"align_corners": True}, {"lazy": True}],
    ids=["spline", "reflection", "corners", "lazy"],
)
def test_what_slabs_cannot_do_stays_monais(change):
    """Splines need distant voxels, reflection needs the other end, aligned corners move, lazy steps wait."""
    image = scan()

    ours = SlabResample(**change)(image, np.eye(4), (20, 15, 20))
    theirs = SpatialResample(**change)(image, np.eye(4), (20, 15, 20))

    torch.testing.assert_close(ours.as_tensor(), theirs.as_tensor())
    assert len(ours.pending_operations) == len(theirs.pending_operations)

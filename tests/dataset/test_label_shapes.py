"""odd_shapes reports label maps with planted errors, and no natural shapes."""

import time

import numpy as np
import pytest

from segpipe.dataset.label_shapes import odd_shapes

NAMES = ("background", "tumour", "vessel")


def ball(size=(40, 40, 30), centre=(20, 20, 15), radius=8.0):
    places = np.indices(size).astype(float)
    distance = np.sqrt(sum((axis - at) ** 2 for axis, at in zip(places, centre, strict=True)))
    return (distance <= radius).astype(np.uint8)


def odd(labels, spacing=(1.0, 1.0, 1.0)):
    return odd_shapes(labels, NAMES, spacing)


def test_natural_shapes_are_left_in_peace():
    two = ball(centre=(10, 10, 8), radius=6) | ball(centre=(30, 30, 22), radius=6)  # both kidneys, say
    empty = np.zeros((5, 6, 7), np.uint8)
    pair = np.maximum(ball(), 2 * ball(centre=(20, 35, 15), radius=3))

    for labels in (ball(), two, empty, pair, ball()[:, :, 15]):
        assert odd(labels, (1.0,) * labels.ndim) == []


def test_files_without_a_spacing_are_measured_in_pixels():
    labels = ball()[:, :, 15]
    labels[0, 0] = 1

    (message,) = odd_shapes(labels, NAMES, (1.0, 1.0), "pixels")

    assert " pixels from its other voxels" in message
    assert "mm" not in message


@pytest.mark.parametrize("corner", [(0, 0, 0), (39, 39, 29)])
def test_a_stray_click_is_found(corner):
    labels = ball()
    labels[corner] = 1

    (message,) = odd(labels)

    assert message.startswith(f"tumour has a component of 1 voxel(s) at {corner}, ")
    assert "stray click" in message


def test_far_is_measured_in_millimetres():
    """10 planes lie between a ball of 17 voxels and a speck: half the ball's diagonal, if planes are thick."""
    labels = ball(size=(40, 40, 60))
    labels[20, 20, 34] = 1

    assert odd(labels, (1.0, 1.0, 0.2)) == []
    assert "50 mm from its other voxels" in odd(labels, (1.0, 1.0, 5.0))[0]


def test_thousands_of_specks_are_gone_through_in_a_second():
    """A threshold leaves such specks, and one speck lies far away."""
    labels = np.zeros((64, 64, 200), np.uint8)
    labels[::2, ::2, :18:2] = 1  # 9216 voxels that touch no other
    labels[32, 32, 150] = 1

    began = time.process_time()
    far, *other_messages = odd(labels)

    assert time.process_time() - began < 1
    assert not any("stray" in message for message in other_messages)
    assert far.startswith(
        "tumour has a component of 1 voxel(s) at (32, 32, 150), 133 mm from its other voxels"
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_left_out_is_found(axis):
    labels = ball()
    plane = (20, 20, 15)[axis] + 1
    np.moveaxis(labels, axis, 0)[plane] = 0

    (message,) = odd(labels)

    assert message.startswith(f"tumour is missing in plane {plane} along {'xyz'[axis]}, and has ")


def test_two_slices_left_out_are_one_finding_and_five_are_none():
    labels = ball()
    labels[:, :, 14:16] = 0
    assert "missing in plane 14 and 15 along z" in odd(labels)[0]

    labels = ball(radius=10)
    labels[:, :, 12:17] = 0
    assert odd(labels) == []


def test_each_class_by_itself():
    labels = np.maximum(ball(radius=5), 2 * ball(centre=(20, 34, 15), radius=4))
    labels[:, 30:, 15] = 0

    (message,) = odd(labels)

    assert message.startswith("vessel is missing in plane 15 along z")

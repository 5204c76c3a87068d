"""Voxels, millilitres and components of each class, on maps drawn by hand and against one labelling of the volume."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from label_tables import table
from scipy import ndimage

from segpipe.inference import volumetry
from segpipe.inference.class_volume import ClassVolume
from segpipe.inference.volumetry import class_volumes, count_components


def test_volumes_of_a_map_drawn_by_hand():
    """Voxels of 2 x 1 x 0.5 mm are 1 mm3 each; one class has components of 2 and 1 voxels, one is absent."""
    label_map = np.zeros((4, 3, 2), np.uint8)
    label_map[0, 0] = 1
    label_map[3, 2, 1] = 1

    assert class_volumes(label_map, table("background", "tumour", "cyst"), (2.0, 1.0, 0.5)) == [
        ClassVolume("tumour", 3, pytest.approx(0.003), 2),
        ClassVolume("cyst", 0, 0.0, 0),
    ]


def test_a_slice_has_no_volume():
    (volume,) = class_volumes(np.eye(3, dtype=np.uint8), table("background", "lesion"), (0.5, 0.5))

    assert volume == ClassVolume("lesion", 3, None, 1)  # corners touch


@given(
    label_map=arrays(np.uint8, st.tuples(*[st.integers(1, 9)] * 3), elements=st.integers(0, 2)),
    slab=st.integers(1, 200),
)
@settings(max_examples=80, deadline=None)
def test_pieces_are_those_of_the_whole_map_however_it_is_cut(label_map, slab):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(volumetry, "_SLAB_VOXELS", slab)
        counted = count_components(label_map, [1])

    assert counted == ndimage.label(label_map == 1, np.ones((3, 3, 3)))[1]

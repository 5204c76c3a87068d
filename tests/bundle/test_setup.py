"""A bundle's `initialize` refuses wrong arguments; these tests need no bundle."""

import pytest

from segpipe.bundle.setup import check_sizes
from segpipe.errors import SegpipeError

ANISOTROPIC = [[1, 1, 1], [2, 2, 1], [2, 2, 2]]


def test_strides_may_differ_by_axis():
    check_sizes(ANISOTROPIC, {"patch_size": [32, 24, 10]})


@pytest.mark.parametrize("size", [[30, 24, 10], [32, 24, 9], [4, 4, 2]])
def test_a_patch_must_be_halved_to_whole_voxels_along_each_axis(size):
    with pytest.raises(SegpipeError) as ended:
        check_sizes(ANISOTROPIC, {"patch_size": size})

    assert "a multiple of [4, 4, 2]" in str(ended.value)


def test_what_is_proposed_fits():
    with pytest.raises(SegpipeError) as ended:
        check_sizes(ANISOTROPIC, {"patch_size": [4, 4, 3]})

    check_sizes(ANISOTROPIC, {"patch_size": eval(str(ended.value).rpartition("use ")[2])})

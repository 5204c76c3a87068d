"""The channels of a scan in rows, each with its own name."""

import numpy as np

from segpipe.pictures.montage import montage

SIZE = (60, 80, 3)


def grey(level):
    return np.full(SIZE, level, np.uint8)


def test_five_pictures_stand_in_a_row_of_four_and_a_second_row():
    picture = montage([grey(20 * number) for number in range(1, 6)], ["a"] * 5)

    assert picture.shape == (2 * 60 + 4, 4 * 80 + 3 * 4, 3)
    for number in range(5):
        row, column = divmod(number, 4)
        assert (
            picture[64 * row + 40 : 64 * row + 60, 84 * column : 84 * column + 80] == 20 * (number + 1)
        ).all()
    assert not picture[64:, 84:].any()
    assert not picture[60:64].any()


def test_each_picture_has_its_own_name_and_a_long_one_does_not_reach_the_next():
    one, other = (montage([grey(9)] * 2, names) for names in (["T1", "a"], ["T1 contrast enhanced", "a"]))

    assert (one[:30, :80] > 200).any()
    assert (one[:30, :80] != other[:30, :80]).any()
    np.testing.assert_array_equal(one[:, 80:], other[:, 80:])

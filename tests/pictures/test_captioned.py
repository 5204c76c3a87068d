"""The places of views, title and legend in a picture."""

import numpy as np

from segpipe.pictures import captioned

RED, GREEN = (255, 0, 0), (0, 255, 0)


def plain(height, width, color):
    return np.full((height, width, 3), color, np.uint8)


def places(picture, color):
    """Return the first and last row and column of a colour."""
    rows, columns = np.nonzero((picture == color).all(axis=-1))
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_square_views_stand_beside_each_other():
    picture = captioned({"one": plain(50, 50, RED), "two": plain(50, 50, GREEN)}, "case_1", [])

    one, two = places(picture, RED), places(picture, GREEN)
    assert one[:2] == two[:2]
    assert one[1] - one[0] == one[3] - one[2] == 49
    assert one[3] < two[2]


def test_wide_views_stand_below_each_other():
    picture = captioned({"one": plain(50, 200, RED), "two": plain(50, 200, GREEN)}, "case_1", [])

    one, two = places(picture, RED), places(picture, GREEN)
    assert one[2:] == two[2:]
    assert one[1] < two[0]


def test_the_legend_has_its_colours_and_a_long_title_its_room():
    views = {"one": plain(40, 40, (9, 9, 9))}

    picture = captioned(views, "a long name of a case " * 5, [(RED, "ball"), (GREEN, "cube")])

    assert places(picture, RED)[1] < places(picture, GREEN)[0]
    assert picture.shape[1] > 400
    assert (picture[:25, 400:] > 100).any(), "the title's end"


def test_the_long_name_of_a_single_view_has_its_room():
    wide, narrow = (
        captioned({name: plain(40, 40, RED)}, "case_1", []) for name in ("true: " + "Effusion, " * 9, "true")
    )

    assert wide.shape[1] > 3 * narrow.shape[1]
    assert wide[30:40, -60:].any(), "letters to the end of the name"

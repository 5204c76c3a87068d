"""The label of an image as numbers."""

import numpy as np
import pytest

from segpipe.categories import Categories
from segpipe.dataset import Case
from segpipe.dataset.targets import target_of
from segpipe.errors import SegpipeError

CLASSES = Categories(("CNV", "DME", "NORMAL"), "class")
FINDINGS = Categories(("Effusion", "Mass", "Hernia"), "findings")


def case(classes=(), unknown=()):
    return Case("a", ("a.png",), classes=classes, unknown=unknown)


@pytest.mark.parametrize(("name", "index"), [("CNV", 0), ("NORMAL", 2), ("normal", 2)])
def test_a_class_is_its_index(name, index):
    target = target_of(case((name,)), CLASSES)

    assert (target.shape, target.dtype, int(target)) == ((), np.int64, index)


@pytest.mark.parametrize(
    ("classes", "unknown", "expected"),
    [
        ((), (), [0, 0, 0]),
        (("Hernia", "Effusion"), (), [1, 0, 1]),
        (("mass",), ("Effusion",), [np.nan, 1, 0]),
        ((), ("Effusion", "Mass", "Hernia"), [np.nan] * 3),
    ],
)
def test_findings_are_one_zero_or_unknown(classes, unknown, expected):
    target = target_of(case(classes, unknown), FINDINGS)

    assert target.dtype == np.float32
    np.testing.assert_array_equal(target, np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("one", "categories"),
    [
        (case(("DRUSEN",)), CLASSES),
        (case(("Pneumonia",)), FINDINGS),
        (case((), ("Pneumonia",)), FINDINGS),
    ],
)
def test_a_name_that_is_not_known_is_refused(one, categories):
    with pytest.raises(SegpipeError, match="is not among the"):
        target_of(one, categories)

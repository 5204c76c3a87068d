"""Regions: unions of classes that overlap, and the order in which they are written into one label map."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_tables import brain_tumours, table

from segpipe.errors import SegpipeError
from segpipe.labels import LabelTable
from segpipe.regions import NamedRegion

CLASSES = ("background", "necrosis", "oedema", "enhancing")


def test_each_region_writes_the_class_that_no_later_region_has():
    """BraTS: the whole tumour's own voxels are oedema, those of the core necrosis."""
    assert [(region.name, region.classes, region.written) for region in brain_tumours().regions] == [
        ("whole tumour", (1, 2, 3), 2),
        ("tumour core", (1, 3), 1),
        ("enhancing tumour", (3,), 3),
    ]


def test_targets_are_the_regions_or_the_classes():
    assert brain_tumours().target_names == ("whole tumour", "tumour core", "enhancing tumour")
    assert brain_tumours().output_names == brain_tumours().target_names
    assert table(*CLASSES).target_names == CLASSES[1:]
    assert table(*CLASSES).target_classes == ((1,), (2,), (3,))
    assert table(*CLASSES).output_names == CLASSES


@pytest.mark.parametrize("labels", [brain_tumours(), brain_tumours(ignore=9), table(*CLASSES)])
def test_metadata_holds_the_whole_table(labels):
    assert LabelTable.from_metadata(labels.to_metadata()) == labels


def test_names_of_classes_are_compared_without_case():
    regions = table("background", "Tumour", regions={"all": ["tumour"]}).regions

    assert regions[0].classes == (1,)


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (
            {"whole": ["oedema", "tumour"]},
            "whole has the class tumour, which is unknown; the classes are necrosis",
        ),
        ({"whole": ["background", "oedema"]}, "must be classes other than the background"),
        ({"whole": ["oedema", "oedema"]}, "each once"),
        ({"whole": ["oedema", "necrosis"]}, "no region holds enhancing, which would never be learned"),
        (
            {
                "enhancing": ["enhancing"],
                "whole": ["necrosis", "oedema", "enhancing"],
                "core": ["necrosis", "enhancing"],
            },
            r"enhancing cannot be ordered: later regions \(whole, core\) replace every voxel of it; write larger",
        ),
        (
            {"one": ["necrosis", "oedema"], "two": ["oedema", "enhancing"]},
            "two cannot be ordered: a voxel of it could be oedema or enhancing, and no region tells them apart",
        ),
        (
            {"whole": list(CLASSES[1:]), "Whole": ["enhancing"]},
            "cannot be ordered|stands in more than one row",
        ),
        ({"$import os": list(CLASSES[1:])}, "begins with"),
    ],
)
def test_regions_that_do_not_fit_are_refused(regions, message):
    with pytest.raises(SegpipeError, match=message):
        table(*CLASSES, regions=regions)


def test_a_stated_class_decides_where_several_classes_lie_in_the_same_regions():
    """Nothing tells oedema from necrosis: nnU-Net's order says which of them is written."""
    regions = [NamedRegion("whole", CLASSES[1:], "oedema"), NamedRegion("enhancing", ("enhancing",))]

    assert [region.written for region in table(*CLASSES).with_regions(regions).regions] == [2, 3]


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("background", "written as background, which is not one of its classes"),
        ("enhancing", "cannot be ordered"),
    ],
)
def test_a_stated_class_must_fit(stated, message):
    regions = [NamedRegion("whole", CLASSES[1:], stated), NamedRegion("enhancing", ("enhancing",))]

    with pytest.raises(SegpipeError, match=message):
        table(*CLASSES).with_regions(regions)


@pytest.mark.parametrize(
    "row",
    [
        *("whole", {"name": "whole"}, {"name": 1, "classes": ["a"]}, {"name": "a", "classes": []}),
        *({"name": "a", "classes": "tumour"}, {"name": "a", "classes": [1]}),
        {"name": "a", "classes": ["b"], "color": [1, 2, 300]},
    ],
)
def test_rows_of_another_form_are_refused(row):
    with pytest.raises(SegpipeError, match="regions: row 0"):
        NamedRegion.from_json(0, row)


@given(st.permutations(range(4)), st.integers(1, 4))
def test_nested_regions_return_every_class(order, depth):
    """Of regions inside each other, the largest first, each class comes back from the regions that hold it."""
    names = [f"class {index}" for index in range(1, depth + 1)]
    shuffled = [names[place] for place in order if place < depth]
    labels = table("background", *names, regions={f"r{n}": shuffled[n:] for n in range(depth)})

    for index in range(1, depth + 1):
        written = [region.written for region in labels.regions if index in region.classes]
        assert written[-1] == index

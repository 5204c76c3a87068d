"""Label tables for tests."""

from segpipe.labels import Label, LabelTable, class_color
from segpipe.regions import NamedRegion


def table(*names, regions=None, ignore=None):
    """A table of these classes, whose values are their indices.

    Args:
        names: of the classes, the background first.
        regions: name -> names of the classes of a region, in the order of writing.
        ignore: value of voxels that nobody looked at.
    """
    classes = LabelTable(
        tuple(Label(index, name, class_color(index), index) for index, name in enumerate(names)),
        ignore_value=ignore,
    )
    return classes.with_regions([NamedRegion(name, tuple(held)) for name, held in (regions or {}).items()])


def brain_tumours(ignore=None):
    """The classes and regions of BraTS: oedema, necrosis and enhancing tumour; whole tumour, core, enhancing tumour."""
    return table(
        *("background", "necrosis", "oedema", "enhancing"),
        regions={
            "whole tumour": ["oedema", "necrosis", "enhancing"],
            "tumour core": ["necrosis", "enhancing"],
            "enhancing tumour": ["enhancing"],
        },
        ignore=ignore,
    )

"""The margin of a locator is the largest distance of foreground outside its box, and a voxel."""

import numpy as np
import pytest
import yaml
from located_bundle import BLOCK, SIZE, write_blocks, write_bright, write_located
from typer.testing import CliRunner

from segpipe.bundle.locator_margin import LocatorMargin, margin_path
from segpipe.cli import app
from segpipe.dataset import Case, Manifest, load_manifest, with_groups, write_manifest
from segpipe.errors import SegpipeError
from segpipe.prediction.locator import NOTHING_FOUND, Edges
from segpipe.prediction.measured_margin import Missed, margin_of, margin_text, missed_mm
from segpipe.volumes import Grid, write_label_map

VOXEL_MM = np.array([5.0, 5.0, 2.0])


def edges(low, high):
    return Edges(np.array(low, float), np.array(high, float))


def test_the_farther_side_of_each_axis_counts_in_mm():
    found, truth = edges([2, 2, 2], [6, 6, 6]), edges([1, 3, 2], [6, 8, 6])

    # x: 1 voxel below; y: 2 voxels above; z: equal
    assert missed_mm(found, truth, VOXEL_MM).tolist() == [5.0, 10.0, 0.0]
    assert missed_mm(edges([0, 0, 0], [9, 9, 9]), truth, VOXEL_MM).tolist() == [0.0, 0.0, 0.0]
    assert missed_mm(NOTHING_FOUND, truth, VOXEL_MM) is None


def test_the_margin_is_the_worst_case_and_a_voxel():
    measured = [
        Missed("a", np.array([5.0, 0.0, 1.0])),
        Missed("b", np.array([0.0, 12.34, 0.0])),
        Missed("c", None),
    ]

    margin = margin_of(measured, VOXEL_MM)

    assert margin.missed_mm == (5.0, 12.4, 1.0)
    assert margin.margin_mm == (10.0, 17.4, 3.0)
    assert (margin.worst_case, margin.cases, margin.whole_scans) == ("b", 3, 1)
    assert "at most 5 x 12.4 x 1 mm outside the locator's box (worst: b); 1 of them" in margin_text(margin)


@pytest.mark.parametrize("measured", [[], [Missed("a", None)]])
def test_a_locator_that_finds_no_region_is_refused(measured):
    with pytest.raises(
        SegpipeError, match=f"of {len(measured)} held-out cases with foreground none has a region"
    ):
        margin_of(measured, VOXEL_MM)


@pytest.fixture(scope="module")
def promoted(tmp_path_factory):
    """Return a bundle, and the folder of two runs of its locator; labels reach out of the bright block."""
    folder = tmp_path_factory.mktemp("margin")
    bundle = write_located(folder / "bundle")
    labels = np.zeros(SIZE, np.uint8)
    labels[BLOCK] = 1
    labels[17:20, 14:20, 12:20] = 2
    grid = Grid.from_affine(SIZE, np.eye(4))
    for case in ("c0", "c1"):
        write_blocks(folder / f"{case}.nii.gz", BLOCK)
        write_label_map(labels, grid, folder / f"{case}_label.nii.gz")
    cases = tuple(
        Case(f"c{fold}", (f"c{fold}.nii.gz",), f"c{fold}_label.nii.gz", f"p{fold}", fold) for fold in (0, 1)
    )
    manifest = Manifest("mine", ("MRI",), {0: "background", 1: "anterior", 2: "posterior"}, cases)
    write_manifest(manifest, folder / "manifest.json")
    united = with_groups(load_manifest(folder / "manifest.json"), {"foreground": ["anterior", "posterior"]})
    for name, held_out in (("fold0", {"c0": "hash"}), ("all", {})):
        (folder / name).mkdir()
        paths = {"manifest": str(folder / "manifest.json"), "dataset_dir": str(folder)}
        (folder / name / "configuration.yaml").write_text(yaml.safe_dump(paths))
        write_bright(
            bundle / "locator",
            2,
            folder / name / "last.pt",
            validation_cases=held_out,
            manifest={"name": "mine", "sha256": united.sha256},
            fold=0 if held_out else "all",
        )
    return bundle, folder


def promote(weights, bundle, *arguments):
    return CliRunner().invoke(
        app, ["promote", str(weights), "--bundle", str(bundle), "--trust", "--replace", *map(str, arguments)]
    )


def test_promote_measures_the_margin_on_held_out_cases(promoted):
    bundle, folder = promoted

    result = promote(folder / "all" / "last.pt", bundle / "locator", "--margin-run", folder / "fold0")

    assert result.exit_code == 0, result.output
    margin = LocatorMargin.read(margin_path(bundle / "locator" / "models" / "model.pt"))
    # the locator's voxels of 2 mm at 20 to 26 mm end at 19 and 27 mm; the label at 16.5 and 27.5 mm
    assert margin.missed_mm == (2.5, 0.5, 0.5)
    assert margin.margin_mm == (4.5, 2.5, 2.5)
    assert (margin.worst_case, margin.cases) == ("c0", 1)


@pytest.mark.parametrize(
    ("run", "where", "arguments", "message"),
    [
        ("all", "locator", [], "held out no case, so the margin of the locator cannot be measured with it"),
        ("none", "locator", [], "no such file; train the locator, and give the weights of its run"),
        ("fold0", ".", ["--margin-run", "fold0"], "is no locator, which --margin-run is for"),
        ("fold0", "locator", ["--margin-run", "fold0", "--margin-run", "fold0"], "held out c0, as"),
    ],
    ids=["all-cases", "untrained", "no-locator", "twice"],
)
def test_promote_says_why_there_is_no_margin(promoted, run, where, arguments, message):
    bundle, folder = promoted
    named = [folder / one if one == "fold0" else one for one in arguments]

    result = promote(folder / run / "last.pt", bundle / where, *named)

    assert result.exit_code == 2
    assert message in result.output

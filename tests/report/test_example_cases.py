"""The choice of the example cases, and their drawings."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
from cine_files import save_4d

from segpipe.errors import SegpipeError
from segpipe.report.context import ReportContext
from segpipe.report.example_cases import DrawnScan, example_cases
from segpipe.report.write import write_report
from segpipe.volumes import Grid, read_volume, write_volume


def images(evaluated):
    return {path.name.removesuffix(".nii.gz"): path for path in (evaluated / "images").iterdir()}


def test_worst_median_and_best(scores, evaluated):
    worst, median, best = example_cases(scores, images(evaluated))

    assert [(example.place, example.case) for example in (worst, median, best)] == [
        ("Worst", "p2_a"),
        ("Median", "p1_b"),
        ("Best", "p1_a"),
    ]
    assert (
        best.scores_in_words == "liver: Dice 1.000, HD95 0.0 mm; </script> <b>tumour: Dice 1.000, HD95 0.0 mm"
    )
    assert "tumour: Dice 0.000" in worst.scores_in_words
    assert "HD95" not in worst.scores_in_words.split("tumour")[1]
    np.testing.assert_array_equal(best.reference, best.prediction)
    assert (worst.reference != worst.prediction).any()


def test_without_scans_the_label_maps_stand_on_black(scores, evaluated):
    (worst, *_), (with_scan, *_) = example_cases(scores, {}), example_cases(scores, images(evaluated))

    assert worst.reference.shape == with_scan.reference.shape
    assert (worst.reference == 0).mean() > 0.5
    assert (with_scan.reference == 0).mean() < 0.5


@pytest.mark.slow
def test_all_channels_are_drawn_under_their_names_and_label_maps_on_the_first(
    scores, summary, evaluated, tmp_path
):
    first = images(evaluated)["p2_a"]
    volume = read_volume(first)
    write_volume(500 - volume.array, volume.grid, tmp_path / "second.nii.gz")
    drawn = DrawnScan((first, tmp_path / "second.nii.gz"), ("T1", "FLAIR"))

    worst, alone = (example_cases(scores, {"p2_a": scan})[0] for scan in (drawn, first))

    np.testing.assert_array_equal(worst.reference, alone.reference)
    assert (list(worst.channels), alone.channels) == (["T1", "FLAIR"], {})
    # FLAIR is 500 - T1: black becomes white, where there is no background between planes
    t1, flair = (worst.channels[name].astype(int)[:, :, 0] for name in ("T1", "FLAIR"))
    assert np.corrcoef(t1[:100, :100].ravel(), flair[:100, :100].ravel())[0, 1] < -0.99
    assert worst.volumes.image == alone.volumes.image
    assert len(worst.volumes.others) == 1
    write_report(scores, summary, tmp_path, {"p2_a": drawn}, ReportContext())
    page = (tmp_path / "report.html").read_text()
    for caption in ("T1", "FLAIR", "reference on T1", "prediction on T1"):
        assert page.count(f"<em>{caption}</em>") == 1
    assert '<button data-channel="1">FLAIR</button>' in page


def test_a_time_frame_is_drawn_with_its_reference(scores, evaluated, tmp_path):
    """The frame of a 4D scan and of a 4D reference gives the same card as the volumes."""
    image, pair = images(evaluated)["p2_a"], scores.pairs["p2_a"]
    paths = []
    for name, path in (("scan", image), ("reference", pair.reference)):
        source = nibabel.load(path)
        frames = np.stack([np.zeros(source.shape, source.get_data_dtype()), source.dataobj], axis=-1)
        paths.append(save_4d(tmp_path / f"{name}.nii.gz", frames, source.affine))
    in_4d = replace(scores, pairs={**scores.pairs, "p2_a": replace(pair, reference=paths[1], frame=2)})

    worst = example_cases(in_4d, {"p2_a": DrawnScan((paths[0],), ("MRI",), 2)})[0]

    np.testing.assert_array_equal(worst.reference, example_cases(scores, {"p2_a": image})[0].reference)


def test_few_cases_are_drawn_once(scores):
    (only,) = example_cases(replace(scores, rows=scores.rows[:1]), {})
    first, second = example_cases(replace(scores, rows=scores.rows[:2]), {})

    assert only.place == "Worst"
    assert (first.case, second.case) == ("p1_b", "p1_a")


def test_a_scan_on_another_grid_is_refused(scores, tmp_path):
    write_volume(
        np.ones((3, 3, 3), np.int16), Grid.from_affine((3, 3, 3), np.eye(4)), tmp_path / "other.nii.gz"
    )

    with pytest.raises(
        SegpipeError, match=r"other\.nii\.gz: the scan lies on another grid than the reference"
    ):
        example_cases(scores, {"p2_a": tmp_path / "other.nii.gz"})

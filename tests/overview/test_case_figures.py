"""make_case_figure: the drawn slice, its rendering, and its caption."""

import numpy as np
import pytest

from segpipe.dataset import Case, Manifest, examine_cases
from segpipe.overview.case_figures import make_case_figure
from segpipe.volumes import Grid, write_label_map, write_volume

LABELS = {0: "background", 3: "liver", 7: "tumour"}
COLORS = [(0, 0, 0), (230, 159, 0), (86, 180, 233)]


def card_of(folder, image, label_map=None, affine=None, modality=("CT",), name="a"):
    """Write a case and return its card."""
    affine = np.eye(4) if affine is None else affine
    images = []
    for k, channel in enumerate(image if isinstance(image, list) else [image]):
        images.append(f"{name}{k}.nii.gz")
        write_volume(channel, Grid.from_affine(channel.shape, affine), folder / images[-1])
    case = Case(name, tuple(images), None if label_map is None else f"{name}_seg.nii.gz")
    if label_map is not None:
        write_label_map(label_map, Grid.from_affine(label_map.shape, affine), folder / case.label)
    manifest = Manifest("set", modality, LABELS, (case,))
    (report,) = examine_cases([case], folder, manifest, manifest.label_table())
    assert not report.has_errors, report.findings
    return make_case_figure(case, "fold 0", [], report, folder, manifest, manifest.label_table())


def noise(size, seed=0):
    return np.random.default_rng(seed).integers(0, 200, size).astype(np.int16)


def share(picture, color):
    """Return the share of pixels in the hue of a colour."""
    grey = picture.astype(int).mean(axis=-1, keepdims=True)
    away = picture - grey
    wanted = np.array(color) - np.mean(color)
    cosine = (away * wanted).sum(axis=-1) / (np.linalg.norm(away, axis=-1) + 1e-9) / np.linalg.norm(wanted)
    return float(((cosine > 0.9) & (np.linalg.norm(away, axis=-1) > 15)).mean())


def test_the_slice_with_most_foreground_is_drawn_in_its_colours(tmp_path):
    labels = np.zeros((20, 20, 12), np.uint8)
    labels[5:15, 5:15, 9] = 3  # a quarter of this plane
    labels[0:10, 0:2, 9] = 7  # a twentieth
    labels[5:15, 5:14, 2] = 3

    card = card_of(tmp_path, noise(labels.shape), labels)

    assert card.view == "axial, z = 9"
    assert (card.size, card.spacing, card.remarks) == ("20 x 20 x 12 voxels", "1 x 1 x 1 mm", [])
    assert card.plain.shape == card.tinted.shape == (320, 320, 3)
    assert share(card.tinted, COLORS[1]) == pytest.approx(0.25, abs=0.02)
    assert share(card.tinted, COLORS[2]) == pytest.approx(0.05, abs=0.02)
    assert share(card.plain, COLORS[1]) == 0


@pytest.mark.parametrize("flip", [1, -1])
def test_coarse_slices_are_drawn_as_they_were_made_and_as_wide_as_they_are(tmp_path, flip):
    """Coronal slices of 2 mm lie along the file's z; 20 x 40 pixels of 1 x 0.5 mm are 20 x 20 mm."""
    affine = np.array([[1.0, 0, 0, 0], [0, 0, flip * 2.0, 0], [0, 0.5, 0, 0], [0, 0, 0, 1]])
    labels = np.zeros((20, 40, 9), np.uint8)
    labels[:5, :10, 6] = 3  # left and low: RAS x, z at their low ends

    card = card_of(tmp_path, noise(labels.shape), labels, affine)

    assert card.view == "coronal, z = 6"
    assert card.spacing == "1 x 0.5 x 2 mm"
    assert card.tinted.shape == (320, 320, 3)
    # the patient's right is on the left, the head at the top
    assert share(card.tinted[240:, 240:], COLORS[1]) > 0.95
    assert share(card.tinted[:240], COLORS[1]) == share(card.tinted[:, :240], COLORS[1]) == 0


def test_what_a_picture_is_not_drawn_for_is_said(tmp_path):
    empty = card_of(tmp_path, noise((9, 9, 9)), np.zeros((9, 9, 9), np.uint8), name="empty")
    without = card_of(tmp_path, noise((30, 9)), name="without")

    assert "background only" in empty.remarks[0]
    assert empty.view == "axial, z = 4"
    np.testing.assert_array_equal(empty.plain, empty.tinted)
    assert without.remarks == ["no label map"]
    assert (without.view, without.tinted, without.plain.shape) == ("", None, (96, 320, 3))


def test_all_channels_stand_in_rows_of_four(tmp_path):
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2:6, 2:6, 4] = 3

    two = card_of(
        tmp_path, [noise((8, 8, 8), k) for k in range(2)], labels, modality=("T1", "T2"), name="two"
    )
    six = card_of(
        tmp_path, [noise((8, 8, 8), k) for k in range(6)], labels, modality=tuple("abcdef"), name="six"
    )

    assert two.plain.shape == (320, 2 * 320 + 4, 3)
    assert share(two.tinted[:, :320], COLORS[1]) == pytest.approx(0.25, abs=0.02)
    assert share(two.tinted[:, 324:], COLORS[1]) == pytest.approx(0.25, abs=0.02)
    assert not np.array_equal(two.plain[:, :320], two.plain[:, 324:])
    assert six.plain.shape == (2 * 320 + 4, 4 * 320 + 3 * 4, 3)
    assert not six.plain[324:, 648:].any()  # the second row has two channels
    assert (two.channels, six.channels) == (("T1", "T2"), tuple("abcdef"))


def test_a_file_that_vanished_since_is_said_on_its_card(tmp_path):
    case = Case("a", ("a0.nii.gz",), "a_seg.nii.gz")
    manifest = Manifest("set", ("CT",), LABELS, (case,))
    card_of(tmp_path, noise((9, 9, 9)), np.ones((9, 9, 9), np.uint8) * 3)
    (report,) = examine_cases([case], tmp_path, manifest, manifest.label_table())
    (tmp_path / "a0.nii.gz").unlink()

    card = make_case_figure(case, "test", [], report, tmp_path, manifest, manifest.label_table())

    assert card.plain is None
    assert "a0.nii.gz" in card.remarks[-1]

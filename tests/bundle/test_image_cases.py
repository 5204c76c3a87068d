"""The images of a classification bundle: records and targets, and what ends the run before the first is used."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from refusals import refusal_of
from tiny_classifier import CLASSES, write_image

from segpipe.bundle import ImageCases, image_draws, image_weights
from segpipe.categories import Categories
from segpipe.dataset import Case, Manifest, write_manifest
from segpipe.losses import balanced_class_weights, finding_weights

FINDINGS = Categories(("Effusion", "Mass"), "findings")


def case(number, classes, fold, patient=None, unknown=()):
    name = f"c{number}"
    return Case(
        name, (f"{name}.png",), fold=fold, patient=patient or f"p{number}", classes=classes, unknown=unknown
    )


def manifest_of(categories, cases):
    labels = dict(enumerate(categories.names))
    return Manifest("made", ("OCT",), labels, tuple(cases), target=categories.target)


CLASS_CASES = [
    *(case(0, ("CNV",), 0), case(1, ("DME",), 1), case(2, ("NORMAL",), 1), case(3, ("CNV",), 1)),
    *(case(4, ("NORMAL",), 0), case(5, ("DME",), 0), case(6, ("NORMAL",), 1)),
]
FINDING_CASES = [
    *(case(0, ("Effusion",), 0), case(1, ("Effusion", "Mass"), 1), case(2, (), 1)),
    *(case(3, (), 1, unknown=("Effusion",)), case(4, ("Effusion",), 1)),
]


@pytest.fixture
def cases_of(tmp_path):
    """Return a function that writes images and their manifest, and makes the cases of a fold."""

    def make(categories, cases, fold=0, labels=None, same=(), **options):
        for number, one in enumerate(cases):
            seed = number if one.case not in same else 99
            write_image(tmp_path / one.images[0], seed, (20 + number, 24))
        path = tmp_path / "dataset.json"
        write_manifest(manifest_of(categories, cases), path)
        return ImageCases(path, tmp_path, fold, labels or categories, **options)

    return make


def refused(cases_of, *arguments, **options):
    return refusal_of(cases_of, *arguments, **options)


def test_records_and_targets_of_classes(cases_of, tmp_path):
    cases = cases_of(CLASSES, CLASS_CASES)

    assert [record["case"] for record in cases.train] == ["c1", "c2", "c3", "c6"]
    assert [record["case"] for record in cases.validation] == ["c0", "c4", "c5"]
    assert cases.train[0]["image"] == str(tmp_path / "c1.png")
    assert cases.train[0]["label"].shape == ()
    assert cases.targets.tolist() == [1, 2, 0, 2]
    assert cases.targets.dtype == np.int64
    assert cases.counted == {"CNV": 1, "DME": 1, "NORMAL": 2}


def test_records_and_targets_of_findings(cases_of):
    cases = cases_of(FINDINGS, FINDING_CASES)

    np.testing.assert_array_equal(cases.targets, [[1, 1], [0, 0], [np.nan, 0], [1, 0]])
    assert cases.targets.dtype == np.float32
    assert cases.counted == {"Effusion": 2, "Mass": 1}


def test_the_provenance_names_the_images_and_sums_them_up(cases_of):
    cases = cases_of(CLASSES, CLASS_CASES)

    made = cases.provenance
    assert set(made["cases"]) == {"c1", "c2", "c3", "c6"}
    assert set(made["validation_cases"]) == {"c0", "c4", "c5"} == set(cases.held_out)
    assert (made["fold"], made["part"]) == (0, "validation")
    assert made["manifest"] == {"name": "made", "sha256": cases.manifest.sha256}
    fingerprint = made["fingerprint"]
    assert fingerprint["images"] == 4
    assert fingerprint["images_by_name"] == cases.counted
    assert fingerprint["rows"] == {"min": 21, "median": 22.5, "max": 26}
    assert fingerprint["columns"] == {"min": 24, "median": 24, "max": 24}


def test_all_trains_on_every_image(cases_of):
    cases = cases_of(CLASSES, CLASS_CASES, fold="all")

    assert len(cases.train) == 7
    assert cases.validation == []
    assert cases.held_out == {}


def test_weights_of_the_loss_are_counted_on_training_images(cases_of):
    cases = cases_of(CLASSES, CLASS_CASES)

    weights = image_weights(cases, balanced_class_weights)

    torch.testing.assert_close(weights, torch.tensor([4 / 3, 4 / 3, 4 / 6]))
    assert cases.provenance["class_weights"]["NORMAL"] == {"images": 2, "weight": pytest.approx(2 / 3)}
    assert image_weights(cases_of(CLASSES, CLASS_CASES), None) is None


def test_weights_of_findings_leave_unknown_images_out(cases_of):
    cases = cases_of(FINDINGS, FINDING_CASES)

    weights = image_weights(cases, finding_weights)

    torch.testing.assert_close(weights, torch.tensor([[1 / 3, 2 / 3], [3 / 4, 1 / 4]]))
    assert cases.provenance["class_weights"]["Mass"] == {"images": 1, "weight": [0.75, 0.25]}


def test_balanced_draws(cases_of):
    assert image_draws(cases_of(CLASSES, CLASS_CASES)) == [1, 0.5, 1, 0.5]
    # two images without any known finding share one weight; Mass is the rarest finding of c1
    assert image_draws(cases_of(FINDINGS, FINDING_CASES)) == [1, 0.5, 0.5, 0.5]


def test_other_names_another_order_and_another_target_are_refused(cases_of):
    turned = Categories(("DME", "CNV", "NORMAL"), "class")

    assert refused(cases_of, CLASSES, CLASS_CASES, labels=turned) == (
        "made: its names are CNV, DME, NORMAL, the bundle's are DME, CNV, NORMAL; they must be the same in the same "
        "order: give another manifest, or plan a bundle for this one"
    )
    assert refused(cases_of, CLASSES, CLASS_CASES, labels=FINDINGS) == (
        "made: its target is class, the bundle's is findings; give a manifest of findings, or plan a bundle for "
        "this one"
    )
    lower = Categories(("cnv", "dme", "normal"), "class")
    assert cases_of(CLASSES, CLASS_CASES, labels=lower).counted == {"cnv": 1, "dme": 1, "normal": 2}


def test_a_class_that_no_training_image_has_is_refused(cases_of):
    lacking = [one for one in CLASS_CASES if one.case != "c3"]

    message = refused(cases_of, CLASSES, lacking)

    assert message.startswith("made: no training image is of class CNV, so that no network can learn it;")


def test_a_finding_that_no_training_image_has_is_a_warning(cases_of, caplog):
    lacking = [replace(one, classes=tuple(set(one.classes) - {"Mass"})) for one in FINDING_CASES]

    cases = cases_of(FINDINGS, lacking)

    assert cases.counted == {"Effusion": 2, "Mass": 0}
    assert "no training image has Mass: nothing is learnt about it" in caplog.text


def test_a_patient_on_both_sides_is_refused(cases_of):
    shared = [replace(one, patient="p0") if one.case == "c3" else one for one in CLASS_CASES]

    assert "p0" in refused(cases_of, CLASSES, shared)


def test_an_image_on_both_sides_is_refused(cases_of):
    """c4 validates, c5 validates, c6 trains; the sizes are equal as well."""
    cases = [replace(one, patient=None) for one in CLASS_CASES]
    write_manifest_first = cases_of(CLASSES, cases)
    folder = write_manifest_first.dataset_dir
    write_image(folder / "c4.png", 7, (30, 24))
    write_image(folder / "c6.png", 7, (30, 24))

    message = refusal_of(ImageCases, folder / "dataset.json", folder, 0, CLASSES)

    assert "c4" in message
    assert "c6" in message


def test_a_fold_that_is_none_and_a_missing_file_are_refused(cases_of, tmp_path):
    assert "fold 7" in refused(cases_of, CLASSES, CLASS_CASES, fold=7)
    (tmp_path / "c3.png").unlink()

    assert "c3.png" in refusal_of(ImageCases, tmp_path / "dataset.json", tmp_path, 0, CLASSES)


@pytest.mark.parametrize(("side", "fold"), [("validation", 0), ("training", 1)])
def test_a_side_of_which_nothing_is_known_is_refused(cases_of, side, fold):
    cases = [
        *(case(0, (), 0, unknown=("Effusion", "Mass")), case(1, (), 0, unknown=("Effusion", "Mass"))),
        *(case(2, ("Mass",), 1), case(3, (), 1)),
    ]

    assert refused(cases_of, FINDINGS, cases, fold=fold) == (
        f"made: every finding is unknown in all 2 {side} images; hold out another fold, or fill in their findings"
    )

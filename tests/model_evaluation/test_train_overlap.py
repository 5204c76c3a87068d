"""One rule for leaks: every command judges the same weights and cases alike, and refuses or warns by that rule."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from monai.bundle import ConfigParser
from tiny_bundle import SIZE, SMALL, write_bundle, write_scan, write_weights

from segpipe.bundle.source import BundleSource
from segpipe.bundle.train_overlap import TrainingRecord, TrainOverlap
from segpipe.dataset import Case, Manifest, Split, write_manifest
from segpipe.dataset.reports import content_sha256
from segpipe.errors import SegpipeError
from segpipe.files import read_json
from segpipe.model_evaluation.evaluate import evaluate
from segpipe.model_evaluation.options import EvaluateOptions
from segpipe.networks.weights import Sidecar
from segpipe.prediction import measured_ranges
from segpipe.volumes import Grid, read_volume, write_label_map

NAMES = tuple(f"c{number}" for number in range(7))
SCORED, OF_ITS_PATIENT, OTHERS = NAMES[0], NAMES[1], NAMES[2:]
LABELS = {0: "background", 1: "anterior", 2: "posterior"}
LEAKS = {
    "trained": f"the weights were trained on 1 of these 1 cases ({SCORED})",
    "patient": "the weights were trained on other cases of the same patients as 1 of these 1 cases (c0)",
}
WARNINGS = {
    "held out": None,
    "trained": f"NOT HELD OUT: {LEAKS['trained']}. ",
    "patient": f"NOT HELD OUT: {LEAKS['patient']}. ",
    "chosen": "The epoch of the weights was chosen on 1 of these 1 cases",
    "unknown": "The training cases of weights.pt are not known",
}
JUDGED = {
    "held out": None,
    "trained": "trained",
    "patient": "patients",
    "chosen": "chosen",
    "unknown": "unknown",
}
SITUATIONS = tuple(WARNINGS)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Return a manifest of seven cases; c0 (held out by its split) and c1 (outside the split) have one patient."""
    folder = tmp_path_factory.mktemp("data")
    labels = np.zeros(SIZE, np.uint8)
    labels[4:8, 4:8, 4:8], labels[8:10, 4:8, 4:8] = 1, 2
    cases = []
    for seed, name in enumerate(NAMES):
        write_scan(folder / f"{name}.nii.gz", seed)
        write_label_map(labels, Grid.from_affine(SIZE, np.eye(4)), folder / f"{name}_seg.nii.gz")
        patient = "p" if name in (SCORED, OF_ITS_PATIENT) else f"of {name}"
        cases.append(Case(name, (f"{name}.nii.gz",), f"{name}_seg.nii.gz", patient=patient))
    split = Split(train=OTHERS, validation=(SCORED,), about="made up")
    path = folder / "dataset.json"
    write_manifest(Manifest("noise", ("MRI",), LABELS, tuple(cases), splits={"half": split}), path)
    return path


def contents(manifest, *names):
    return {name: content_sha256([read_volume(manifest.parent / f"{name}.nii.gz")]) for name in names}


@pytest.fixture(params=SITUATIONS)
def situation(request):
    return request.param


@pytest.fixture
def weights(bundle, manifest, situation, tmp_path):
    """Return weights with the sidecar of the situation."""
    trained = {"trained": (SCORED, *OTHERS), "patient": (OF_ITS_PATIENT, *OTHERS)}.get(situation, OTHERS)
    training = {"cases": contents(manifest, *trained), "manifest": {"name": "noise"}}
    if situation == "chosen":
        training |= {"validation_cases": contents(manifest, SCORED), "validation": {"dice": 0.5}}
    if situation == "unknown":
        training = {}
    return write_weights(bundle, tmp_path / "weights.pt", 1, **training)


def run_of_monai(bundle, manifest, weights, tmp_path):
    """Return the scores of MONAI's run of evaluate.yaml."""
    parser = ConfigParser()
    parser.read_config([str(bundle / "configs" / f"{name}.yaml") for name in ("train", "evaluate")])
    parser.read_meta(str(bundle / "configs" / "metadata.json"))
    parser.update(
        {
            **SMALL,
            "bundle_root": str(bundle),
            "manifest": str(manifest),
            "dataset_dir": str(manifest.parent),
            "output_dir": str(tmp_path / "runs"),
            "fold": "half",
            "weights": [str(weights)],
        }
    )
    return parser.get_parsed_content("scored_weights")


def evaluated(bundle, manifest, weights, tmp_path, **options):
    chosen = EvaluateOptions(split="half", part="validation", precision="float32", **options)
    return evaluate(
        BundleSource(bundle, weights=[weights]),
        str(manifest),
        tmp_path / "out",
        chosen,
        manifest.parent,
    )


def require_warned_of(situation, warnings, about):
    expected = WARNINGS[situation]
    assert [warning.startswith(expected or "") for warning in warnings] == [True] * (expected is not None)
    assert [name for name, cases in about["overlap"].items() if cases] == (
        [JUDGED[situation]] if JUDGED[situation] else []
    )


def test_monais_run(bundle, manifest, weights, situation, tmp_path, caplog):
    if situation in LEAKS:
        with pytest.raises(SegpipeError) as refusal:
            run_of_monai(bundle, manifest, weights, tmp_path)
        message = str(refusal.value)
        assert message.startswith(
            f"{weights}: {LEAKS[situation]}: such scores say nothing about new patients"
        )
        assert message.endswith("give the --fold that its run held out")
        return

    scored = run_of_monai(bundle, manifest, weights, tmp_path)

    require_warned_of(situation, scored.about["warnings"], scored.about)
    assert all(warning in caplog.text for warning in scored.about["warnings"])
    assert [case.case for case in scored.cases] == [SCORED]
    assert scored.about["part"] == "validation of half"


def test_segpipe_evaluate(bundle, manifest, weights, situation, tmp_path):
    evaluation = evaluated(bundle, manifest, weights, tmp_path)

    about = read_json(tmp_path / "out" / "summary.json")["about"]
    assert about["warnings"] == list(evaluation.warnings)
    ours = [text for text in evaluation.warnings if not text.startswith("Class ")]
    require_warned_of(situation, ours, about)


def test_a_card(bundle, manifest, weights, situation, tmp_path):
    bundle_copy = tmp_path / "own"
    shutil.copytree(bundle, bundle_copy)
    if situation in ("held out", "chosen"):
        assert evaluated(bundle_copy, manifest, weights, tmp_path, card=True).card
        return

    reason = LEAKS.get(situation, "the training cases of weights.pt are not known")
    with pytest.raises(SegpipeError) as refusal:
        evaluated(bundle_copy, manifest, weights, tmp_path, card=True)
    assert str(refusal.value).startswith(f"--card: {reason}")
    assert not (bundle_copy / "docs").exists()


def test_reference_ranges(bundle, manifest, weights, situation, tmp_path, monkeypatch):
    measured, messages = [], []
    measure = measured_ranges.measured_scan

    def recorded(segmenter, loaded):
        measured.append(Path(loaded.meta["filename_or_obj"]).name.split(".")[0])
        return measure(segmenter, loaded)

    monkeypatch.setattr(measured_ranges, "measured_scan", recorded)

    measured_ranges.write_reference_ranges(
        BundleSource(bundle, weights=[weights]), manifest, manifest.parent, report=messages.append
    )

    assert (
        measured
        == {
            "held out": [*OTHERS],
            "trained": [SCORED, *OTHERS],
            "patient": [OF_ITS_PATIENT, *OTHERS],
            "chosen": [SCORED, *OTHERS],
            "unknown": [*NAMES],
        }[situation]
    )
    warned = [text.startswith("WARNING: the training cases of weights.pt are not known") for text in messages]
    assert any(warned) == (situation == "unknown")


CASES = (Case("a", ("a.nii.gz",), patient="p"), Case("b", ("b.nii.gz",), patient="p"))
OF_TWO = Manifest("two", ("MRI",), LABELS, CASES)


def judged(*records):
    return TrainOverlap.of(records, OF_TWO, CASES[:1], {"a": "1" * 64})


def record(**known):
    return TrainingRecord(Path("w.pt"), **known)


def test_an_image_trained_under_another_name():
    assert judged(record(trained={"z": "1" * 64})).trained == ("a",)


def test_a_patient_is_known_through_the_manifest_of_the_training_alone():
    trained = {"b": "2" * 64}

    assert judged(record(trained=trained, manifest="two")).patients == ("a",)
    assert judged(record(trained=trained, manifest="another")).patients == ()


def test_of_several_weights_one_that_trained_on_a_case_is_enough():
    assert judged(record(trained={"x": "3" * 64}), record(trained={"a": "1" * 64})).trained == ("a",)


def test_weights_of_the_last_epoch_were_chosen_by_no_case():
    training = {"cases": {"b": "2" * 64}, "validation_cases": {"a": "1" * 64}}
    last, best = (
        TrainingRecord.of(Path("w.pt"), Sidecar("", {}, [], [], {**training, **more}))
        for more in ({}, {"validation": {"val_mean_dice": 0.5}})
    )

    assert (last.chosen_by, best.chosen_by) == ({}, {"a": "1" * 64})

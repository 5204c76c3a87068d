"""Postprocessing chosen on several folds: each run segments its own held-out cases, and all cases count together."""

from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import write_bundle, write_scan, write_weights

from segpipe import PredictOptions, predict
from segpipe.bundle.source import BundleSource
from segpipe.dataset import Case, Manifest, write_manifest
from segpipe.dataset.reports import content_sha256
from segpipe.errors import SegpipeError
from segpipe.model_evaluation.label_map_steps import applied
from segpipe.model_evaluation.label_map_trials import LARGEST, LabelMapStep
from segpipe.model_evaluation.postprocess import TRIALS_FILE, PostprocessOptions, postprocess
from segpipe.volumes import Grid, read_volume, write_label_map

SIZE = (20, 20, 16)
GRID = Grid.from_affine(SIZE, np.eye(4))
FOLDS = {f"case_{number}": number % 2 for number in range(8)}
SEEDS = (0, 2)  # of each run's weights: networks that find class 2 in many pieces
EXACT = PredictOptions(precision="float32", overlays=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle, runs of two folds, and references that are the largest piece of class 2 of each run's own label map."""
    folder = tmp_path_factory.mktemp("folds")
    root = write_bundle(folder / "bundle")
    scans = {
        case: write_scan(folder / "data" / f"{case}.nii.gz", seed, SIZE) for seed, case in enumerate(FOLDS)
    }
    contents = {case: content_sha256([read_volume(path)]) for case, path in scans.items()}
    for fold in (0, 1):
        weights = write_weights(
            root,
            folder / f"fold{fold}" / "best.pt",
            SEEDS[fold],
            fold=fold,
            manifest={"name": "noise"},
            cases={case: content for case, content in contents.items() if FOLDS[case] != fold},
            validation_cases={case: content for case, content in contents.items() if FOLDS[case] == fold},
        )
        own = [path for case, path in scans.items() if FOLDS[case] == fold]
        predict(own, BundleSource(root, weights=[weights]), folder / "raw", options=EXACT)
    for case in FOLDS:
        truth = applied(labels_of(folder / "raw", case), GRID, [LabelMapStep(LARGEST, 2)])
        write_label_map(truth.astype(np.uint8), GRID, folder / "data" / "truth" / f"{case}.nii.gz")
    cases = [
        Case(case, (f"{case}.nii.gz",), f"truth/{case}.nii.gz", patient=case, fold=fold)
        for case, fold in FOLDS.items()
    ]
    values = {0: "background", 1: "anterior", 2: "posterior"}
    manifest = Manifest("noise", ("MRI",), values, tuple(cases), dataset_dir=str(folder / "data"))
    write_manifest(manifest, folder / "noise.json")
    return folder


@pytest.fixture(autouse=True)
def without_pages(monkeypatch):
    """The page takes longer than all other steps."""
    monkeypatch.setattr("segpipe.model_evaluation.evaluate.write_report", lambda *_: None)


def labels_of(folder, case):
    return read_volume(folder / f"{case}.nii.gz").array


def run(made, output, folds=(0, 1), watch=None, report=None, source=None, **options):
    weights = [made / f"fold{fold}" / "best.pt" for fold in folds]
    how = PostprocessOptions(precision="float32", volumes=[1.0], fold_weights=weights, **options)
    return postprocess(
        source or BundleSource(made / "bundle"),
        str(made / "noise.json"),
        output,
        how,
        watch=watch,
        report=report,
    )


def test_steps_are_chosen_on_the_cases_of_all_folds(made, tmp_path):
    """An interrupted choice keeps the label maps of the folds and cases that are finished."""
    output, messages, outcomes = tmp_path / "out", [], {}

    def interrupt(prediction, done, total):
        if prediction.case == "case_3":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(made, output, watch=interrupt)
    result = run(
        made,
        output,
        dry_run=True,
        watch=lambda prediction, *_: outcomes.update({prediction.case: prediction.outcome.value}),
        report=messages.append,
    )

    earlier = {"case_0", "case_1", "case_2", "case_3", "case_4", "case_6"}
    assert outcomes == {case: "skipped" if case in earlier else "done" for case in FOLDS}
    for case, fold in FOLDS.items():
        segmented = labels_of(output / f"fold_{fold}" / "predictions", case)
        np.testing.assert_array_equal(segmented, labels_of(made / "raw", case))
    assert [message for message in messages if "weights" in message] == [
        f"fold {fold}, {fold + 1} of 2: 4 held-out cases, weights {made}/fold{fold}/best.pt"
        for fold in (0, 1)
    ]
    (kept,) = result.choice.kept
    assert (kept.step.kind, kept.step.index, kept.tried) == (LARGEST, 2, 3)
    gains = {case: 1 - dice(made, case) for case in FOLDS}
    for fold, one in enumerate(kept.by_fold):
        assert (one.fold, one.cases) == (f"fold {fold}", 4)
        assert one.gain == pytest.approx(np.mean([gains[case] for case in FOLDS if FOLDS[case] == fold]))
    assert kept.difference.interval.mean == pytest.approx(np.mean(list(gains.values())))
    assert kept.difference.p_value == pytest.approx(3 * 2 / 2**8)  # all eight gain; three steps were tried
    header, *rows = (output / TRIALS_FILE).read_text().splitlines()
    assert header.endswith("kept,dice_gain_fold_0,dice_gain_fold_1")
    assert len(rows) == len(result.choice.trials)


def dice(made, case):
    """Return the Dice of class 2 of the network's own label map."""
    ours, truth = (labels_of(made / folder, case) == 2 for folder in ("raw", "data/truth"))
    return 2 * (ours & truth).sum() / (ours.sum() + truth.sum())


def test_steps_of_all_folds_are_written_and_ranges_become_stale(made, tmp_path):
    root = write_bundle(tmp_path / "bundle")
    (root / "models" / "model.reference_ranges.json").touch()

    result = run(made, tmp_path / "out", source=BundleSource(root))

    assert [path.name for path in result.written] == ["inference.yaml", "evaluate.yaml"]
    text = (root / "configs" / "inference.yaml").read_text()
    assert "# chosen on fold 0, fold 1 of noise: 8 cases, 8 patients" in text
    assert "(98.33 % interval +0." in text
    (command,) = result.measure_again
    assert command == f"segpipe reference-ranges {root} --manifest {made}/noise.json"


def test_folds_without_a_run_are_named(made, tmp_path):
    messages = []

    result = run(made, tmp_path / "out", folds=[1], report=messages.append, dry_run=True)

    assert messages[0] == "no run of fold 0 is given: the cases of these folds take no part"
    assert result.choice.cases == ("case_1", "case_3", "case_5", "case_7")
    assert result.choice.folds == ()


@pytest.mark.parametrize(
    ("source", "options", "reason"),
    [
        ({"weights": ["other.pt"]}, {}, "--fold-weights and --weights are given"),
        ({}, {"split": "0"}, "--fold-weights and --split are given: .* leave out --split"),
    ],
)
def test_fold_weights_name_weights_and_cases_alone(made, tmp_path, source, options, reason):
    with pytest.raises(SegpipeError, match=reason):
        run(made, tmp_path / "out", source=BundleSource(made / "bundle", **source), **options)


def test_a_run_that_was_trained_on_an_image_that_it_should_score_is_refused(made, tmp_path):
    """The image has another name in the training, so only its content tells."""
    content = content_sha256([read_volume(made / "data" / "case_0.nii.gz")])
    path = Path(tmp_path / "run" / "best.pt")
    training = {"fold": 0, "manifest": {"name": "noise"}, "cases": {"renamed": content}}
    weights = write_weights(made / "bundle", path, 0, **training)
    how = PostprocessOptions(precision="float32", fold_weights=[weights])

    with pytest.raises(SegpipeError, match=r"were trained on 1 of these 4 cases \(case_0\)"):
        postprocess(BundleSource(made / "bundle"), str(made / "noise.json"), tmp_path / "out", how)

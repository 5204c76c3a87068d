"""The files of an evaluation of weights, and weights that are refused."""

import json
import shutil

import numpy as np
import pytest

from segpipe.dataset import load_manifest
from segpipe.evaluation.case_scores import CaseScores
from segpipe.evaluation.metrics import METRICS
from segpipe.evaluation.summary import read_summary
from segpipe.volumes import read_volume


def score(bundle, run, **overrides):
    bundle.run("train", "evaluate", **{**bundle.training, "run_name": run.name, **overrides})


def test_scores_say_what_they_are_of(bundle, finished_run, capsys):
    score(bundle, finished_run)

    about = read_summary(finished_run / "evaluation" / "best-fold0")["about"]
    sidecar = json.loads((finished_run / "best.json").read_text())
    (weights,) = about["weights"]
    assert (weights["file"], weights["sha256"]) == ("best.pt", sidecar["weights_sha256"])
    assert (weights["trained_on"], weights["fold"], weights["cases"]) == ("phantoms", 0, 6)
    assert (about["bundle"], about["bundle_version"]) == (bundle.root.name, bundle.metadata["version"])
    assert (about["part"], about["device"]) == ("fold 0", "cpu")
    assert about["manifest"]["name"] == "phantoms"
    # the best epoch was chosen by this very fold
    assert len(about["overlap"]["chosen"]) == 2
    (warning,) = [text for text in about["warnings"] if not text.startswith("Class")]
    assert warning.startswith("The epoch of the weights was chosen on 2 of these 2 cases")
    assert warning in capsys.readouterr().out


def test_the_last_weights_are_scored_apart_and_without_choice(bundle, finished_run):
    score(bundle, finished_run, weights=[str(finished_run / "last.pt")])

    folder = finished_run / "evaluation" / "last-fold0"
    assert read_summary(folder)["about"]["overlap"]["chosen"] == []
    assert len(CaseScores.read(folder).cases) == 2


@pytest.mark.every_bundle
def test_pooled_scores_are_those_of_the_label_maps(bundle, finished_run, tmp_path):
    """The expected scores are counted on inference's label maps of the same slices or volumes."""
    bundle.run("train", "evaluate", **{**bundle.training, "run_name": finished_run.name})
    folder = finished_run / "evaluation" / "best-fold0"
    (tmp_path / "scans").mkdir()
    cases = [case for case in load_manifest(bundle.manifest).training if case.fold == 0]
    names = [row["name"] for row in bundle.metadata["label_table"]]
    files = {}
    for case in cases:
        image = bundle.manifest.parent / case.images[0]
        for part in (image, *image.parent.glob(f"{image.stem}.*raw")):
            shutil.copy(part, tmp_path / "scans")
        files[case.case] = tmp_path / "out" / image.name
    bundle.run(
        "inference",
        bundle_root=str(bundle.root),
        dataset_dir=str(tmp_path / "scans"),
        output_dir=str(tmp_path / "out"),
        weights=[str(finished_run / "best.pt")],
        device="cpu",
        **bundle.window,
    )

    maps = [
        np.stack(
            [read_volume(path).array for path in (bundle.manifest.parent / case.label, files[case.case])]
        )
        for case in cases
    ]
    summary = read_summary(folder)
    for case, (reference, prediction) in zip(cases, maps, strict=True):
        counted = {
            (names[true], names[predicted]): voxels
            for true, predicted, voxels in summary["confusion"]["cases"][case.case]
        }
        pairs, voxels = np.unique([reference.ravel(), prediction.ravel()], axis=1, return_counts=True)
        apart = {(names[a], names[b]): n for a, b, n in zip(*pairs.tolist(), voxels.tolist(), strict=True)}
        assert sum(counted.values()) == reference.size
        assert all(abs(counted.get(k, 0) - apart.get(k, 0)) <= 2e-3 * reference.size for k in counted | apart)
    pooled = summary["pooled"]
    reference, prediction = (np.concatenate([pair[i].ravel() for pair in maps]) for i in (0, 1))
    assert pooled["accuracy"] == pytest.approx((reference == prediction).mean(), abs=2e-3)
    assert pooled["background_accuracy"] == pytest.approx((reference == 0).mean(), abs=1e-9)
    assert set(pooled["dice"]) == set(pooled["sensitivity"]) == set(names[1:])


def test_weights_that_say_nothing_of_their_cases_are_scored_with_a_warning(
    bundle, finished_run, tmp_path, capsys
):
    shutil.copy(finished_run / "best.pt", tmp_path / "foreign.pt")

    score(bundle, finished_run, weights=[str(tmp_path / "foreign.pt")])

    assert "The training cases of foreign.pt are not known" in capsys.readouterr().out


@pytest.mark.slow
def test_another_window_than_in_validation_is_warned_of(bundle, finished_run, capsys):
    warning = "was validated in windows of"
    score(bundle, finished_run)
    assert warning not in capsys.readouterr().out

    sidecar = json.loads((finished_run / "best.json").read_text())
    larger = [size + 16 for size in sidecar["training"]["configuration"]["window_size"]]
    score(bundle, finished_run, window_size=larger)

    assert f"runs in windows of {larger}" in capsys.readouterr().out


def test_weights_keep_how_they_were_made(finished_run):
    training = json.loads((finished_run / "last.json").read_text())["training"]

    assert training["configuration"]["seed"] == 0
    assert training["configuration"]["epochs"] == 2
    assert training["environment"]["packages"]["monai"]
    assert training["fold"] == 0
    assert len(training["cases"]) == 6


@pytest.mark.slow
def test_a_false_positive_scores_0(copied_dataset):
    """A case without foreground in its reference scores 0 for predicted foreground."""
    import nibabel as nib
    import numpy as np

    manifest = json.loads(copied_dataset.manifest.read_text())
    held_out = next(entry for entry in manifest["training"] if entry["fold"] == 0)
    path = copied_dataset.manifest.parent / held_out["label"]
    label = nib.load(path)
    nib.save(nib.Nifti1Image(np.zeros(label.shape, np.uint8), label.affine), path)
    run = copied_dataset.train("emptied", epochs=4, checksums=False)

    score(copied_dataset, run, checksums=False)

    scores = CaseScores.read(run / "evaluation" / "best-fold0")
    dice = scores.values[scores.cases.index(held_out["case"]), METRICS.index("dice")]
    assert 0 in dice

"""What an evaluation says of the weights it scores, and which it refuses."""

import csv
import json
import shutil

import pytest


def score(bundle, run, **overrides):
    bundle.run("train", "evaluate", **{**bundle.training, "run_name": run.name, **overrides})


def test_scores_say_what_they_are_of(bundle, finished_run, capsys):
    score(bundle, finished_run)

    about = json.loads((finished_run / "evaluation" / "best-fold0" / "about.json").read_text())
    sidecar = json.loads((finished_run / "best.json").read_text())
    assert about["weights"] == str(finished_run / "best.pt")
    assert about["weights_sha256"] == sidecar["weights_sha256"]
    assert about["fold"] == 0
    assert about["manifest"]["name"] == "phantoms"
    # the best epoch was chosen by this very fold
    assert about["epoch_chosen_on_these_cases"] is True
    assert "chosen on the cases it is scored on" in capsys.readouterr().out


def test_the_last_weights_are_scored_apart_and_without_choice(bundle, finished_run):
    score(bundle, finished_run, weights=[str(finished_run / "last.pt")])

    folder = finished_run / "evaluation" / "last-fold0"
    assert json.loads((folder / "about.json").read_text())["epoch_chosen_on_these_cases"] is False
    rows = list(csv.DictReader((folder / "scores.csv").read_text().splitlines()))
    assert len(rows) == 2


def test_weights_that_say_nothing_of_their_cases_are_scored_with_a_warning(
    bundle, finished_run, tmp_path, capsys
):
    shutil.copy(finished_run / "best.pt", tmp_path / "foreign.pt")

    score(bundle, finished_run, weights=[str(tmp_path / "foreign.pt")])

    assert "which cases it was trained on is not known" in capsys.readouterr().out


def test_another_window_than_the_training_patch_is_warned_of(bundle, finished_run, capsys):
    warning = "was trained on patches of"
    score(bundle, finished_run)
    assert warning not in capsys.readouterr().out

    sidecar = json.loads((finished_run / "best.json").read_text())
    larger = [size + 16 for size in sidecar["training"]["configuration"]["patch_size"]]
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
    """A case whose reference has no foreground counts against what is found in it."""
    import nibabel as nib
    import numpy as np

    manifest = json.loads(copied_dataset.manifest.read_text())
    held_out = next(entry for entry in manifest["training"] if entry["fold"] == 0)
    path = copied_dataset.manifest.parent / held_out["label"]
    label = nib.load(path)
    nib.save(nib.Nifti1Image(np.zeros(label.shape, np.uint8), label.affine), path)
    run = copied_dataset.train("emptied", epochs=4, checksums=False)

    score(copied_dataset, run, checksums=False)

    rows = csv.DictReader((run / "evaluation" / "best-fold0" / "scores.csv").read_text().splitlines())
    scores = {row["case"]: row for row in rows}
    assert "0.000000" in scores[held_out["case"]].values()

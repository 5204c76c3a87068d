"""A classification bundle is scored on a manifest's images: files, card, what is refused and what is left out."""

import json

import numpy as np
import pytest
from tiny_classifier import CLASSES, FINDINGS, write_classifier, write_image
from typer.testing import CliRunner

from segpipe.bundle.open_classifier import open_classifier
from segpipe.cli import app
from segpipe.dataset.manifest import Case, Manifest
from segpipe.dataset.manifest_files import write_manifest
from segpipe.errors import SegpipeError
from segpipe.evaluation.classification.image_table import read_images
from segpipe.model_evaluation.classification import evaluate_classifier
from segpipe.model_evaluation.image_card import other_rows
from segpipe.model_evaluation.options import EvaluateOptions
from segpipe.networks.weights import read_sidecar, sidecar_path

COUNT = 9


def manifest_of(categories, folder, count=COUNT, target=None, **more):
    """Write images and their manifest; every second image has the patient of the one before."""
    cases = tuple(
        Case(
            f"i{number}",
            (write_image(folder / "images" / f"i{number}.png", number).relative_to(folder).as_posix(),),
            patient=f"p{number // 2}",
            classes=(categories.names[number % categories.num],),
            unknown=() if categories.exclusive else (categories.names[(number + 1) % categories.num],),
        )
        for number in range(count)
    )
    names = dict(enumerate(categories.names))
    manifest = Manifest(
        "noise",
        ("OCT",),
        names,
        (
            Case(
                "t0", (write_image(folder / "t0.png", 99).name,), patient="q", classes=(categories.names[0],)
            ),
        ),
        cases,
        target=target or categories.target,
        **more,
    )
    path = folder / "noise.json"
    write_manifest(manifest, path)
    return path


@pytest.fixture(scope="module")
def of_classes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    return write_classifier(folder / "bundle", CLASSES), manifest_of(CLASSES, folder)


@pytest.mark.parametrize("categories", [CLASSES, FINDINGS], ids=["class", "findings"])
def test_scores_are_those_of_the_network(categories, tmp_path):
    """Probabilities of the table are the network's own, after the temperature and before it."""
    bundle = write_classifier(tmp_path / "bundle", categories)
    manifest = manifest_of(categories, tmp_path)

    result = evaluate_classifier(bundle, str(manifest), tmp_path / "out", EvaluateOptions(), tmp_path)

    opened = open_classifier(bundle)
    logits = np.array(
        [
            opened.network(opened.read(tmp_path / "images" / f"i{number}.png")[None]).detach().numpy()[0]
            for number in range(COUNT)
        ]
    )
    np.testing.assert_allclose(
        result.images.probabilities, opened.calibration.probabilities(logits), atol=1e-5
    )
    plain = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if not categories.exclusive:
        plain = 1 / (1 + np.exp(-logits))
        assert np.isnan(result.images.present).sum() == COUNT
    np.testing.assert_allclose(result.images.before, plain, atol=1e-5)
    assert result.images.thresholds == opened.calibration.thresholds
    assert result.summary.patients == 5
    assert not result.reasons
    assert "The training cases of model.pt are not known" in result.warnings[0]
    content = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert content["task"] == "classification"
    assert content["about"]["part"] == "test"
    assert content["about"]["warnings"] == list(result.warnings)
    assert read_images(tmp_path / "out").cases == tuple(f"i{number}" for number in range(COUNT))
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Classified by the bundle bundle: test of the manifest noise" in page
    assert page.count("data:image/jpeg") > 0
    assert "<dt>calibration</dt><dd>temperature 2" in page


def test_a_second_call_classifies_nothing(of_classes, tmp_path):
    bundle, manifest = of_classes
    outcomes = []
    for _ in range(2):
        evaluate_classifier(
            bundle,
            str(manifest),
            tmp_path,
            EvaluateOptions(),
            manifest.parent,
            watch=lambda prediction, done, total: outcomes.append(prediction.outcome.value),
        )

    assert outcomes == ["done"] * COUNT + ["skipped"] * COUNT


def test_images_that_cannot_be_read_are_counted(tmp_path):
    bundle, manifest = write_classifier(tmp_path / "bundle"), manifest_of(CLASSES, tmp_path)
    (tmp_path / "images" / "i3.png").write_bytes(b"no image")
    (tmp_path / "images" / "i4.png").unlink()

    command = [
        "evaluate",
        "--bundle",
        str(bundle),
        "--manifest",
        str(manifest),
        "--dataset-dir",
        str(tmp_path),
    ]
    result = CliRunner().invoke(app, [*command, "--output", str(tmp_path / "out")])

    assert result.exit_code == 1
    assert "no prediction for i3: it is in no score: images/i3.png: " in result.stderr
    assert "i4: it is in no score: images/i4.png: missing below" in result.stderr
    content = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert content["images"] == COUNT - 2
    assert content["without_prediction"] == ["i3", "i4"]
    assert "2 images have no prediction" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_the_terminal_shows_the_scores(of_classes, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    bundle, manifest = of_classes

    command = ["evaluate", "--bundle", str(bundle), "--manifest", str(manifest), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*command, "--dataset-dir", str(manifest.parent)])

    assert result.exit_code == 0, result.output
    assert "images: 9" in result.stdout
    assert "balanced accuracy" in result.stdout
    assert "3 positives: too few for an interval" in result.stdout
    assert str(tmp_path / "out" / "report.html") in result.stdout.replace("\n", "")


@pytest.mark.slow
def test_weights_that_saw_the_images_are_named_and_get_no_card(of_classes, tmp_path):
    bundle, manifest = write_classifier(tmp_path / "bundle"), of_classes[1]
    _trained_on(bundle, of_classes, ["i0", "i1"], tmp_path)

    result = evaluate_classifier(bundle, str(manifest), tmp_path / "out", EvaluateOptions(), manifest.parent)

    assert result.warnings[0].startswith(
        "NOT HELD OUT: the weights were trained on 2 of these 9 cases (i0, i1)"
    )
    assert "NOT HELD OUT" in (tmp_path / "out" / "report.html").read_text()
    with pytest.raises(SegpipeError, match="--card: the weights were trained on 2 of these 9 cases"):
        evaluate_classifier(
            bundle, str(manifest), tmp_path / "card", EvaluateOptions(card=True), manifest.parent
        )


def test_the_card_keeps_the_rows_of_other_models(of_classes, tmp_path):
    bundle, manifest = write_classifier(tmp_path / "bundle"), of_classes[1]
    _trained_on(bundle, of_classes, [], tmp_path)
    baseline = "| baseline: frozen features, logistic regression | .935 | | .989 | | | |"
    options = EvaluateOptions(card=True)
    evaluate_classifier(bundle, str(manifest), tmp_path / "out", options, manifest.parent)
    readme = bundle / "docs" / "README.md"
    first = readme.read_text()
    (row,) = [line for line in first.splitlines() if line.startswith("| this bundle |")]
    readme.write_text("# OCT\n\n" + first.replace(row, f"{row}\n{baseline}"))

    result = evaluate_classifier(bundle, str(manifest), tmp_path / "out", options, manifest.parent)

    text = readme.read_text()
    assert text.startswith("# OCT\n\n<!-- written by segpipe evaluate --card: begin -->")
    assert f"{row}\n{baseline}\n\n| class | AUROC |" in text
    assert text.count("| this bundle |") == text.count(baseline) == 1
    assert "segpipe evaluate --bundle . --manifest noise.json" in text
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["eval_metrics"]["accuracy"] == round(result.summary.overall["accuracy"].value, 4)
    assert metadata["evaluation"]["cases"] == COUNT
    assert result.card == [readme, bundle / "configs" / "metadata.json"]


@pytest.mark.slow
def test_weights_without_a_calibration_are_named(of_classes, tmp_path):
    bundle, manifest = write_classifier(tmp_path / "bundle", calibrated=False), of_classes[1]

    result = evaluate_classifier(bundle, str(manifest), tmp_path / "out", EvaluateOptions(), manifest.parent)

    assert "The weights have no calibration: " in result.warnings[1]
    assert result.images.thresholds == (0.5,) * 3
    assert result.summary.overall["ece"].value == pytest.approx(result.summary.overall["ece_before"].value)


def test_a_card_without_a_table_has_no_other_rows():
    assert other_rows("") == []
    assert other_rows("| model | x |\n|---|---|\n| this bundle | 1 |\n") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"categories": FINDINGS}, "its target is findings, the bundle's is class"),
        ({"names": {0: "DME", 1: "CNV", 2: "NORMAL"}}, "its names are DME, CNV, NORMAL, the bundle"),
        ({"options": {"groups": {"a": ["CNV"]}}}, "--group is of segmentations"),
        ({"options": {"tolerance_mm": 2.0}}, "--tolerance-mm is of segmentations"),
        ({"options": {"split": "paper"}}, "paper"),
    ],
)  # fmt: skip
def test_each_refusal_has_a_message(of_classes, tmp_path, change, message):
    manifest = manifest_of(change.get("categories", CLASSES), tmp_path, 3)
    if "names" in change:
        content = json.loads(manifest.read_text())
        manifest.write_text(
            json.dumps({**content, "labels": {str(k): v for k, v in change["names"].items()}})
        )

    with pytest.raises(SegpipeError, match=message) as refused:
        evaluate_classifier(
            of_classes[0],
            str(manifest),
            tmp_path / "out",
            EvaluateOptions(**change.get("options", {})),
            tmp_path,
        )
    assert len(refused.value.args) == 1


def test_findings_that_nobody_knows_are_refused(tmp_path):
    bundle = write_classifier(tmp_path / "bundle", FINDINGS)
    manifest = manifest_of(FINDINGS, tmp_path, 3)
    content = json.loads(manifest.read_text())
    for case in content["test"]:
        case["unknown"] = list(FINDINGS.names)
        del case["classes"]
    manifest.write_text(json.dumps(content))

    with pytest.raises(SegpipeError, match="every finding is unknown in every image of test"):
        evaluate_classifier(bundle, str(manifest), tmp_path / "out", EvaluateOptions(), tmp_path)


def _trained_on(bundle, of_classes, cases, tmp_path):
    """Write into the sidecar of the weights that they were trained on these cases and one stranger."""
    from segpipe.dataset import examine_images, load_manifest

    manifest = load_manifest(str(of_classes[1]))
    reports = examine_images(manifest.test, of_classes[1].parent, manifest)
    trained = {one.case: one.facts.content_sha256 for one in reports if one.case in cases}
    path = sidecar_path(bundle / "models" / "model.pt")
    content = json.loads(path.read_text())
    content["training"] = {"manifest": {"name": "elsewhere"}, "cases": {**trained, "stranger": "0" * 64}}
    path.write_text(json.dumps(content))
    assert read_sidecar(bundle / "models" / "model.pt") is not None

"""A bundle on a manifest's cases: pairing, overlap with the training cases, and cases without a score."""

import json
import shutil

import numpy as np
import pytest
from tiny_bundle import SIZE, write_bundle, write_scan, write_two_channel_bundle, write_weights

import segpipe
from segpipe.bundle.source import BundleSource
from segpipe.dataset import Case, Manifest, Split, write_manifest
from segpipe.dataset.reports import content_sha256
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256
from segpipe.model_evaluation.evaluate import evaluate
from segpipe.model_evaluation.options import EvaluateOptions
from segpipe.volumes import Grid, read_volume, write_label_map

CASES = ("a", "b", "c", "d")
VALUES = {0: "background", 10: "Anterior", 20: "posterior"}  # the bundle's are 0, 1, 2
GRID = Grid.from_affine(SIZE, np.eye(4))


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def truth(seed):
    labels = np.zeros(SIZE, np.uint8)
    labels[2:6, 3:9, 2:8] = 10
    labels[6 : 9 + seed, 3:9, 2:8] = 20
    return labels


@pytest.fixture
def dataset(tmp_path):
    """Four cases of three patients in two folds; all cases' files have the same names."""
    cases = []
    for seed, name in enumerate(CASES):
        write_scan(tmp_path / "data" / name / "scan.nii.gz", seed)
        write_label_map(truth(seed), GRID, tmp_path / "data" / name / "truth.mha")
        cases.append(
            Case(
                name,
                (f"{name}/scan.nii.gz",),
                f"{name}/truth.mha",
                patient={"c": "p2", "d": "p3"}.get(name, "p1"),
                fold=0 if name in "ab" else 1,
            )
        )
    split = Split(train=("a", "b"), validation=("c",), test=("d",), about="of the paper")
    return Manifest(
        "noise", ("MRI",), VALUES, tuple(cases), splits={"paper": split}, dataset_dir=str(tmp_path / "data")
    )


@pytest.fixture
def score(bundle, dataset, tmp_path):
    """Return a function that evaluates the bundle; `change` gets the manifest."""

    def run(change=lambda manifest: manifest, bundle=bundle, **options):
        path = tmp_path / "noise.json"
        write_manifest(change(dataset), path)
        named = {
            name: options.pop(name)
            for name in ("weights", "configs", "overrides", "device")
            if name in options
        }
        evaluate_options = EvaluateOptions(**{"split": "0", "precision": "float32", **options})
        return evaluate(BundleSource(bundle, **named), str(path), tmp_path / "out", evaluate_options)

    return run


def with_cases(manifest, **changes):
    return Manifest(**{**vars(manifest), **changes})


def summary_of(tmp_path):
    return json.loads((tmp_path / "out" / "summary.json").read_text())


def picture(dataset, tmp_path, name):
    return content_sha256([read_volume(tmp_path / "data" / name / "scan.nii.gz")])


@pytest.mark.slow
def test_cases_are_matched_by_the_manifest_and_values_by_name(score, tmp_path):
    evaluation = score()

    assert [(row.case, row.patient) for row in evaluation.scores.rows] == [("a", "p1"), ("b", "p1")]
    for row, seed in zip(evaluation.scores.rows, (0, 1), strict=True):
        predicted = read_volume(tmp_path / "out" / "predictions" / f"{row.case}.nii.gz").array
        for index, (label, stored) in enumerate(((1, 10), (2, 20))):
            both = np.sum((predicted == label) & (truth(seed) == stored))
            total = np.sum(predicted == label) + np.sum(truth(seed) == stored)
            assert row.metrics.dice[index] == pytest.approx(2 * both / total)
    about = summary_of(tmp_path)["about"]
    assert about["part"] == "fold 0"
    assert about["manifest"]["name"] == "noise"
    assert about["weights"][0]["sha256"]
    assert "command" in about


@pytest.mark.slow
def test_the_page_has_data_card_model_and_configuration(score, tmp_path):
    score()

    text = (tmp_path / "out" / "report.html").read_text()
    for passage in (
        "<dt>data set</dt><dd>noise</dd>",
        "<dd>background (stored 0), Anterior (stored 10), posterior (stored 20)</dd>",
        "<dd>1 of the cases scored</dd>",
        "<dt>intended use</dt><dd>Research only.",
        "<summary>Configuration of the bundle</summary>",
        "window_size:",
        "<dt>computed</dt><dd>on cpu in float32</dd>",
    ):
        assert passage in text


@pytest.mark.parametrize(
    ("options", "name", "cases"),
    [
        ({"split": "1"}, "fold 1", ["c", "d"]),
        ({"split": "paper"}, "test of paper", ["d"]),
        ({"split": "paper", "part": "validation"}, "validation of paper", ["c"]),
        ({"split": "train"}, "train", ["a", "b", "c", "d"]),
    ],
)
@pytest.mark.slow
def test_parts(score, tmp_path, options, name, cases):
    evaluation = score(**options)

    assert [row.case for row in evaluation.scores.rows] == cases
    assert summary_of(tmp_path)["about"]["part"] == name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"split": "test"},
            "no case of test is listed; the manifest has the folds 0, 1, the splits paper, 4 training",
        ),
        ({"split": "7"}, "there is no fold 7; the manifest has 0, 1"),
        ({"split": "article"}, "there is no split 'article'"),
        ({"split": "0", "part": "test"}, "--part test is given, but 0 is no named split of noise"),
        (
            {"groups": {"any": ["nothing"]}},
            r"--group \(groups in YAML\): nothing are not among the manifest's classes",
        ),
        ({"groups": {"any": ["posterior"]}}, "labels differ"),
        ({"precision": "double"}, "precision"),
        ({"tolerance_mm": -1.0}, "tolerance -1 mm"),
    ],
)
def test_what_is_not_there_is_refused(score, tmp_path, options, message):
    with pytest.raises(SegpipeError, match=message):
        score(**options)
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_segmented(score, tmp_path):
    (tmp_path / "out" / "report.html").mkdir(parents=True)

    with pytest.raises(SegpipeError, match=r"report\.html: is a folder, where a file of this name"):
        score()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]


def test_cases_that_cannot_be_read_checked_or_segmented_are_told_and_in_no_mean(score, tmp_path):
    (tmp_path / "data/b/truth.mha").unlink()
    write_label_map(np.full(SIZE, 7, np.uint8), GRID, tmp_path / "data/c/truth.mha")

    def without_label(manifest):
        *cases, last = (Case(**{**vars(case), "fold": None}) for case in manifest.training)
        unlabelled = Case("d", last.images, None)
        training = Case("e", ("e.nii.gz",), "e_truth.nii.gz")
        return with_cases(manifest, training=(training,), test=(*cases, unlabelled), splits={})

    evaluation = score(without_label, split="test")

    assert [row.case for row in evaluation.scores.rows] == ["a"]
    assert evaluation.scores.without_prediction == ("b", "c", "d")
    assert "missing below" in evaluation.scores.reasons["b"]
    assert "holds the value(s) 7" in evaluation.scores.reasons["c"]
    assert evaluation.scores.reasons["d"] == "the manifest has no label map of it"
    assert summary_of(tmp_path)["reasons"] == dict(evaluation.scores.reasons)


@pytest.mark.slow
def test_another_file_than_the_manifests_is_not_scored(score, tmp_path):
    def summed(manifest):
        return with_cases(
            manifest,
            training=tuple(
                Case(**{**vars(case), "sha256": {case.images[0]: "0" * 64} if case.case == "a" else {}})
                for case in manifest.training
            ),
        )

    evaluation = score(summed)

    assert [row.case for row in evaluation.scores.rows] == ["b"]
    assert "SHA-256" in evaluation.scores.reasons["a"]
    assert len(score(summed, checksums=False).scores.rows) == 2


def test_nothing_scored_is_one_message(score, tmp_path):
    for name in "ab":
        (tmp_path / "data" / name / "scan.nii.gz").write_bytes(b"")

    with pytest.raises(SegpipeError, match="fold 0 of noise: none of 2 cases can be scored: a: a/scan"):
        score()


@pytest.mark.slow
def test_a_label_map_that_was_corrected_is_not_the_networks(score, tmp_path):
    score()
    write_label_map(truth(0) // 10, GRID, tmp_path / "out/predictions/a.nii.gz")

    evaluation = score()

    assert [row.case for row in evaluation.scores.rows] == ["b"]
    assert "was corrected by hand and is no longer the network's" in evaluation.scores.reasons["a"]


@pytest.mark.slow
def test_what_is_done_is_not_segmented_again(score, tmp_path):
    first = score()
    stamp = (tmp_path / "out/predictions/a.nii.gz").stat().st_mtime_ns

    again = score()

    assert (tmp_path / "out/predictions/a.nii.gz").stat().st_mtime_ns == stamp
    assert [row.metrics.dice.tolist() for row in again.scores.rows] == [
        row.metrics.dice.tolist() for row in first.scores.rows
    ]


@pytest.mark.parametrize("modality", [("FLAIR", "T1c"), ("T1c", "FLAIR")])
@pytest.mark.slow
def test_channels_of_a_case_are_matched_by_name(score, tmp_path_factory, tmp_path, modality):
    two_channels = write_two_channel_bundle(tmp_path_factory.mktemp("two") / "bundle")
    for seed, name in enumerate(CASES):
        write_scan(tmp_path / "data" / name / "second.nii.gz", 10 + seed)
    names = ("scan", "second") if modality[0] == "FLAIR" else ("second", "scan")

    def channels(manifest):
        images = {
            case.case: tuple(f"{case.case}/{name}.nii.gz" for name in names) for case in manifest.training
        }
        cases = tuple(Case(**{**vars(case), "images": images[case.case]}) for case in manifest.training)
        return with_cases(manifest, training=cases, modality=modality)

    evaluation = score(channels, bundle=two_channels)

    apart = tmp_path / "apart"
    for channel, name in (("flair", "scan"), ("t1c", "second")):
        apart.mkdir(exist_ok=True)
        shutil.copy(tmp_path / "data" / "a" / f"{name}.nii.gz", apart / f"a_{channel}.nii.gz")
    segpipe.predict(apart, two_channels, tmp_path / "by_folder")
    predicted, expected = (
        read_volume(path).array
        for path in (tmp_path / "out" / "predictions" / "a.nii.gz", tmp_path / "by_folder" / "a.nii.gz")
    )
    assert [row.case for row in evaluation.scores.rows] == ["a", "b"]
    assert np.array_equal(predicted, expected)


def test_a_manifest_of_other_channels_is_refused(score, tmp_path_factory, tmp_path):
    two_channels = write_two_channel_bundle(tmp_path_factory.mktemp("two") / "bundle")

    def channels(manifest):
        cases = tuple(
            Case(**{**vars(case), "images": (case.images[0], f"{case.case}/second.nii.gz")})
            for case in manifest.training
        )
        return with_cases(manifest, training=cases, modality=("T2", "PD"))

    for name in CASES:
        write_scan(tmp_path / "data" / name / "second.nii.gz", 5)
    with pytest.raises(
        SegpipeError, match="noise: modality T2, PD must name each channel of the bundle once: FLAIR, T1c"
    ):
        score(channels, bundle=two_channels)


class TestWhatWasTrainedOn:
    def weights(self, bundle, tmp_path, **training):
        return [write_weights(bundle, tmp_path / "weights" / "run.pt", 1, **training)]

    @pytest.mark.slow
    def test_unknown_training_cases_are_a_warning(self, score):
        (warning,) = score().warnings

        assert warning.startswith("The training cases of model.pt are not known")

    @pytest.mark.slow
    def test_held_out_cases_have_no_warning(self, score, bundle, dataset, tmp_path):
        weights = self.weights(bundle, tmp_path, cases={"x": "0" * 64}, manifest={"name": "another"})

        assert score(weights=weights).warnings == []

    @pytest.mark.slow
    def test_a_training_image_under_another_name_is_a_warning(self, score, bundle, dataset, tmp_path):
        weights = self.weights(bundle, tmp_path, cases={"z": picture(dataset, tmp_path, "b")})

        (warning,) = score(weights=weights).warnings

        assert warning.startswith("NOT HELD OUT: the weights were trained on 1 of these 2 cases (b)")
        assert summary_of(tmp_path)["about"]["warnings"] == [warning]
        assert "NOT HELD OUT" in (tmp_path / "out/report.html").read_text().split("<h2>Scores</h2>")[0]

    def test_another_case_of_a_training_patient_is_a_warning(self, score, bundle, tmp_path):
        weights = self.weights(bundle, tmp_path, cases={"a": "0" * 64}, manifest={"name": "noise"})

        def with_test_of_p1(manifest):
            a, b, *_ = (Case(**{**vars(case), "fold": None}) for case in manifest.training)
            return with_cases(manifest, training=(a,), test=(b,), splits={})

        (warning,) = score(with_test_of_p1, weights=weights, split="test").warnings

        assert "trained on other cases of the same patients as 1 of these 1 cases (b)" in warning

    @pytest.mark.slow
    def test_an_epoch_chosen_by_these_cases_is_a_warning(self, score, bundle, dataset, tmp_path):
        weights = self.weights(
            bundle,
            tmp_path,
            cases={"x": "0" * 64},
            validation={"dice": 0.5},
            validation_cases={"a": picture(dataset, tmp_path, "a")},
        )

        (warning,) = score(weights=weights).warnings

        assert "epoch of the weights was chosen on 1 of these 2 cases" in warning


class TestCard:
    @pytest.fixture
    def bundle_copy(self, bundle, tmp_path):
        """A copy of the bundle for writing; the sidecar of its weights lists the training cases."""
        copy = tmp_path / "own"
        shutil.copytree(bundle, copy)
        (copy / "docs").mkdir()
        (copy / "docs" / "README.md").write_text("# tiny\n\nMore.\n")
        write_weights(copy, copy / "models" / "model.pt", 1, cases={"x": "0" * 64}, fold=0, epoch=3)
        return copy

    @pytest.mark.slow
    def test_results_stand_in_the_readme_and_the_metadata(self, score, bundle_copy, tmp_path):
        before = (bundle_copy / "configs" / "metadata.json").read_text()

        evaluation = score(bundle=bundle_copy, card=True)

        assert [path.name for path in evaluation.card] == ["README.md", "metadata.json"]
        text = (bundle_copy / "docs" / "README.md").read_text()
        dice = evaluation.summary.by_class["anterior"]["dice"].interval
        assert text.startswith("# tiny\n\nMore.\n")
        assert f"| anterior | {dice.mean:.3f} " in text
        assert (
            "Fold 0 of the manifest noise: 2 cases of 1 patients." in text or "2 cases of 1 patient." in text
        )
        assert "--split 0" in text
        assert str(tmp_path) not in text
        after = (bundle_copy / "configs" / "metadata.json").read_text()
        assert str(tmp_path) not in after
        assert after.startswith(before.split('"eval_metrics"')[0])  # a key before those of an evaluation
        assert after.endswith(before.split('"intended_use"')[1])
        metadata = json.loads(after)
        assert metadata["eval_metrics"]["anterior_dice"] == round(dice.mean, 4)
        assert metadata["evaluation"]["cases"] == 2
        assert metadata["evaluation"]["weights"][0]["in_models"] is True

    @pytest.mark.slow
    def test_a_second_time_replaces_the_first(self, score, bundle_copy, tmp_path):
        score(bundle=bundle_copy, card=True)
        once = {
            path: path.read_text()
            for path in (bundle_copy / "docs/README.md", bundle_copy / "configs/metadata.json")
        }
        (bundle_copy / "docs/README.md").write_text(
            once[bundle_copy / "docs/README.md"] + "\n## Where it fails\n"
        )

        score(bundle=bundle_copy, card=True)

        assert (bundle_copy / "docs/README.md").read_text() == once[
            bundle_copy / "docs/README.md"
        ] + "\n## Where it fails\n"
        assert (bundle_copy / "configs/metadata.json").read_text() == once[
            bundle_copy / "configs/metadata.json"
        ]

    @pytest.mark.slow
    def test_what_was_predicted_before_stays_so(self, score, bundle_copy, tmp_path):
        """Neither weights nor label maps depend on the text of the card."""
        score(bundle=bundle_copy, card=True)
        label_map = tmp_path / "out/predictions/a.nii.gz"
        stamp, content = label_map.stat().st_mtime_ns, file_sha256(label_map)

        score(bundle=bundle_copy)

        assert (label_map.stat().st_mtime_ns, file_sha256(label_map)) == (stamp, content)

    @pytest.mark.slow
    def test_weights_that_are_not_the_bundles_are_said_to_be_others(self, score, bundle_copy, tmp_path):
        other = write_weights(bundle_copy, tmp_path / "runs" / "fold0.pt", 2, cases={"x": "0" * 64})

        score(bundle=bundle_copy, card=True, weights=[other])

        text = (bundle_copy / "docs/README.md").read_text()
        assert "**not the weights in `models/`**" in text
        assert "--weights fold0.pt" in text

    @pytest.mark.parametrize(
        ("training", "message"),
        [
            (
                lambda sha256: {"cases": {"a": sha256}},
                "--card: the weights were trained on 1 of these 2 cases",
            ),
            (lambda sha256: {}, "--card: the training cases of model.pt are not known"),
        ],
    )
    def test_cases_that_were_trained_on_are_refused(
        self, score, bundle_copy, dataset, tmp_path, training, message
    ):
        write_weights(
            bundle_copy,
            bundle_copy / "models/model.pt",
            1,
            **training(picture(dataset, tmp_path, "a")),
        )
        before = (bundle_copy / "configs/metadata.json").read_text()

        with pytest.raises(SegpipeError, match=message):
            score(bundle=bundle_copy, card=True)

        assert (bundle_copy / "configs/metadata.json").read_text() == before
        assert not (tmp_path / "out").exists()

    @pytest.mark.slow
    def test_a_readme_with_half_a_mark_is_refused(self, score, bundle_copy):
        score(bundle=bundle_copy, card=True)
        readme = bundle_copy / "docs/README.md"
        readme.write_text(readme.read_text().replace("end -->", "-->"))

        with pytest.raises(SegpipeError, match="has not one of each of the comments"):
            score(bundle=bundle_copy, card=True)

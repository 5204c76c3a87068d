"""`segpipe predict` with a bundle that classifies: output, exit status, options of the other task."""

import pytest
from tiny_bundle import write_bundle
from tiny_classifier import write_classifier, write_images
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.csv_files import read_csv


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_classifier(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", 2)


@pytest.fixture
def predict(bundle, images, tmp_path):
    def run(*arguments, bundle=bundle):
        command = ["predict", str(images), "--bundle", str(bundle), "-o", str(tmp_path / "out"), *arguments]
        return CliRunner().invoke(app, command, catch_exceptions=False)

    return run


def one_line(text):
    return " ".join(text.split())


def test_a_summary(predict, tmp_path):
    done = predict()

    assert done.exit_code == 0, done.output
    assert "2 images: 2 done" in done.stdout
    assert "out: predictions.csv, predictions.jsonl, predict.log" in one_line(done.stdout)
    assert len(read_csv(tmp_path / "out" / "predictions.csv")) == 2
    assert "2 images: 2 skipped" in predict().stdout


def test_a_bad_image_is_exit_status_1(predict, images):
    (images / "cut.png").write_bytes((images / "image_000.png").read_bytes()[:100])

    done = predict("--quiet")

    assert done.exit_code == 1
    assert done.stdout == ""
    assert "cut.png: truncated or corrupt" in one_line(done.stderr.replace("│", ""))


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["--heatmaps"], "gradcam"),
        (["--heatmaps", "occlusion"], "occlusion"),
        (["--heatmaps=gradcam"], "gradcam"),
    ],
)
def test_heatmaps_alone_or_with_a_kind(predict, monkeypatch, arguments, kind):
    calls = []
    monkeypatch.setattr(
        "segpipe.prediction.classify.classify", lambda **given: calls.append(given["options"].heatmaps) or []
    )

    assert predict(*arguments).exit_code == 0
    assert calls == [kind]


def test_heatmaps_before_the_images(bundle, images, tmp_path):
    command = ["predict", "--heatmaps", str(images), "--bundle", str(bundle), "-o", str(tmp_path / "out")]

    done = CliRunner().invoke(app, command, catch_exceptions=False)

    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "heatmaps" / "image_000.png.png").exists()
    assert "where the network looked, not where the disease is" in one_line(done.stdout)


def test_a_dry_run_writes_nothing(predict, images, tmp_path):
    (images / "cut.png").write_bytes((images / "image_000.png").read_bytes()[:100])

    done = predict("--dry-run", "--heatmaps", "occlusion")

    assert done.exit_code == 1
    assert "2 of 3 images to classify: about" in one_line(done.stdout)
    assert not (tmp_path / "out").exists()


def test_options_of_a_segmentation_are_one_message(predict, bundle, tmp_path):
    done = predict(
        *("--regions", "--format", "nrrd", "--entropy", "--probabilities", "--frames", "all"),
        *("--skip-empty", "0.1", "--resample-channels", "--no-overlays", "--series-uid", "1.2"),
    )

    assert done.exit_code == 2
    assert one_line(done.stderr) == (
        "segpipe: --skip-empty, --format, --series-uid, --entropy, --probabilities, --regions, --resample-channels, "
        f"--frames, --no-overlays: only for bundles that segment, and {bundle} classifies images; leave them out"
    )
    assert not (tmp_path / "out").exists()


def test_heatmaps_of_a_segmentation(predict, tmp_path):
    segmenter = write_bundle(tmp_path / "segmenter")

    done = predict("--heatmaps", bundle=segmenter)

    assert done.exit_code == 2
    assert "--heatmaps: only for bundles that classify, and" in one_line(done.stderr)


def test_an_empty_folder(bundle, tmp_path):
    (tmp_path / "none").mkdir()
    command = ["predict", str(tmp_path / "none"), "--bundle", str(bundle), "-o", str(tmp_path / "out")]

    done = CliRunner().invoke(app, command, catch_exceptions=False)

    assert done.exit_code == 2
    assert "none: no image there; segpipe reads" in one_line(done.stderr)


def test_a_table_without_an_image_column(bundle, tmp_path):
    (tmp_path / "list.csv").write_text("number,label\n1,CNV\n")
    command = ["predict", str(tmp_path / "list.csv"), "--bundle", str(bundle), "-o", str(tmp_path / "out")]

    done = CliRunner().invoke(app, command, catch_exceptions=False)

    assert done.exit_code == 2
    assert "a table needs a column image" in one_line(done.stderr)

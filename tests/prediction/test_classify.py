"""A cohort of images: one bad image stops no other, a killed run continues, and no foreign file is replaced."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_bundle import write_bundle, write_scans
from tiny_classifier import (
    CLASSES,
    FINDINGS,
    grey_image,
    write_classifier,
    write_image,
    write_images,
    write_x_ray,
)

import segpipe
from segpipe.bundle.source import BundleSource
from segpipe.csv_files import read_csv
from segpipe.errors import SegpipeError
from segpipe.prediction.classify import classify
from segpipe.prediction.image_options import ClassifyOptions
from segpipe.prediction.ledger import locked_folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_classifier(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", 5)


@pytest.fixture
def run(bundle, tmp_path):
    """Return a function that classifies and returns name -> prediction."""

    def classified(images, folder=None, **options):
        predictions = classify(
            images,
            options.pop("bundle", bundle),
            folder or tmp_path / "out",
            options=ClassifyOptions(**options),
        )
        return {prediction.case: prediction for prediction in predictions}

    return classified


def outcomes(predictions):
    return Counter(prediction.outcome.value for prediction in predictions.values())


def rows(folder):
    return {row["image"]: row for row in read_csv(folder / "predictions.csv")}


def entries(folder):
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    return {entry["case"]: entry for entry in map(json.loads, lines)}


def test_a_row_for_each_image(run, images, tmp_path):
    predictions = run(images)

    table = rows(tmp_path / "out")
    assert sorted(table) == sorted(predictions) == [f"image_00{place}.png" for place in range(5)]
    for name, prediction in predictions.items():
        assert sum(prediction.probabilities) == pytest.approx(1)
        assert prediction.decision == prediction.top(1)[0] == table[name]["decision"]
        best = int(np.argmax(prediction.probabilities))
        assert prediction.decision == CLASSES.names[best]
        assert [table[name][f"top{rank}"] for rank in (1, 2, 3)] == prediction.top()
        for label, probability in zip(CLASSES.names, prediction.probabilities, strict=True):
            assert float(table[name][f"p_{label}"]) == pytest.approx(probability, abs=1e-6)


def test_bad_images_stop_no_other(run, images, tmp_path):
    """Each has its reason in the ledger, and no row in the table."""
    whole = (images / "image_000.png").read_bytes()
    (images / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("CMYK", (20, 20), (0, 20, 40, 60)).save(images / "cmyk.jpg")
    frames = [Image.fromarray(grey_image(seed)) for seed in range(2)]
    frames[0].save(images / "animated.png", save_all=True, append_images=frames[1:])
    Image.fromarray(np.full((20, 20), 7, np.uint8)).save(images / "blank.png")

    predictions = run(images)

    assert outcomes(predictions) == {"done": 5, "failed": 4}
    reasons = {name: one.reason for name, one in predictions.items() if one.outcome == "failed"}
    for name, text in {
        "cut.png": "truncated or corrupt",
        "cmyk.jpg": "JPEG of 8 bits with 4 components",
        "animated.png": "several frames (animated PNG)",
        "blank.png": "a blank image",
    }.items():
        assert text in reasons[name], reasons[name]
        assert entries(tmp_path / "out")[name]["reason"] == reasons[name]
    assert len(rows(tmp_path / "out")) == 5


def test_an_inverted_x_ray_is_the_same_image(run, tmp_path):
    """MONOCHROME1 stores white as 0."""
    pixels = grey_image(3)
    write_x_ray(tmp_path / "images" / "a.dcm", pixels)
    write_x_ray(tmp_path / "images" / "b.dcm", 255 - pixels, "MONOCHROME1")

    predictions = run(tmp_path / "images")

    np.testing.assert_allclose(
        predictions["a.dcm"].probabilities, predictions["b.dcm"].probabilities, atol=1e-6
    )


def test_findings_at_their_thresholds(tmp_path, run, images):
    bundle = write_classifier(tmp_path / "findings", FINDINGS)

    predictions = run(images, bundle=bundle)

    for prediction in predictions.values():
        present = [
            name for name, value in zip(FINDINGS.names, prediction.probabilities, strict=True) if value >= 0.4
        ]
        assert prediction.decision == ("|".join(present) or "No Finding")


def test_finished_images_are_skipped(run, images, tmp_path):
    run(images)
    before = (tmp_path / "out" / "predictions.csv").read_bytes()
    write_image(images / "new.png", 99)

    predictions = run(images)

    assert outcomes(predictions) == {"skipped": 5, "done": 1}
    assert predictions["image_000.png"].decision == rows(tmp_path / "out")["image_000.png"]["decision"]
    (images / "new.png").unlink()
    (tmp_path / "out2").mkdir()
    run(images, tmp_path / "out2")
    assert (tmp_path / "out2" / "predictions.csv").read_bytes() == before


def test_a_changed_image_or_other_weights_are_classified_again(run, images, tmp_path):
    run(images)
    write_image(images / "image_001.png", 77)

    assert outcomes(run(images)) == {"skipped": 4, "done": 1}
    other = write_classifier(tmp_path / "other", seed=5)
    assert outcomes(run(images, bundle=other)) == {"done": 5}


def test_after_a_failure_an_image_has_no_row(run, images, tmp_path):
    run(images)
    (images / "image_002.png").write_bytes(b"no image")

    predictions = run(images)

    assert outcomes(predictions) == {"skipped": 4, "failed": 1}
    assert "image_002.png" not in rows(tmp_path / "out")


def test_one_bad_image_in_a_batch(run, images, monkeypatch):
    """The network fails on a batch: each image is tried by itself."""
    from segpipe.prediction.classifier import Classifier

    compute, bad = Classifier._batch, Classifier.read

    def read(self, path):
        image = bad(self, path)
        return image * np.nan if path.endswith("image_003.png") else image

    def fails(self, batch):
        if len(set(batch.isfinite().flatten(1).all(1).tolist())) > 1:
            raise RuntimeError("a kernel failed")
        return compute(self, batch)

    monkeypatch.setattr(Classifier, "read", read)
    monkeypatch.setattr(Classifier, "_batch", fails)
    predictions = run(images)

    assert outcomes(predictions) == {"done": 4, "failed": 1}
    assert "3 of 3 values of the network are NaN" in predictions["image_003.png"].reason


def test_images_of_several_shapes(tmp_path, run):
    """A chain without resizing: images of one shape share a batch."""
    chain = [
        {"_target_": "monai.transforms.SpatialPadd", "keys": "image", "spatial_size": [16, 16]},
    ]
    network = {
        "_target_": "monai.networks.nets.DenseNet121",
        "spatial_dims": 2,
        "in_channels": 3,
        "out_channels": 3,
        "init_features": 4,
        "growth_rate": 2,
        "block_config": [1, 1],
    }
    bundle = write_classifier(
        tmp_path / "any",
        deterministic_transforms=chain,
        network_def=network,
        heatmap_layer=None,
    )
    for place, size in enumerate([(40, 40), (40, 40), (50, 44), (40, 40)]):
        write_image(tmp_path / "images" / f"{place}.png", place, size)

    together = run(tmp_path / "images", bundle=bundle)
    alone = run(tmp_path / "images", tmp_path / "out1", bundle=bundle, batch_size=1, jobs=3)

    assert outcomes(together) == {"done": 4}
    for name, prediction in together.items():
        np.testing.assert_allclose(prediction.probabilities, alone[name].probabilities, atol=1e-6)


def test_a_full_disk_ends_the_run_and_the_next_run_continues(run, images, tmp_path, monkeypatch):
    from segpipe.prediction.ledger import Ledger

    append = Ledger.append

    def full(self, *added):
        if any(one.case == "image_003.png" for one in added):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, *added)

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "append", full)
        with pytest.raises(SegpipeError, match=r"No space left on device.*free some space"):
            run(images, batch_size=2)

    assert outcomes(run(images)) == {"skipped": 2, "done": 3}


CHILD = """
import sys, time
from segpipe.prediction.classifier import Classifier
from segpipe.prediction.classify import classify
from segpipe.prediction.image_options import ClassifyOptions

compute = Classifier._batch
def slow(self, batch):
    time.sleep(0.3)
    return compute(self, batch)
Classifier._batch = slow
classify(sys.argv[1], sys.argv[2], sys.argv[3], options=ClassifyOptions(batch_size=2))
"""


@pytest.mark.slow
def test_a_killed_run_continues(run, bundle, tmp_path):
    images, out = write_images(tmp_path / "images", 20), tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(images), str(bundle), str(out)])
    ledger = out / "predictions.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (not ledger.exists() or ledger.read_text().count("\n") < 4):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    finished = len(entries(out))
    assert 4 <= finished < 20
    assert outcomes(run(images)) == {"skipped": finished, "done": 20 - finished}
    run(images, tmp_path / "clean")
    ours, clean = (rows(folder) for folder in (out, tmp_path / "clean"))
    assert list(ours) == list(clean)
    for name, row in ours.items():
        for column in ("p_CNV", "p_DME", "p_NORMAL"):
            assert float(row[column]) == pytest.approx(float(clean[name][column]), abs=1e-5)


def test_a_second_run_into_one_folder(run, images, tmp_path):
    with locked_folder(tmp_path / "out"), pytest.raises(SegpipeError, match="another segpipe writes there"):
        run(images)


class TestRefusedFolders:
    def test_an_empty_folder(self, run, tmp_path):
        (tmp_path / "images").mkdir()
        with pytest.raises(SegpipeError, match="images: no image there; segpipe reads"):
            run(tmp_path / "images")

    def test_outputs_among_the_images(self, run, images):
        with pytest.raises(SegpipeError, match="lies inside the folder of images"):
            run(images, images / "out")

    def test_a_table_of_another_program(self, run, images, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "predictions.csv").write_text("name,score\na,1\n")
        with pytest.raises(SegpipeError, match=r"predictions\.csv: was not written by segpipe"):
            run(images)

    def test_other_classes(self, run, images, tmp_path):
        run(images)
        findings = write_classifier(tmp_path / "findings", FINDINGS)
        with pytest.raises(
            SegpipeError, match=r"holds images classified as CNV, DME, NORMAL .* Effusion, Mass"
        ):
            run(images, bundle=findings)

    @pytest.mark.slow
    def test_a_segmented_cohort(self, run, images, tmp_path):
        segmenter = write_bundle(tmp_path / "segmenter")
        scans = write_scans(tmp_path / "scans", 1)
        segpipe.predict(scans, segmenter, tmp_path / "out")
        with pytest.raises(SegpipeError, match=r"holds segmented scans .* choose another --output"):
            run(images)
        run(images, tmp_path / "other")
        with pytest.raises(SegpipeError, match="holds images classified as CNV"):
            segpipe.predict(scans, segmenter, tmp_path / "other")

    def test_two_images_of_one_name(self, run, tmp_path):
        for folder in ("first", "second"):
            write_image(tmp_path / folder / "a.png")
        write_image(tmp_path / "first" / "b.png")

        predictions = run([tmp_path / "first", tmp_path / "second"])

        assert outcomes(predictions) == {"done": 1, "failed": 1}  # two failures of one name
        assert "has the name a.png in predictions.csv" in predictions["a.png"].reason

    def test_another_image_of_a_known_name(self, run, images, tmp_path):
        run(images)
        write_image(tmp_path / "later" / "image_000.png", 50)

        (refused,) = run(tmp_path / "later").values()
        assert "has an image image_000.png already, of another file" in refused.reason
        assert "image_000.png" in rows(tmp_path / "out")
        (replaced,) = run(tmp_path / "later", overwrite=True).values()
        assert replaced.outcome == "done"


class TestHeatmaps:
    @pytest.fixture
    def images(self, tmp_path):
        return write_images(tmp_path / "images", 2)

    def test_a_picture_an_image(self, run, images, tmp_path):
        predictions = run(images, heatmaps="gradcam")

        for name, prediction in predictions.items():
            assert prediction.heatmap == tmp_path / "out" / "heatmaps" / f"{name}.png"
            picture = np.asarray(Image.open(prediction.heatmap))
            assert np.ptp(picture.astype(int), axis=-1).max() > 50  # the map has colours, the image is grey
        assert outcomes(run(images, heatmaps="gradcam")) == {"skipped": 2}
        assert (tmp_path / "out" / "heatmaps" / ".segpipe-ignore").exists()

    @pytest.mark.slow
    def test_a_lost_picture_is_drawn_again(self, run, images, tmp_path):
        run(images, heatmaps="gradcam")
        (tmp_path / "out" / "heatmaps" / "image_001.png.png").unlink()

        assert outcomes(run(images, heatmaps="gradcam")) == {"skipped": 1, "done": 1}

    @pytest.mark.slow
    def test_without_heatmaps_those_of_before_go(self, run, images, tmp_path):
        """The table and the pictures of a folder belong together."""
        run(images, heatmaps="gradcam")
        changed = tmp_path / "out" / "heatmaps" / "image_001.png.png"
        changed.write_bytes(b"mine")

        assert outcomes(run(images)) == {"done": 2}
        assert sorted((tmp_path / "out" / "heatmaps").glob("*.png")) == [changed]

    def test_a_file_of_another_program_stays(self, run, images, tmp_path):
        mine = tmp_path / "out" / "heatmaps" / "image_000.png.png"
        mine.parent.mkdir(parents=True)
        mine.write_bytes(b"mine")

        predictions = run(images, heatmaps="gradcam")

        assert outcomes(predictions) == {"done": 1, "failed": 1}
        assert "was not written by segpipe" in predictions["image_000.png"].reason
        assert mine.read_bytes() == b"mine"
        assert outcomes(run(images, heatmaps="gradcam", overwrite=True)) == {"skipped": 1, "done": 1}

    def test_each_decided_finding_three_at_most(self, tmp_path, run, images):
        bundle = write_classifier(tmp_path / "findings", FINDINGS)
        drawn = []

        def caption(image, maps, names, probabilities, title, kind):
            drawn.append((title, tuple(names)))
            return np.zeros((4, 4, 3), np.uint8)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("segpipe.prediction.image_run.heatmap_picture", caption)
            predictions = run(images, bundle=bundle, heatmaps="gradcam")

        for name, prediction in predictions.items():
            present = [one for one in prediction.top(4) if one in prediction.decision.split("|")]
            assert dict(drawn).get(name, ()) == tuple(present[:3])
            assert (prediction.heatmap is None) == (not present)

    def test_the_cost_of_occlusion_is_told_first(self, bundle, images, tmp_path):
        told = []
        classify(
            images,
            bundle,
            tmp_path / "out",
            options=ClassifyOptions(heatmaps="occlusion"),
            report=told.append,
        )

        (line,) = told
        assert line.startswith("occlusion: 225 forward passes for each image, 450 for 2 images: about ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "float8"}, "precision 'float8' is unknown"),
        ({"batch_size": 0}, "--batch-size .* is 0, must be at least 1"),
        ({"jobs": 0}, "--jobs is 0"),
        ({"heatmaps": "saliency"}, "--heatmaps is 'saliency', must be gradcam or occlusion"),
        ({"flips": (0, 0)}, "none may come twice"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(SegpipeError, match=message):
        ClassifyOptions(**options).check()


@pytest.mark.slow
def test_weights_of_one_s_own(bundle, images, tmp_path):
    other = write_classifier(tmp_path / "other", seed=4)
    source = BundleSource(bundle, weights=[other / "models" / "model.pt"])

    by_source = classify(images, source, tmp_path / "a")
    by_bundle = classify(images, other, tmp_path / "b")

    assert [one.probabilities for one in by_source] == [one.probabilities for one in by_bundle]


def test_a_path_that_does_not_exist(run):
    with pytest.raises(SegpipeError, match="no such file or folder"):
        run(Path("/nowhere/at/all"))

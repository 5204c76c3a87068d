"""Images that are almost the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_images import class_manifest, pixels, save, write_images
from PIL import Image
from skimage.filters import gaussian

from segpipe.dataset import examine_images
from segpipe.dataset.near_copies import near_copies


def picture(seed):
    """Return smooth 8-bit structure of 96 x 80 pixels, as of an organ."""
    smooth = gaussian(np.random.default_rng(seed).normal(size=(96, 80)), 6)
    return (20 + 200 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


def found(manifest, folder):
    reports = examine_images(manifest.training, folder, manifest, progress=False)
    pairs = [(case, report.facts) for case, report in zip(manifest.training, reports, strict=True)]
    return [(one.severity, one.case, one.message) for one in near_copies(pairs)]


@pytest.fixture
def four(tmp_path):
    for number in range(4):
        save(tmp_path / f"c{number}.png", picture(number))
    return tmp_path


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((40, 48)),
        lambda image: image.point(lambda value: min(255, int(1.1 * value + 5))),
        lambda image: image.convert("RGB"),
    ],
    ids=["half the size", "brighter", "RGB with one grey level more"],
)
def test_a_picture_that_was_changed_a_little(change, four):
    changed = np.array(change(Image.fromarray(picture(0))))
    changed[0, 0] += 1  # other pixels, so another hash
    save(four / "c3.png", changed)

    ((severity, case, message),) = found(class_manifest("aabb"), four)

    assert (severity, case) == ("warning", "c3")
    assert message.startswith("looks almost like c0 with another label (a and b): their correlation is ")
    assert "remove one" in message


def test_a_picture_that_was_saved_again_as_jpeg(four):
    Image.fromarray(picture(1)).save(four / "again.jpg", quality=70)
    manifest = class_manifest("aaab")
    last = replace(manifest.training[3], images=("again.jpg",))

    ((_, case, message),) = found(replace(manifest, training=(*manifest.training[:3], last)), four)

    assert case == "c3"
    assert message.startswith("looks almost like c1 with another label (a and b)")


def test_other_pictures_and_noise_are_not_alike(four, tmp_path):
    assert found(class_manifest("aabb"), four) == []
    assert (
        found(class_manifest("ab" * 5), write_images(tmp_path / "noise", [f"c{n}" for n in range(10)])) == []
    )


def test_equal_pixels_are_left_to_the_hash(four):
    save(four / "c3.png", picture(0))

    assert found(class_manifest("aabb"), four) == []


def test_images_of_one_patient_may_be_alike_unless_their_labels_differ(four):
    changed = picture(0)
    changed[0, 0] += 1
    save(four / "c3.png", changed)
    one_patient = ["p0", "p1", "p2", "p0"]

    assert found(class_manifest("aaba", patients=one_patient), four) == []
    assert [case for _, case, _ in found(class_manifest("aabb", patients=one_patient), four)] == ["c3"]


def test_a_correlation_by_hand(four):
    """c3 is c0 upside down in brightness: the correlation is -1, which is not alike."""
    save(four / "c3.png", 255 - picture(0))

    assert found(class_manifest("aabb"), four) == []


def test_almost_blank_images_are_not_alike(tmp_path):
    for number in range(2):
        image = np.full((24, 20), 100, np.uint8)
        image[number, 0] += 1
        save(tmp_path / f"c{number}.png", image)
    save(tmp_path / "c2.png", pixels(2))

    assert found(class_manifest("aab"), tmp_path) == []


def test_images_without_a_thumbnail_are_not_compared(four):
    """Facts of another program than `data check` may lack it."""
    save(four / "c3.png", picture(0))
    manifest = class_manifest("aabb")
    reports = examine_images(manifest.training, four, manifest, progress=False)
    facts = [replace(report.facts, content_sha256=report.case) for report in reports]
    facts[1] = replace(facts[1], thumbnail=np.zeros(0, np.float16))

    findings = near_copies(list(zip(manifest.training, facts, strict=True)))

    assert [one.case for one in findings] == ["c3"]

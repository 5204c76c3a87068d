"""Images that differ from their set, and forms of files that go with the class."""

from __future__ import annotations

import numpy as np
import pytest
from made_images import class_manifest, findings_manifest, pixels, save, write_images
from PIL import Image

from segpipe.dataset import examine_images
from segpipe.dataset.image_outliers import image_set_findings


def found(manifest, folder):
    """Return the messages of each case, or of all cases."""
    reports = examine_images(manifest.training, folder, manifest, progress=False)
    findings = image_set_findings(manifest, manifest.training, reports)
    return [(finding.severity, finding.case, finding.message) for finding in findings]


@pytest.fixture
def ten(tmp_path):
    return write_images(tmp_path, [f"c{number}" for number in range(10)])


def test_images_of_one_kind_have_no_findings(ten):
    assert found(class_manifest("ab" * 5), ten) == []


def test_rgb_among_grey(ten):
    save(ten / "c3.png", np.stack([pixels(3)] * 3, axis=-1))
    save(ten / "c4.png", np.stack([pixels(4), pixels(4), 0 * pixels(4)], axis=-1))

    messages = {case: message for _, case, message in found(class_manifest("ab" * 5), ten)}

    assert set(messages) == {"c3", "c4"}
    assert messages["c3"].startswith("is RGB with equal channels (grey), 8 of 10 images: grey;")
    assert messages["c4"].startswith("is in colour, 8 of 10 images: grey;")


@pytest.mark.parametrize(
    ("factor", "text"), [(257, "has 16 bits,"), (1, "has 16 bits with values of 8 bits,")]
)
def test_16_bits_among_8(factor, text, ten):
    Image.fromarray(pixels(5).astype(np.uint16) * factor).save(ten / "c5.png")

    ((severity, case, message),) = found(class_manifest("ab" * 5), ten)

    assert (severity, case) == ("warning", "c5")
    assert message.startswith(f"{text} 9 of 10 images: 8 bits;")


def test_sizes_that_differ_are_summed_up_and_odd_ones_named(ten):
    save(ten / "c0.png", pixels(0, (48, 40)))  # twice as large
    save(ten / "c1.png", pixels(1, (20, 24)))  # turned: 24 / 20 = 1.2 against 0.83 is a factor of 1.44

    findings = found(class_manifest("ab" * 5), ten)

    assert findings[0][1] == "all cases"
    assert "3 sizes (columns x rows): 8 of 20 x 24, 1 of 40 x 48, 1 of 24 x 20" in findings[0][2]
    assert [case for _, case, _ in findings[1:]] == ["c0", "c1"]
    assert "has 40 x 48 pixels (columns x rows), the set's median is 20 x 24" in findings[1][2]


def test_many_sizes_are_given_as_a_range(tmp_path):
    for number in range(5):
        save(tmp_path / f"c{number}.png", pixels(number, (20 + number, 30)))

    ((_, _, message),) = found(class_manifest("ababa"), tmp_path)

    assert "5 sizes (columns x rows): 30 to 30 columns, 20 to 24 rows" in message


def test_a_bright_image_of_little_contrast_is_odd(ten):
    save(ten / "c7.png", 225 + pixels(7) // 10)

    ((_, case, message),) = found(class_manifest("ab" * 5), ten)

    assert case == "c7"
    assert "mean 0.93 and standard deviation 0.03" in message


@pytest.mark.parametrize("target", ["class", "findings"])
def test_one_picture_with_two_labels_is_an_error(target, ten):
    save(ten / "c1.png", np.stack([pixels(0)] * 3, axis=-1))  # another file, the same picture as c0
    manifest = class_manifest("ab" * 5)
    if target == "findings":
        manifest = findings_manifest([("Effusion",), ("Effusion", "Mass")] * 5)

    errors = [(case, message) for severity, case, message in found(manifest, ten) if severity == "error"]

    ((case, message),) = errors
    assert case == "c1"
    second = "b" if target == "class" else "Effusion | Mass"
    assert f"c1 is {second}; keep the right one" in message


def test_a_size_that_goes_with_the_class_is_reported(tmp_path):
    """20 of 20 images of a are wide, 2 of 20 of b: Cramér's V of [[20, 2], [0, 18]] is 0.905."""
    for number in range(40):
        is_wide = number % 2 == 0 or number in (1, 3)
        save(tmp_path / f"c{number}.png", pixels(number, (20, 30 if is_wide else 20)))

    messages = [message for _, _, message in found(class_manifest("ab" * 20), tmp_path)]

    (message,) = [message for message in messages if "goes with the class" in message]
    assert "20 x 20 are 0 % of a, 90 % of b (Cramér's V 0.90)" in message


def test_a_size_that_does_not_go_with_the_class_is_no_shortcut(tmp_path):
    for number in range(40):
        save(tmp_path / f"c{number}.png", pixels(number, (20, 30 if number % 4 < 2 else 20)))

    assert not any("goes with" in message for _, _, message in found(class_manifest("ab" * 20), tmp_path))


def test_one_picture_with_a_finding_and_without_has_two_labels(tmp_path):
    write_images(tmp_path, ["c0", "c1"])
    save(tmp_path / "c2.png", pixels(0))

    ((severity, case, message),) = found(findings_manifest([[], ["Mass"], ["Mass"]]), tmp_path)

    assert (severity, case) == ("error", "c2")
    assert message.startswith("one picture has two labels: c0 is No Finding; c2 is Mass;")


def test_an_unknown_finding_contradicts_none(tmp_path):
    write_images(tmp_path, ["c0", "c1"])
    save(tmp_path / "c2.png", pixels(0))

    manifest = findings_manifest([[], ["Mass"], ["Mass"]], unknown=[["Mass"], [], []])

    assert found(manifest, tmp_path) == []

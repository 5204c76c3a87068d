"""Every image is read once; faults name the case, and facts recognise copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_images import class_manifest, findings_manifest, pixels, save, write_images
from PIL import Image

from segpipe.dataset import Case, examine_images, image_hashes_of_tests, require_valid_images
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256


def examined(manifest, folder, **options):
    return examine_images(manifest.training, folder, manifest, progress=False, **options)


def test_facts_of_an_image(tmp_path):
    """Two columns of 0 and 255: mean 1/2, standard deviation 1/2."""
    save(tmp_path / "c0.png", np.array([[0, 255], [0, 255], [0, 255]], np.uint8))

    (report,) = examined(class_manifest("a"), tmp_path)

    facts = report.facts
    assert report.findings == ()
    assert (facts.rows, facts.columns, facts.stored_bits, facts.bits) == (3, 2, 8, 8)
    assert (facts.is_rgb, facts.is_coloured, facts.is_inverted) == (False, False, False)
    assert (facts.mean, facts.deviation) == (0.5, 0.5)


def test_a_mask_among_images_is_warned_of(tmp_path):
    write_images(tmp_path, ["c1"])
    save(tmp_path / "c0.png", np.kron(np.eye(2), np.full((8, 8), 255)).astype(np.uint8))

    mask, image = examined(class_manifest("ab"), tmp_path)

    assert [finding.message.partition(",")[0] for finding in mask.findings] == ["only two different values"]
    assert image.findings == ()


def test_reports_have_the_order_of_the_cases_and_copies_one_hash(tmp_path):
    write_images(tmp_path, ["c0", "c1"])
    save(tmp_path / "c2.png", np.stack([pixels(0)] * 3, axis=-1))

    reports = examined(class_manifest("aba"), tmp_path)

    hashes = [report.facts.content_sha256 for report in reports]
    assert [report.case for report in reports] == ["c0", "c1", "c2"]
    assert hashes[0] == hashes[2] != hashes[1]


def broken(folder):
    (folder / "c0.png").write_bytes(b"no image")


def blank(folder):
    save(folder / "c0.png", np.full((4, 4), 9, np.uint8))


def cmyk(folder):
    Image.fromarray(pixels(0)).convert("CMYK").save(folder / "c0.png", "JPEG")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (broken, "not a .png file"),
        (blank, "a blank image"),
        (cmyk, "not a .png file"),
        (lambda folder: (folder / "c0.png").unlink(), "missing below"),
    ],
)
def test_an_image_that_cannot_be_used_is_an_error_of_its_case(spoil, message, tmp_path):
    manifest = class_manifest("ab")
    spoil(write_images(tmp_path, ["c0", "c1"]))

    first, second = examined(manifest, tmp_path)

    (finding,) = first.findings
    assert (finding.severity, finding.case, finding.file) == ("error", "c0", "c0.png")
    assert finding.message.startswith(message)  # without the file, which the finding names
    assert first.facts is None
    assert not second.has_errors
    with pytest.raises(SegpipeError, match=r"made: 1 error\(s\) in 1 of 2 cases"):
        require_valid_images(manifest.training, tmp_path, manifest, progress=False)


def test_an_almost_blank_image_is_a_warning(tmp_path):
    save(tmp_path / "c0.png", np.pad(np.array([[2]], np.uint8), 9))

    (report,) = examined(class_manifest("a"), tmp_path)

    assert [finding.severity for finding in report.findings] == ["warning"]
    assert "almost blank" in report.findings[0].message


def test_a_checksum_is_compared_unless_it_is_left_out(tmp_path):
    write_images(tmp_path, ["c0", "c1"])
    manifest = class_manifest("ab")
    sums = [file_sha256(tmp_path / "c0.png"), "0" * 64]
    training = tuple(
        replace(case, sha256={case.images[0]: digest})
        for case, digest in zip(manifest.training, sums, strict=True)
    )
    manifest = replace(manifest, training=training)

    right, wrong = examined(manifest, tmp_path)

    assert not right.findings
    assert "the manifest says 000000000000" in wrong.findings[0].message
    assert not any(report.findings for report in examined(manifest, tmp_path, checksums=False))


def test_several_files_and_time_frames_are_refused(tmp_path):
    write_images(tmp_path, ["c0", "c1"])
    manifest = class_manifest("ab")
    first, second = manifest.training
    training = (replace(first, images=("c0.png", "c1.png")), replace(second, frame=2))

    messages = [
        report.findings[0].message for report in examined(replace(manifest, training=training), tmp_path)
    ]

    assert "the manifest gives 2 files" in messages[0]
    assert "the manifest gives the time frame 2" in messages[1]


def test_slices_without_a_scale_need_the_window(tmp_path):
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(pixels(0).astype(np.int16)), str(tmp_path / "c0.mha"))
    manifest = findings_manifest([()])
    manifest = replace(manifest, training=(replace(manifest.training[0], images=("c0.mha",)),))

    (without,) = examined(manifest, tmp_path)
    (report,) = examined(manifest, tmp_path, window=(0, 255))

    assert "give the window" in without.findings[0].message
    assert report.facts.mean == pytest.approx(pixels(0).mean() / 255)


def test_a_missing_folder_and_label_maps_are_refused(tmp_path):
    manifest = class_manifest("ab")

    with pytest.raises(SegpipeError, match="is no folder"):
        examined(manifest, tmp_path / "elsewhere")
    with pytest.raises(SegpipeError, match="its target is mask"):
        examined(replace(manifest, target="mask"), tmp_path)


def test_test_images_that_are_not_here_have_no_hash(tmp_path):
    write_images(tmp_path, ["c0", "t0"])
    test = [Case("t0", ("t0.png",)), Case("t1", ("t1.png",))]

    hashes = image_hashes_of_tests(class_manifest("a", test=test), tmp_path)

    assert list(hashes) == ["t0"]

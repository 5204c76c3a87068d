"""`segpipe data check` and `segpipe data show` of images with a class or findings."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from made_images import class_manifest, findings_manifest, pixels, save, write_images
from typer.testing import CliRunner

from segpipe.cli import app
from segpipe.dataset import write_manifest


def run(*arguments):
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


@pytest.fixture
def twenty(tmp_path):
    """A sound set of twenty images, and its manifest beside them."""
    folder = write_images(tmp_path / "set", [f"c{number}" for number in range(20)])
    write_manifest(class_manifest("ab" * 10), folder / "made.json")
    return folder


def test_a_sound_set_of_images(twenty):
    result = run("check", twenty / "made.json")

    assert (result.exit_code, result.stdout) == (0, "made: 20 cases, 0 errors, 0 warnings\n"), result.stderr


def test_faults_have_one_line_each(twenty, tmp_path):
    save(twenty / "c1.png", pixels(0))  # the picture of c0, in the other class
    save(twenty / "c4.png", np.stack([pixels(4)] * 3, axis=-1))
    (twenty / "c6.png").write_bytes((twenty / "c6.png").read_bytes()[:-30])
    save(twenty / "c8.png", 0 * pixels(8))

    result = run("check", twenty / "made.json", "--json", tmp_path / "findings.json")

    assert result.exit_code == 2
    lines = result.stdout.splitlines()
    starts = [
        "error: c6: c6.png: ",
        "error: c8: c8.png: ",
        "error: c1: c1.png: one image content belongs to 2 patients",
        "error: c1: c1.png: one picture has two labels: c0 is a; c1 is b;",
        "warning: c4: c4.png: is RGB with equal channels (grey), 17 of 18 images: grey;",
        "made: 20 cases, 4 errors, 1 warnings",
    ]
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))
    assert "truncated" in lines[0]
    assert "a blank image" in lines[1]
    written = json.loads((tmp_path / "findings.json").read_text())
    assert (written["cases"], len(written["errors"]), len(written["warnings"])) == (20, 4, 1)


@pytest.mark.slow
def test_a_small_validation_part_comes_with_the_command_for_a_larger_one(tmp_path):
    folder = write_images(tmp_path / "set", [f"c{number}" for number in range(160)], (8, 8))
    write_manifest(class_manifest("ab" * 80, folds=[n // 2 % 8 for n in range(160)]), folder / "m.json")

    result = run("check", folder / "m.json")

    assert result.exit_code == 1
    command = f"segpipe data split {folder / 'm.json'} --folds 2"
    assert (
        f"a (10), b (10) (with 10 cases, one mistake is 10 points of sensitivity); `{command}`"
        in result.stdout
    )
    assert run(*command.split()[2:]).exit_code == 0
    assert run("check", folder / "m.json").exit_code == 0


def test_slices_in_hu_need_a_window_to_be_checked_and_shown(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    manifest = findings_manifest([("Effusion",), ("Mass",)] * 10)
    content = json.loads(json.dumps(manifest.to_json()))
    for case in content["training"]:
        values = pixels(int(case["case"][1:])).astype(np.int16) - 1000
        sitk.WriteImage(sitk.GetImageFromArray(values), str(folder / f"{case['case']}.mha"))
        case["image"] = [f"{case['case']}.mha"]
    (folder / "m.json").write_text(json.dumps(content))

    without = run("check", folder / "m.json")
    checked = run("check", folder / "m.json", "--window", "-1000", "-745")
    shown = run("show", folder / "m.json", "-o", tmp_path / "out", "--window", "-1000", "-745")

    assert without.exit_code == 2
    assert "give the window of values to use" in without.stdout
    assert checked.exit_code == 0, checked.stdout
    assert shown.exit_code == 0, shown.stdout
    wrong = run("check", folder / "m.json", "--window", "5", "-5")
    assert wrong.exit_code == 2
    assert "must be two numbers, the lower first" in wrong.stdout + wrong.stderr


def test_the_page_of_findings_prints_what_it_counts(tmp_path):
    present = [("Effusion", "Mass")] + [("Effusion",)] * 2 + [()] * 3
    folder = write_images(tmp_path / "set", [f"c{number}" for number in range(6)])
    manifest = findings_manifest(present, unknown=[()] * 4 + [("Mass",)] * 2)
    write_manifest(manifest, folder / "m.json")

    result = run("show", folder / "m.json", "-o", tmp_path / "out")

    assert result.exit_code == 0, result.stderr
    rows = [line.strip("│ ").split("│") for line in result.stdout.splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert ["Effusion", "3", "3", "0", "50 %"] in cells
    assert ["Mass", "1", "3", "2", "25 %"] in cells
    assert result.stdout.splitlines()[-1].endswith("index.html: 6 cases are shown")


def test_a_bundle_of_other_classes_is_refused(twenty, tmp_path):
    rows = [{"index": index, "name": name, "value": index} for index, name in enumerate("ba")]
    (tmp_path / "metadata.json").write_text(json.dumps({"target": "class", "label_table": rows}))

    result = run("check", twenty / "made.json", "--labels", tmp_path / "metadata.json")

    assert result.exit_code == 2
    assert "has class a, b;" in result.stderr
    assert "names and order must be equal" in result.stderr


def test_images_of_any_form_are_divided_by_class_with_equal_pictures_together(tmp_path):
    """RGB and grey; c1 to c3 are copies of c0 in other forms and stay in one fold."""
    folder = write_images(tmp_path / "set", [f"c{number}" for number in range(12)])
    save(folder / "c1.png", np.stack([pixels(0)] * 3, axis=-1))
    save(folder / "c2.png", pixels(0))
    save(folder / "c3.png", pixels(0).astype(np.uint16) * 257)
    write_manifest(class_manifest("aaaabbbbabab"), folder / "m.json")

    for seed in range(3):
        assert run("split", folder / "m.json", "--folds", "2", "--seed", seed).exit_code == 0
        cases = json.loads((folder / "m.json").read_text())["training"]
        folds = {case["case"]: case["fold"] for case in cases}
        assert len({folds[f"c{number}"] for number in range(4)}) == 1
        assert sorted(folds.values()) == [0] * 6 + [1] * 6

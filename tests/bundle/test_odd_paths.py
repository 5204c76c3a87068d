"""MONAI evaluates nothing in a folder's name; segpipe refuses names that MONAI cannot use."""

import shutil
from pathlib import Path

import pytest
from tiny_bundle import write_bundle, write_scan
from typer.testing import CliRunner

from segpipe.bundle.open import open_bundle
from segpipe.bundle_check.check_bundle import check_bundle
from segpipe.cli import app
from segpipe.configuration.reading import configuration_files
from segpipe.errors import SegpipeError

ODD = [
    *(
        "$__import__('pathlib').Path('RAN').touch()",
        "$x",
        "@x",
        "%x",
        "@epochs",
        "$@bundle_root",
        "~",
        "a b",
        "it's",
    ),
    *('q"q', "é漢", "-x", "a,b", "[a]", "{a: b}", "a=b", "100%", "*", "null", "a\\b"),
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.mark.parametrize("name", ODD)
def test_a_bundle_of_any_name_is_opened_and_checked(name, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny, name)
    root = Path(name)

    opened = open_bundle(root)
    findings = check_bundle(root, configuration_files(root, ["inference.yaml"]), {}, look_for_files=False)

    assert opened.root == tmp_path / name
    assert opened.weights == (tmp_path / name / "models" / "model.pt",)
    assert findings == []
    assert not Path("RAN").exists()


@pytest.mark.parametrize("name", ["a#b", "a::b"])
def test_a_name_that_no_configuration_can_hold_is_refused(name, tiny, tmp_path):
    root = tmp_path / name / "bundle"
    shutil.copytree(tiny, root)

    for call in (open_bundle, lambda root: configuration_files(root, ["inference.yaml"])):
        with pytest.raises(SegpipeError, match=r"MONAI turns # into ::.*rename it"):
            call(root)


@pytest.mark.parametrize("name", ["$x", "@x", "%x", "a#b", "é '\"", "~"])
def test_scans_weights_and_outputs_of_any_name(name, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny / "models", Path(name) / "models")
    write_scan(Path(name) / "scans" / f"{name}.nii.gz")
    weights = ["--weights", f"{name}/models/model.pt"]

    result = CliRunner().invoke(
        app, ["predict", "--bundle", str(tiny), *weights, "--output", f"{name}/out", "--", f"{name}/scans"]
    )

    assert result.exit_code == 0, result.output
    assert (tmp_path / name / "out" / f"{name}.nii.gz").is_file()

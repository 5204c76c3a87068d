"""A bundle is found by folder, then in SEGPIPE_BUNDLES, then among segpipe's own."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segpipe import bundle_names
from segpipe.bundle.promote import promote
from segpipe.bundle.source import BundleSource
from segpipe.bundle_names import bundle_folder, named_bundles, require_writable_bundle
from segpipe.cli import app
from segpipe.errors import SegpipeError


def make(folder):
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text("{}")
    return folder


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return the folder of an installed segpipe with the bundles `mri_liver` and `ct_lung`; work in an empty folder."""
    for name in ("mri_liver", "ct_lung"):
        make(tmp_path / "package" / "bundles" / name)
    monkeypatch.setattr(bundle_names, "_PACKAGE", tmp_path / "package")
    monkeypatch.delenv("SEGPIPE_BUNDLES", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "package"


def test_a_folder_then_the_variable_then_the_package(package, tmp_path, monkeypatch):
    assert bundle_folder("mri_liver") == package / "bundles" / "mri_liver"

    first, second = make(tmp_path / "a" / "mri_liver"), make(tmp_path / "b" / "mri_liver")
    folders = [str(tmp_path / "none"), "", str(first.parent), str(second.parent)]
    monkeypatch.setenv("SEGPIPE_BUNDLES", os.pathsep.join(folders))
    assert bundle_folder("mri_liver") == first

    here = make(tmp_path / "work" / "mri_liver")
    assert bundle_folder("mri_liver").absolute() == here


def test_a_folder_that_is_no_bundle_hides_none(package):
    """It may be the output folder of an earlier command."""
    Path("mri_liver/overlays").mkdir(parents=True)
    Path("other").mkdir()

    assert bundle_folder("mri_liver") == package / "bundles" / "mri_liver"
    assert str(bundle_folder("other")) == "other"


@pytest.mark.parametrize("path", ["x/mri_liver", "./mri_liver", ".", "..", "/none"])
def test_a_path_is_no_name(package, path):
    """Nor when it is looked up again, as a bundle's source does."""
    once = bundle_folder(path)

    assert bundle_folder(once) == once
    assert once.absolute() == Path(path).absolute()


def test_the_list_has_each_name_once(package, tmp_path, monkeypatch):
    make(tmp_path / "mine" / "mri_liver")
    (tmp_path / "mine" / "notes").mkdir()
    monkeypatch.setenv("SEGPIPE_BUNDLES", str(tmp_path / "mine"))

    assert [(one.name, one.shipped) for one in named_bundles()] == [("ct_lung", True), ("mri_liver", False)]


def test_a_name_that_is_not_there(package, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGPIPE_BUNDLES", str(tmp_path / "none"))

    with pytest.raises(SegpipeError) as refusal:
        BundleSource("mri_livr")

    for part in (
        "mri_livr: no folder and no bundle has this name; did you mean mri_liver?",
        f"{tmp_path / 'none'} (SEGPIPE_BUNDLES, no such folder)",
        f"{package / 'bundles'} (segpipe's own)",
        "bundles there: ct_lung, mri_liver",
    ):
        assert part in str(refusal.value)


def test_without_the_variable(package):
    with pytest.raises(SegpipeError, match="SEGPIPE_BUNDLES names no folder"):
        bundle_folder("x" * 300)


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "x.nii.gz", "--bundle", "mri_livr", "-o", "out"],
        ["evaluate", "--bundle", "mri_livr", "--manifest", "hippocampus", "-o", "out"],
        ["promote", "best.pt", "--bundle", "mri_livr"],
        ["reference-ranges", "mri_livr", "--manifest", "hippocampus"],
        ["postprocess", "mri_livr", "--manifest", "hippocampus", "-o", "out"],
        ["export", "mri_livr", "--to", "onnx", "-o", "x.onnx"],
        *([name, "mri_livr"] for name in ("check", "audit", "trust", "train", "info")),
    ],
    ids=lambda command: command[0],
)
def test_every_command_takes_a_name(package, command):
    """All refuse a wrong name with the message of one function."""
    done = CliRunner().invoke(app, command)

    assert done.exit_code == 2
    assert "did you mean mri_liver?" in " ".join(done.stderr.split())


def test_the_installed_package_is_not_written_in(package, tmp_path):
    require_writable_bundle(make(tmp_path / "mine"), "weights")
    with pytest.raises(SegpipeError, match=r"came with the installed segpipe, .* copy the folder"):
        promote(tmp_path / "best.pt", "mri_liver")

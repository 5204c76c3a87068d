"""`segpipe info` prints what a bundle is, and its layers."""

import json

import pytest
from tiny_classifier import write_classifier
from typer.testing import CliRunner

from segpipe.cli import app


@pytest.fixture
def bundle(tmp_path):
    return write_classifier(tmp_path / "tiny")


def info(*arguments):
    return CliRunner().invoke(app, ["info", *map(str, arguments)], catch_exceptions=False)


def test_a_bundle(bundle):
    done = info(bundle)

    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[:2] == ["tiny classifier 0.1.0", f"folder:   {bundle}"]
    assert {
        "task:     classification (class)",
        "classes:  CNV, DME, NORMAL",
        "takes:    OCT, 3 channels, 16 x 16",
        "prepared: Resized, NormalizeIntensityd",
    } <= set(lines)
    assert "model.pt" in done.stdout


def test_json(bundle):
    content = json.loads(info(bundle, "--json").stdout)

    assert content["kind"] == "bundle"
    assert content["classes"] == ["CNV", "DME", "NORMAL"]
    assert content["weights"][0]["path"] == str(bundle / "models" / "model.pt")
    assert "layers" not in content


def test_weights_have_no_layers(bundle):
    done = info(bundle / "models" / "model.pt", "--layers")

    assert done.exit_code == 2
    assert "--layers needs a bundle" in done.stderr


def test_its_layers(bundle):
    done = info(bundle, "--layers")

    assert "features.0" in done.stdout
    assert "6 x 16 x 16" in done.stdout
    assert "1,023 parameters, of which 1,023 are trained" in " ".join(done.stdout.split())


@pytest.mark.parametrize("size", ["a", "0,4", "", "4,,4", "-1"])
def test_a_size_that_is_none(bundle, size):
    done = info(bundle, "--layers", "--size", size)

    assert done.exit_code == 2
    assert "must be whole numbers above 0, such as 224,224" in " ".join(done.stderr.split())


def test_no_bundle(tmp_path):
    done = info(tmp_path)

    assert done.exit_code == 2
    assert "is not a bundle" in " ".join(done.stderr.split())

"""`segpipe promote`: the only way into a bundle's `models/`."""

import json
import shutil

import pytest
import torch
from typer.testing import CliRunner

from segpipe.bundle.promote import promote
from segpipe.cli import app
from segpipe.errors import SegpipeError
from segpipe.files import file_sha256


@pytest.fixture
def copied(bundle, tmp_path):
    """Return a copy of the bundle without weights."""
    shutil.copytree(bundle.root, tmp_path / "bundle", ignore=shutil.ignore_patterns("*.pt", "model.json"))
    return tmp_path / "bundle"


def test_promoted_weights_are_the_runs_in_half_precision(bundle, finished_run, copied):
    written = promote(finished_run / "best.pt", copied)

    assert written == copied / "models" / "model.pt"
    then = torch.load(finished_run / "best.pt", weights_only=True)
    now = torch.load(written, weights_only=True)
    assert {name: tensor.half() for name, tensor in then.items()}.keys() == now.keys()
    for name, tensor in then.items():
        torch.testing.assert_close(now[name], tensor.half(), rtol=0, atol=0)
    assert written.stat().st_size < 0.55 * (finished_run / "best.pt").stat().st_size


def test_promoted_weights_keep_how_they_were_made(finished_run, copied):
    promote(finished_run / "best.pt", copied)

    run, model = (
        json.loads(path.read_text()) for path in (finished_run / "best.json", copied / "models/model.json")
    )
    assert model["training"] == run["training"]
    assert model["hashes"] == run["hashes"]
    assert model["weights_sha256"] != run["weights_sha256"]


def test_promoted_weights_are_what_inference_uses(bundle, finished_run, copied, phantom_scans, tmp_path):
    promote(finished_run / "best.pt", copied)

    overrides = {"bundle_root": str(copied), "dataset_dir": str(phantom_scans[0]), "device": "cpu"}
    bundle.run("inference", **overrides, output_dir=str(tmp_path / "out"))

    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) >= 4


def test_the_network_in_int8_of_replaced_weights_is_removed(finished_run, copied):
    models = promote(finished_run / "last.pt", copied).parent
    for suffix in ("json", "xml", "bin"):
        (models / f"model.int8.{suffix}").touch()

    result = CliRunner().invoke(
        app, ["promote", str(finished_run / "best.pt"), "--bundle", str(copied), "--replace"]
    )

    assert not list(models.glob("*.int8.*"))
    assert (
        "model.int8.bin, model.int8.json, model.int8.xml: removed, since these files were made"
        in result.stdout
    )


def test_weights_in_the_way_are_not_overwritten(finished_run, copied):
    written = promote(finished_run / "last.pt", copied)
    before = written.read_bytes()

    with pytest.raises(SegpipeError, match="--replace"):
        promote(finished_run / "best.pt", copied, half=False)

    assert written.read_bytes() == before
    promote(finished_run / "best.pt", copied, half=False, replace=True)
    assert written.read_bytes() != before


@pytest.mark.slow
def test_safetensors_stand_in_the_place_of_model_pt(bundle, finished_run, copied, phantom_scans, tmp_path):
    """The configuration still names model.pt; the folder has one form of weights at a time."""
    promote(finished_run / "best.pt", copied)
    where = {"bundle_root": str(copied), "dataset_dir": str(phantom_scans[0]), "device": "cpu"}
    bundle.run("inference", **where, output_dir=str(tmp_path / "before"))
    with pytest.raises(SegpipeError, match=r"model\.pt: the bundle has weights; give --replace"):
        promote(finished_run / "best.pt", copied, safetensors=True)

    written = promote(finished_run / "best.pt", copied, replace=True, safetensors=True)

    assert written == copied / "models" / "model.safetensors"
    assert not (copied / "models" / "model.pt").exists()
    assert json.loads((copied / "models/model.json").read_text())["weights_sha256"] == file_sha256(written)
    bundle.run("inference", **where, output_dir=str(tmp_path / "after"))
    for path in (tmp_path / "before").rglob("*"):
        other = tmp_path / "after" / path.relative_to(tmp_path / "before")
        assert path.is_dir() or path.suffix == ".jsonl" or path.read_bytes() == other.read_bytes()

    with pytest.raises(SegpipeError, match=r"model\.safetensors: the bundle has weights; give --replace"):
        promote(finished_run / "best.pt", copied)
    promote(written, copied, replace=True)  # and back
    assert not written.exists()


def test_weights_without_sidecar_are_not_promoted(finished_run, copied, tmp_path):
    shutil.copy(finished_run / "best.pt", tmp_path / "foreign.pt")

    with pytest.warns(UserWarning, match="no sidecar"), pytest.raises(SegpipeError, match="has no sidecar"):
        promote(tmp_path / "foreign.pt", copied)

    assert not (copied / "models" / "model.pt").exists()


def test_a_folder_that_is_no_bundle_is_refused(finished_run, tmp_path):
    with pytest.raises(SegpipeError, match=r"no configs/inference\.yaml"):
        promote(finished_run / "best.pt", tmp_path)


def test_command_prints_what_it_wrote_or_one_message(finished_run, copied, tmp_path):
    command = ["promote", str(finished_run / "best.pt"), "--bundle", str(copied)]

    first, second = CliRunner().invoke(app, command), CliRunner().invoke(app, command)

    assert first.exit_code == 0
    assert "model.pt" in first.output
    assert second.exit_code == 2
    assert "--replace" in second.output


def test_limits_of_the_weights_that_were_there_go_with_them(finished_run, copied):
    """The old reference ranges describe other training cases, so predict would refuse them."""
    stale = copied / "models" / "model.reference_ranges.json"
    promote(finished_run / "best.pt", copied)
    stale.write_text("{}")

    promote(finished_run / "best.pt", copied, replace=True)

    assert not stale.exists()


def test_limits_of_the_run_go_with_the_weights(bundle, finished_run, copied, tmp_path):
    """The bundle's weights are those of the run, rounded to float16, so the ranges name the new file."""
    for name in ("best.pt", "best.json"):
        shutil.copy(finished_run / name, tmp_path / name)
    content = json.loads((bundle.root / "models" / "model.reference_ranges.json").read_text())
    content["weights_sha256"] = [file_sha256(tmp_path / "best.pt")]
    (tmp_path / "best.reference_ranges.json").write_text(json.dumps(content))

    target = promote(tmp_path / "best.pt", copied)

    carried = json.loads((copied / "models" / "model.reference_ranges.json").read_text())
    assert carried["weights_sha256"] == [file_sha256(target)]
    assert carried["about"]["measured_with_weights"] == content["weights_sha256"]
    assert carried["limits"] == content["limits"]


def test_limits_of_other_weights_do_not_go_with_them(bundle, finished_run, copied, tmp_path):
    for name in ("best.pt", "best.json"):
        shutil.copy(finished_run / name, tmp_path / name)
    shutil.copy(
        bundle.root / "models" / "model.reference_ranges.json", tmp_path / "best.reference_ranges.json"
    )

    promote(tmp_path / "best.pt", copied)

    assert not (copied / "models" / "model.reference_ranges.json").exists()

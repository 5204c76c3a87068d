"""What every bundle promises: the model zoo's checks, and that its files agree with each other."""

import importlib
import inspect
import json
import os
import pydoc
import subprocess
import sys
from pathlib import Path

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from jsonschema import Draft201909Validator

from segpipe.volumes import read_volume

SCHEMA = Path(__file__).with_name("meta_schema_20240725.json")


def inference(bundle, scans, output, weights):
    return {
        "bundle_root": str(bundle.root),
        "dataset_dir": str(scans),
        "output_dir": str(output),
        "weights": [str(weights)],
        "device": "cpu",
    }


def test_it_has_the_files_that_a_zoo_expects(bundle):
    for name in ("LICENSE", "configs/metadata.json", "configs/train.yaml", "configs/inference.yaml"):
        assert (bundle.root / name).is_file(), name
    for name in ("configs/evaluate.yaml", "configs/multi_gpu_train.yaml", "configs/logging.conf"):
        assert (bundle.root / name).is_file(), name
    for name in ("docs/README.md", "docs/data_license.txt"):
        assert (bundle.root / name).is_file(), name


def test_metadata_is_valid_by_monais_schema(bundle):
    metadata = json.loads((bundle.root / "configs/metadata.json").read_text())

    Draft201909Validator(json.loads(SCHEMA.read_text())).validate(metadata)

    assert metadata["version"] in metadata["changelog"]
    assert metadata["monai_version"] == monai.__version__
    assert "segpipe" in metadata["required_packages_version"]
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert channels == {str(row["index"]): row["name"] for row in metadata["label_table"]}


@pytest.mark.parametrize("names", [["train"], ["train", "evaluate"]], ids="+".join)
def test_training_has_all_properties(bundle, finished_run, names):
    run_name = finished_run.name if "evaluate" in names else "properties"

    workflow = bundle.workflow(names, "train", **bundle.training, run_name=run_name)

    assert workflow.check_properties() == []


def test_inference_has_all_properties(bundle, finished_run, phantom_scans, tmp_path):
    overrides = inference(bundle, phantom_scans[0], tmp_path / "out", finished_run / "best.pt")

    workflow = bundle.workflow(["inference"], "inference", **overrides)

    assert workflow.check_properties() == []


def test_network_takes_and_gives_what_metadata_says(bundle):
    files = bundle.files("inference")

    monai.bundle.verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle.root / "configs/metadata.json"),
        config_file=files,
        device="cpu",
    )


def test_exported_network_gives_equal_scores(bundle, finished_run, tmp_path):
    monai.bundle.ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(finished_run / "best.pt"),
        meta_file=str(bundle.root / "configs/metadata.json"),
        config_file=bundle.files("inference"),
    )

    network = bundle.parser("inference").get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(finished_run / "best.pt", weights_only=True))
    exported = torch.jit.load(tmp_path / "model.ts").eval()
    image = torch.randn(1, 1, *bundle.parser("inference")["window_size"])
    with torch.no_grad():
        torch.testing.assert_close(exported(image), network(image))


def test_training_overfits_one_batch(bundle):
    """Its network, loss and optimiser can learn two cases by heart."""
    torch.manual_seed(0)
    parser = bundle.parser("train", **bundle.training, batch_size=2)
    parser["patch_size"] = [min(size, 32) for size in parser["patch_size"]]
    parser["train#preprocessing#transforms"] = (
        "$@load_transforms + @deterministic_transforms + @random_transforms[:3]"
    )
    network, optimizer, loss = (parser.get_parsed_content(name) for name in ("network", "optimizer", "loss"))
    batch = next(iter(parser.get_parsed_content("train#dataloader")))
    inferer = parser.get_parsed_content("train#inferer")

    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        value = loss(inferer(batch["image"], network), batch["label"])
        value.backward()
        optimizer.step()
        losses.append(value.item())

    assert losses[-1] < 0.35 * losses[0]


def test_label_map_is_the_arg_max_of_the_networks_scores(bundle, finished_run, phantom_scans, tmp_path):
    """Computed apart: nibabel, NumPy and the bare network, on a scan whose grid is the network's."""
    from segpipe.dataset.phantoms import mri_phantom
    from segpipe.volumes import write_volume

    window = bundle.parser("inference")["window_size"]
    image, _, grid = next(
        phantom
        for phantom in (mri_phantom(3, index) for index in range(100))
        if all(size <= wanted for size, wanted in zip(phantom[2].size, window, strict=True))
    )
    write_volume(image, grid, tmp_path / "scans" / "case.nii.gz")
    overrides = inference(bundle, tmp_path / "scans", tmp_path / "out", finished_run / "best.pt")
    bundle.run("inference", **overrides, precision="float32")

    scan = nib.load(tmp_path / "scans" / "case.nii.gz")
    voxels = scan.get_fdata(dtype=np.float32)
    parser = bundle.parser("inference")
    missing = [max(0, wanted - size) for wanted, size in zip(window, voxels.shape, strict=True)]
    assert all(size <= wanted for size, wanted in zip(voxels.shape, window, strict=True)), (
        "one window, no sums"
    )
    before = [half // 2 for half in missing]
    padded = np.pad(
        (voxels - voxels.mean()) / voxels.std(), [(b, m - b) for b, m in zip(before, missing, strict=True)]
    )
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(finished_run / "best.pt", weights_only=True))
    with torch.no_grad():
        scores = network(torch.from_numpy(padded)[None, None])[0].numpy()
    expected = scores.argmax(axis=0)[
        tuple(slice(b, b + s) for b, s in zip(before, voxels.shape, strict=True))
    ]

    written = nib.load(tmp_path / "out" / "case.nii.gz")
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_allclose(written.affine, scan.affine, atol=1e-6)
    disagreeing = np.count_nonzero(np.asarray(written.dataobj) != expected)
    assert disagreeing <= 1e-4 * expected.size  # ties between sums in another order
    assert 0 < np.count_nonzero(expected) < expected.size


def test_every_format_comes_back_on_its_own_grid(bundle, finished_run, phantom_scans, tmp_path):
    scans, references = phantom_scans

    bundle.run("inference", **inference(bundle, scans, tmp_path / "out", finished_run / "best.pt"))

    expected = sorted(
        path.relative_to(references) for path in references.rglob("*") if path.suffix != ".zraw"
    )
    expected = [path for path in expected if (references / path).is_file()]
    for path in expected:
        written, reference = read_volume(tmp_path / "out" / path), read_volume(references / path)
        assert written.grid.differences(reference.grid) == [], path
        assert written.array.dtype == np.uint8
        assert written.array.max() <= 2
    written_files = {p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert {p for p in written_files if p.suffix not in (".zraw", ".raw")} == set(expected)


def test_train_and_inference_agree(bundle):
    """The same network and the same deterministic transforms, with every number they use."""
    train, infer = bundle.parser("train"), bundle.parser("inference")
    shared = ["network_def", "deterministic_transforms", "labels", "identity"]
    shared += [name for name in train.get() if name in infer and isinstance(train[name], int | float | list)]
    shared = [
        name for name in shared if name not in ("imports", "initialize", "run", "load_transforms", "handlers")
    ]

    assert {name: train[name] for name in shared} == {name: infer[name] for name in shared}
    assert train["validate#inferer"] == infer["inferer"]
    assert "spacing_mm" in shared
    assert "filters" in shared


@pytest.mark.parametrize(
    "names", [["train"], ["train", "evaluate"], ["train", "multi_gpu_train"], ["inference"]], ids="+".join
)
def test_every_component_is_importable_and_its_arguments_bind(bundle, names):
    found = 0
    for component in components(bundle.parser(*names).get()):
        target = pydoc.locate(component["_target_"])
        assert callable(target), component["_target_"]
        arguments = {key: None for key in component if not key.startswith("_")}
        inspect.signature(target).bind(**arguments)
        found += 1
    assert found > 5


def components(config):
    if isinstance(config, dict):
        if "_target_" in config:
            yield config
        for value in config.values():
            yield from components(value)
    elif isinstance(config, list):
        for value in config:
            yield from components(value)


def test_no_logic_stands_in_yaml(bundle):
    for path in (bundle.root / "configs").glob("*.yaml"):
        for line in path.read_text().splitlines():
            expression = line.partition("$")[2]
            for word in (" for ", "lambda", "glob"):
                assert word not in expression, f"{path.name}: {line}"


def test_models_is_untouched_by_every_run(bundle, finished_run, models_before, tmp_path, phantom_scans):
    bundle.run("train", "evaluate", **bundle.training, run_name=finished_run.name)
    bundle.run("inference", **inference(bundle, phantom_scans[0], tmp_path / "out", finished_run / "best.pt"))

    after = {path: path.read_bytes() for path in (bundle.root / "models").rglob("*") if path.is_file()}

    assert after == models_before


def test_nothing_is_written_into_the_bundle(bundle, finished_run):
    """A run's files lie below output_dir alone."""
    assert not (bundle.root / "runs").exists()
    assert finished_run.parent == bundle.output_dir


@pytest.mark.slow
@pytest.mark.parametrize("from_elsewhere", [False, True], ids=["in the bundle", "from elsewhere"])
def test_commands_run_as_processes(bundle, phantom_scans, tmp_path, from_elsewhere):
    """Train, evaluate and infer as a user types them, in the bundle's folder and from another."""
    root = bundle.root.resolve()
    prefix = f"{root}/" if from_elsewhere else ""
    common = ["--manifest", str(bundle.manifest), "--dataset_dir", str(bundle.manifest.parent)]
    common += ["--output_dir", str(tmp_path / "runs"), "--run_name", "typed"]
    common += ["--bundle_root", str(root)] if from_elsewhere else []
    folder = tmp_path if from_elsewhere else root

    def run(*arguments):
        command = [sys.executable, "-m", "monai.bundle", "run", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ})
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    train = f"{prefix}configs/train.yaml"
    printed = run("--config_file", train, *common, "--epochs", "1", "--patch_size", "[32,32,32]")
    assert str(tmp_path / "runs" / "typed" / "tensorboard") in printed
    run("--config_file", f"['{train}','{prefix}configs/evaluate.yaml']", *common)
    assert (tmp_path / "runs" / "typed" / "evaluation" / "best-fold0" / "scores.csv").is_file()
    weights = ["--weights", f"['{tmp_path}/runs/typed/best.pt']"]
    weights += ["--bundle_root", str(root)] if from_elsewhere else []
    where = ["--dataset_dir", str(phantom_scans[0]), "--output_dir", str(tmp_path / "out")]
    run("--config_file", f"{prefix}configs/inference.yaml", *where, *weights)
    assert any((tmp_path / "out").rglob("*.nii.gz"))


def test_required_packages_are_importable(bundle):
    names = {"pytorch-ignite": "ignite"}
    metadata = json.loads((bundle.root / "configs/metadata.json").read_text())
    for name in metadata["required_packages_version"]:
        importlib.import_module(names.get(name, name))

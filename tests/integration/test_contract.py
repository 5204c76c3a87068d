"""The contract of every bundle: the model zoo's checks, and agreement between the bundle's files."""

import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_contract import (
    assert_components_bind,
    assert_files,
    assert_no_logic,
    assert_packages_importable,
    assert_valid_metadata,
    shared_values,
)
from scipy.ndimage import binary_dilation, binary_erosion

from segpipe.volumes import read_volume, write_volume

pytestmark = pytest.mark.every_bundle


def inference(bundle, scans, output, weights):
    return {
        "bundle_root": str(bundle.root),
        "dataset_dir": str(scans),
        "output_dir": str(output),
        "weights": [str(weights)],
        "device": "cpu",
        **bundle.window,
    }


def test_it_has_the_files_that_a_zoo_expects(bundle):
    assert_files(bundle.root)


def test_metadata_is_valid_by_monais_schema(bundle):
    metadata = bundle.metadata

    assert_valid_metadata(metadata)

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
    image = torch.randn(1, 1, *{2: [96, 96], 3: [32, 32, 32]}[bundle.spatial_dims])
    with torch.no_grad():
        torch.testing.assert_close(exported(image), network(image))


@pytest.mark.slow
def test_training_overfits_one_batch(bundle):
    """The bundle's network, loss and optimiser can overfit two cases."""
    torch.manual_seed(0)
    # the schedule, which is not stepped here, begins at a 25th of its peak
    parser = bundle.parser("train", **{**bundle.training, "batch_size": 2, "learning_rate": 0.025})
    if bundle.spatial_dims == 3:
        parser["patch_size"] = [32, 32, 32]
    else:
        parser["dropout"] = 0.0
    names = [step["_target_"].rpartition(".")[2] for step in parser["random_transforms"]]
    stop = next(number for number, name in enumerate(names) if name in ("RandFlipd", "RandAffined"))
    parser["train#preprocessing#transforms"] = (
        f"$@load_transforms + @deterministic_transforms + @random_transforms[:{stop}]"
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


def test_the_seed_alone_decides_with_which_weights_training_begins(bundle):
    """Earlier random draws and earlier uses of the network do not count."""

    def first_weights(seed, drawn):
        torch.manual_seed(drawn)
        workflow = bundle.workflow(
            ["train"],
            "train",
            **bundle.training,
            **bundle.small_network,
            seed=seed,
            run_name=f"{seed}-{drawn}",
        )
        return workflow.network_def.state_dict()

    one, again, other = first_weights(0, 1), first_weights(0, 2), first_weights(1, 1)

    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_label_map_is_the_arg_max_of_the_networks_scores(bundle, tmp_path):
    """The expected label map uses nibabel, NumPy and the bare network, on a scan of one window.

    With random weights, the first that answer with more than one class.
    """
    volume = bundle.kind.scans["nrrd/phantom.nrrd"]
    settings = bundle.parser("inference", **bundle.window)
    window, flips = settings["window_size"], settings.get("flips", [])
    image, _, grid = next(
        phantom
        for phantom in (volume(3, index) for index in range(100))
        if all(size <= wanted for size, wanted in zip(phantom[2].size, window, strict=False))
    )
    write_volume(image, grid, tmp_path / "scans" / "case.nii.gz")
    scan = nib.load(tmp_path / "scans" / "case.nii.gz")
    for seed in range(20):
        torch.manual_seed(seed)
        network = bundle.parser("inference").get_parsed_content("network_def").eval()
        expected = expected_label_map(bundle, network, scan.get_fdata(dtype=np.float32), window, flips)
        if 0 < np.count_nonzero(expected == expected.flat[0]) < 0.95 * expected.size:
            break
    else:
        pytest.fail("no random weights that answer with several classes")
    torch.save(network.state_dict(), tmp_path / "random.pt")

    overrides = inference(bundle, tmp_path / "scans", tmp_path / "out", tmp_path / "random.pt")
    bundle.run("inference", **overrides, precision="float32")

    written = nib.load(tmp_path / "out" / "case.nii.gz")
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_allclose(written.affine, scan.affine, atol=1e-6)
    disagreeing = np.count_nonzero(np.asarray(written.dataobj) != expected)
    assert disagreeing <= 1e-4 * expected.size  # ties between sums in another order


def expected_label_map(bundle, network, voxels, window, flips):
    """MRI z-scored, whole or slice by slice; or slices of -1000 to 400 HU, each z-scored but for its canvas, laid back,
    left where the file's axes go left, back.
    """
    if bundle.modality == "MR":
        scored = (voxels - voxels.mean()) / voxels.std()
        if len(window) == voxels.ndim:
            return arg_max_in_window(network, scored, window, flips)
        slices = np.moveaxis(scored, -1, 0)
        return np.stack([arg_max_in_window(network, image, window, flips) for image in slices], axis=-1)
    slices = np.clip((voxels + 1000) / 1400, 0, 1).transpose(2, 1, 0)
    for image in slices:
        blocks = binary_erosion(image == 0, np.ones((15, 15)), border_value=1)
        body = ~binary_dilation(blocks, np.ones((15, 15)))
        image[body] = (image[body] - image[body].mean()) / image[body].std()
        image[~body] = 0
    return np.stack([arg_max_in_window(network, image, window, flips).T for image in slices], axis=-1)


def arg_max_in_window(network, image, window, flips):
    """Pad an image with zeros on both sides to the window, and crop the mean of the answers."""
    missing = [wanted - size for wanted, size in zip(window, image.shape, strict=True)]
    before = [half // 2 for half in missing]
    padded = np.pad(image, [(b, m - b) for b, m in zip(before, missing, strict=True)])
    scores = []
    for axes in (axes for count in range(len(flips) + 1) for axes in combinations(flips, count)):
        with torch.no_grad():
            answer = network(torch.from_numpy(np.flip(padded, axes).copy())[None, None])[0].numpy()
        scores.append(np.flip(answer, [axis + 1 for axis in axes]))
    inside = tuple(slice(b, b + s) for b, s in zip(before, image.shape, strict=True))
    return np.mean(scores, axis=0).argmax(axis=0)[inside]


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
        assert written.array.max() < len(bundle.metadata["label_table"])
    written_files = {p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*") if p.is_file()}
    names_of_labels = {Path("labels.label"), Path("labels.ctbl")}
    assert {p for p in written_files if p.suffix not in (".zraw", ".raw")} == {*expected, *names_of_labels}


def test_train_and_inference_agree(bundle):
    """Training and inference have the same network and the same deterministic transforms, with equal arguments.

    So do their overrides: `paper.yaml` and `paper_inference.yaml`.
    """
    where = {"imports", "initialize", "run", "load_transforms", "handlers"}
    where |= {"bundle_root", "dataset_dir", "output_dir", "device", "num_workers"}
    where |= {"network"}  # inference wraps it with its weights
    where |= {"dropout", "flips"}  # idle in inference; evaluation's are compared with the inferer
    overrides = [path.stem for path in (bundle.root / "configs").glob("*_inference.yaml")]
    for names in ([], *([name.removesuffix("_inference")] for name in overrides)):
        train = bundle.parser("train", *names)
        infer = bundle.parser("inference", *(f"{name}_inference" for name in names))
        shared = shared_values(train, infer, where)
        if names == ["vgg16"]:  # whose weights to start from inference has no use for
            shared.remove("network_def")

        assert {name: train[name] for name in shared} == {name: infer[name] for name in shared}, names
        assert bundle.parser("train", *names, "evaluate")["validate#inferer"] == infer["inferer"]
        assert {"window_size", "overlap", "precision", *bundle.small_network} <= set(shared)
        assert {"spacing_mm", "window_hu"} & set(shared)


@pytest.mark.parametrize(
    "names", [["train"], ["train", "evaluate"], ["train", "multi_gpu_train"], ["inference"]], ids="+".join
)
def test_every_component_is_importable_and_its_arguments_bind(bundle, names):
    assert_components_bind(bundle.parser(*names).get())


def test_yaml_holds_no_logic(bundle):
    assert_no_logic(bundle.root)


@pytest.mark.slow
def test_models_is_untouched_by_every_run(bundle, finished_run, models_before, tmp_path, phantom_scans):
    bundle.run("train", "evaluate", **bundle.training, run_name=finished_run.name)
    bundle.run("inference", **inference(bundle, phantom_scans[0], tmp_path / "out", finished_run / "best.pt"))

    after = {path: path.read_bytes() for path in (bundle.root / "models").rglob("*") if path.is_file()}

    assert after == models_before


def test_nothing_is_written_into_the_bundle(bundle, finished_run):
    """A run writes below output_dir only."""
    assert not (bundle.root / "runs").exists()
    assert finished_run.parent == bundle.output_dir


@pytest.mark.slow
@pytest.mark.parametrize("from_elsewhere", [False, True], ids=["in the bundle", "from elsewhere"])
def test_commands_run_as_processes(bundle, phantom_scans, tmp_path, from_elsewhere):
    """Train, evaluate and infer as a user types the commands, in the bundle's folder and in another folder."""
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
    patch = "[32,32,32]" if bundle.spatial_dims == 3 else "[96,96]"
    window = [
        text for name, size in bundle.window.items() for text in (f"--{name}", str(size).replace(" ", ""))
    ]
    printed = run("--config_file", train, *common, *window, "--epochs", "1", "--patch_size", patch)
    assert str(tmp_path / "runs" / "typed" / "tensorboard") in printed
    run("--config_file", f"['{train}','{prefix}configs/evaluate.yaml']", *common, *window)
    assert (tmp_path / "runs" / "typed" / "evaluation" / "best-fold0" / "metrics.csv").is_file()
    weights = ["--weights", f"['{tmp_path}/runs/typed/best.pt']"]
    weights += ["--bundle_root", str(root)] if from_elsewhere else []
    where = ["--dataset_dir", str(phantom_scans[0]), "--output_dir", str(tmp_path / "out")]
    run("--config_file", f"{prefix}configs/inference.yaml", *where, *weights, *window)
    assert any((tmp_path / "out").rglob("*.nii.gz"))


def test_required_packages_are_importable(bundle):
    assert_packages_importable(bundle.metadata)

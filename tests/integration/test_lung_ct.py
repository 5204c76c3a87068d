"""The two bundles for lung CT are one experiment with two networks; their special refusals are tested here."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from refusals import refusal_of
from skimage.io import imsave

from segpipe.bundle.open import open_bundle
from segpipe.dataset import load_manifest, write_manifest
from segpipe.dataset.manifest import Split
from segpipe.evaluation.case_scores import CaseScores
from segpipe.evaluation.summary import read_summary
from segpipe.networks import VGG16_STAGES
from segpipe.prediction.segmenter import Segmenter
from segpipe.volumes import Grid, read_volume, write_label_map, write_series, write_volume

pytestmark = pytest.mark.every_bundle("CT")
PARAMETERS = {"ct_covid_unet": 1_861_892, "ct_covid_segnet": 373_644}  # parameters of the paper's
SHIPPED_DICE = {"ct_covid_unet": (0.6, 0.4), "ct_covid_segnet": (0.55, 0.4)}  # of ground-glass, consolidation
OF_THE_NETWORK = {"network_def", "widths", "stages", "norm", "norm_last", "conv", "attention"}
LUNG_BUNDLES = [Path(__file__).parents[2] / "bundles" / name for name in PARAMETERS]


@pytest.fixture
def lung(bundle, tmp_path):
    """Return a bundle for lung CT with a copy of its phantoms."""
    shutil.copytree(bundle.manifest.parent, tmp_path / "data")
    return replace(bundle, manifest=tmp_path / "data" / bundle.manifest.name, output_dir=tmp_path / "runs")


@pytest.mark.parametrize(
    "names",
    [
        ["train"],
        ["inference"],
        *(["train", name] for name in ("evaluate", "multi_gpu_train", "article", "paper", "binary")),
        *(["inference", f"{name}_inference"] for name in ("article", "paper", "binary")),
    ],
    ids="+".join,
)
def test_both_are_one_experiment_but_for_the_network(lung, names):
    """Published trainings also differ in the settings that a publication gives its network."""
    other = replace(lung, root=next(root for root in LUNG_BUNDLES if root != lung.root))
    of_the_network = OF_THE_NETWORK | (
        {"learning_rate", "dropout"} if {"article", "paper"} & set(names) else set()
    )

    settings, other_settings = (
        {
            key: value
            for key, value in one.parser(*names).get().items()
            if key not in {*of_the_network, "_meta_"}
        }
        for one in (lung, other)
    )

    assert settings == other_settings
    assert {"inferer", "handlers"} <= settings.keys() or {
        "loss",
        "optimizer",
        "random_transforms",
    } <= settings.keys()
    for key in ("label_table", "network_data_format"):
        assert lung.metadata[key] == other.metadata[key]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["article", "paper"])
def test_published_trainings_run(lung, name):
    """The paper's network, made small, trains on phantoms."""
    sizes = {**lung.training, **lung.small_network, "manifest": str(lung.manifest), "fold": 0}

    lung.run("train", name, **sizes, run_name=name, epochs=1, val_interval=1)
    lung.run("train", name, "evaluate", **sizes, run_name=name)

    assert (lung.output_dir / name / "evaluation" / "best-fold0" / "metrics.csv").is_file()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "article",
            {
                "fold": "article",
                "epochs": 50,
                "batch_size": 4,
                "learning_rate": 3e-5,
                "patch_size": [512] * 2,
            },
        ),
        (
            "paper",
            {
                "fold": "paper",
                "epochs": 160,
                "manifest": "covid_ct_256",
                "slice_size": [256] * 2,
                "weight_decay": 1e-4,
                "batch_size": 8,
            },
        ),
    ],
)
def test_published_trainings_are_what_was_published(lung, name, expected):
    parser = lung.parser("train", name)

    assert {key: parser[key] for key in expected} == expected
    assert (parser["dice_weight"], parser["weight_power"]) == (0, 1)
    parameters = parser.get_parsed_content("network_def").parameters()
    assert sum(parameter.numel() for parameter in parameters) == PARAMETERS[lung.root.name]
    assert type(parser.get_parsed_content("optimizer")).__name__ == "Adam"


def vgg16_bn(path, first_width=64):
    """Write the convolutions of torchvision's file of this name, with random numbers."""
    state, channels, place = {}, 3, 0
    for stage in VGG16_STAGES:
        for width in stage:
            width = first_width if place == 0 else width
            state[f"features.{place}.weight"] = torch.randn(width, channels, 3, 3) / 30
            for name in ("bias", "running_mean"):
                state[f"features.{place + (name != 'bias')}.{name}"] = torch.zeros(width)
            state[f"features.{place + 1}.weight"] = state[f"features.{place + 1}.running_var"] = torch.ones(
                width
            )
            state[f"features.{place + 1}.bias"] = torch.zeros(width)
            channels, place = width, place + 3
        place += 1
    order = ("weight", "bias", "running_mean", "running_var")
    torch.save(
        dict(
            sorted(
                state.items(),
                key=lambda item: (int(item[0].split(".")[1]), order.index(item[0].split(".")[2])),
            )
        ),
        path,
    )


@pytest.mark.slow
def test_segnet_starts_from_vgg16(lung, tmp_path):
    if lung.root.name != "ct_covid_segnet":
        pytest.skip("SegNet alone is built on VGG16")
    vgg16_bn(tmp_path / "vgg16_bn.pth")
    where = {**lung.training, "learning_rate": 1e-12, "vgg16_weights": str(tmp_path / "vgg16_bn.pth")}

    lung.run("train", "vgg16", **where, run_name="vgg16", epochs=1)

    state = torch.load(lung.output_dir / "vgg16" / "last.pt", weights_only=True)
    stored = torch.load(tmp_path / "vgg16_bn.pth", weights_only=True)
    torch.testing.assert_close(
        state["encoder.0.0.conv.weight"], stored["features.0.weight"].sum(1, keepdim=True)
    )
    torch.testing.assert_close(state["encoder.4.2.conv.weight"], stored["features.40.weight"])
    infer(lung, lung.output_dir / "vgg16", lung.manifest.parent / "images", ("vgg16_inference",))

    vgg16_bn(tmp_path / "vgg16_bn.pth", first_width=32)
    message = refusal_of(lambda: lung.run("train", "vgg16", **where, run_name="other"))
    assert (
        "features.0.weight is of shape (32, 3, 3, 3), the encoder's 0.0.conv.weight of (64, 1, 3, 3)"
        in message
    )
    assert not (lung.output_dir / "other").exists()


@pytest.mark.slow
@pytest.mark.parametrize("part", ["test", "tset"])
def test_scoring_the_test_part_of_a_split(lung, part):
    """No weights were chosen by the slices of the test part; an unknown part is refused."""
    manifest = load_manifest(lung.manifest)
    names = [case.case for case in manifest.training]
    split = Split(tuple(names[:5]), tuple(names[5:6]), tuple(names[6:]), "made up")
    write_manifest(replace(manifest, splits={"three": split}), lung.manifest)
    run = lung.train("split", fold="three")
    where = {**lung.training, "fold": "three", "run_name": run.name, "part": part}

    if part == "tset":
        message = refusal_of(lambda: lung.run("train", "evaluate", **where))
        assert (
            "part is 'tset' of fold three; a fold has the part validation, a named split also test" in message
        )
        return
    lung.run("train", "evaluate", **where)

    folder = run / "evaluation" / "best-foldthree-test"
    assert list(CaseScores.read(folder).cases) == sorted(names[6:])
    about = read_summary(folder)["about"]
    assert (about["part"], about["overlap"]["chosen"]) == ("test of three", [])


@pytest.mark.realdata
def test_the_articles_split_says_how_many_slices_are_here(bundle, real_data, tmp_path, capsys):
    if bundle.root.name != "ct_covid_unet":
        pytest.skip("the same for the other")
    where = {"bundle_root": str(bundle.root), "dataset_dir": str(real_data("covid_ct_512")), "device": "cpu"}

    workflow = bundle.workflow(
        ["train", "article"], "train", **where, output_dir=str(tmp_path), run_name="article", widths=[4, 8]
    )

    assert len(workflow.train_dataset) == 65
    said = capsys.readouterr().out
    assert "82 of 84 to train on, 0 of 16 to validate with are here" in said
    assert "validation on the 17 of its training cases in fold 0" in said


@pytest.mark.slow
def test_infected_or_not(lung, tmp_path):
    """Training, scoring and inference with one foreground class, the union of the three classes."""
    run_name = "binary"
    lung.run("train", "binary", **lung.training, run_name=run_name, epochs=2, val_interval=1)
    run = lung.output_dir / run_name

    lung.run("train", "binary", "evaluate", **lung.training, run_name=run_name)
    assert CaseScores.read(run / "evaluation" / "best-fold0").class_names == ("infected",)

    image, _, grid = lung.kind.scans["nrrd/phantom.nrrd"](7, 0)
    write_volume(image, grid, tmp_path / "scans" / "a.nii.gz")
    where = {
        "bundle_root": str(lung.root),
        "dataset_dir": str(tmp_path / "scans"),
        "device": "cpu",
        **lung.window,
    }
    weights = [str(run / "best.pt")]
    lung.run("inference", "binary_inference", **where, weights=weights, output_dir=str(tmp_path / "out"))
    assert set(np.unique(read_volume(tmp_path / "out" / "a.nii.gz").array)) <= {0, 1}
    message = refusal_of(
        lambda: lung.run("inference", **where, weights=weights, output_dir=str(tmp_path / "no"))
    )
    assert "weights of another network" in message

    kept = json.loads((run / "last.json").read_text())["training"]["class_weights"]
    labels = [
        read_volume(lung.manifest.parent / case.label).array
        for case in load_manifest(lung.manifest).training
        if case.fold
    ]
    assert kept["infected"]["voxels"] == sum(np.count_nonzero(label) for label in labels)


def change_manifest(lung, **changes):
    manifest = load_manifest(lung.manifest)
    cases = tuple(replace(case, sha256={}) for case in manifest.training)
    write_manifest(replace(manifest, training=cases, **changes), lung.manifest)
    return [lung.manifest.parent / case.label for case in cases], [
        lung.manifest.parent / case.images[0] for case in cases
    ]


@pytest.mark.slow
def test_weights_of_classes_are_kept_beside_a_runs_weights(bundle, finished_run):
    kept = json.loads((finished_run / "last.json").read_text())["training"]["class_weights"]

    assert set(kept) == {"background", "ground-glass", "consolidation", "effusion"}
    assert kept["background"]["map_voxels"] == 6 * 96 * 96
    assert kept["effusion"]["weight"] > kept["ground-glass"]["weight"] > kept["background"]["weight"]


def test_a_class_that_no_training_case_has_is_refused(lung):
    labels, _ = change_manifest(lung)
    for path in labels:
        volume = read_volume(path)
        write_label_map(np.where(volume.array == 3, 0, volume.array).astype(np.uint8), volume.grid, path)

    message = refusal_of(lambda: lung.train("bad"))

    assert "no training case has a voxel of effusion" in message
    assert not (lung.output_dir / "bad").exists()


@pytest.mark.slow
def test_labels_coded_as_grey_values_need_a_mapping(lung):
    labels, _ = change_manifest(lung)
    for path in labels:
        volume = read_volume(path)
        write_label_map(volume.array * np.uint8(85), volume.grid, path)

    message = refusal_of(lambda: lung.train("bad"))
    assert "label map holds the value(s) 85" in message
    assert "allowed are 0, 1, 2, 3" in message

    names = load_manifest(lung.manifest).labels.values()
    change_manifest(lung, labels=dict(zip((0, 85, 170, 255), names, strict=True)))
    assert (lung.train("mapped", epochs=1) / "last.pt").is_file()


def test_a_slice_of_another_size_is_refused(lung):
    labels, images = change_manifest(lung)
    for path in (labels[2], images[2]):
        volume = read_volume(path)
        write_volume(volume.array[:80], Grid.from_affine((80, 96), volume.grid.affine), path)

    message = refusal_of(lambda: lung.train("bad"))

    assert "has size (80, 96) voxels, slice_size is (96, 96)" in message


def test_a_slice_that_could_be_8_bit_or_hu_is_refused_before_the_first_epoch(lung):
    """The slice is a validation slice, which the training would read at the end of the epoch."""
    _, images = change_manifest(lung)
    held_out = [case.fold for case in load_manifest(lung.manifest).training].index(0)
    volume = read_volume(images[held_out])
    write_volume((volume.array - volume.array.min()).astype(np.uint16), volume.grid, images[held_out])

    message = refusal_of(lambda: lung.train("bad"))

    assert "say which with --intensity uint8 or --intensity hu" in message
    assert not (lung.output_dir / "bad").exists()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ({"widths": [16], "stages": []}, r"(widths are \[16\]|stages are \[\]); needs at least"),
        ({"widths": 64, "stages": [64, 64]}, r"(widths are 64|stages are \[64, 64\]); needs at least"),
        ({"dropout": 2}, "dropout is 2, must be a number of at least 0 and below 1"),
        ({"norm": "bach"}, "(?s)network_def cannot be made: .*did you mean 'BATCH'"),
        ({"dice_weight": -1}, "dice_weight is -1"),
    ],
    ids=str,
)
def test_numbers_that_no_network_or_loss_has_are_one_message(lung, override, expected):
    known = lung.parser("train").get()

    message = refusal_of(lambda: lung.train("bad", **{k: v for k, v in override.items() if k in known}))

    assert re.search(expected, message)
    assert not (lung.output_dir / "bad").exists()


def test_a_network_without_norms_is_chosen_by_name(lung):
    """MONAI ignores None on the command line without a message."""
    parser = lung.parser("train", norm="none")

    network = parser.get_parsed_content("network_def")

    assert not [module for module in network.modules() if "Norm" in type(module).__name__]


@pytest.mark.parametrize("names", [("train",), ("train", "evaluate"), ("inference",)], ids="+".join)
def test_a_window_whose_ends_are_reversed_is_refused(lung, names):
    where = (
        {"bundle_root": str(lung.root)} if names == ("inference",) else {**lung.training, "run_name": "bad"}
    )

    message = refusal_of(lambda: lung.run(*names, **where, window_hu=[400.0, -1000.0]))

    assert "window_hu is [400.0, -1000.0]; must be two numbers in HU, the lower first" in message


@pytest.mark.parametrize("names", [("train",), ("train", "evaluate"), ("inference",)], ids="+".join)
def test_a_window_of_which_one_pixel_would_be_left_is_refused(lung, names):
    """A norm over one pixel is undefined."""
    where = (
        {"bundle_root": str(lung.root)} if names == ("inference",) else {**lung.training, "run_name": "bad"}
    )

    message = refusal_of(lambda: lung.run(*names, **{**where, "window_size": [64, 64]}))

    assert "window_size is [64, 64] voxels: the network halves every axis to 1/64" in message
    assert "use at least [128, 128]" in message


def infer(lung, run, scans, files=(), **overrides):
    where = {
        "bundle_root": str(lung.root),
        "dataset_dir": str(scans),
        "output_dir": str(scans.parent / "out"),
    }
    overrides = {**lung.window, **overrides}
    lung.run("inference", *files, **where, weights=[str(run / "best.pt")], device="cpu", **overrides)


@pytest.mark.parametrize("size", [512, [512], [512, 0], ["a", "b"]], ids=str)
def test_a_slice_size_that_is_none_is_refused(lung, size):
    overrides = {**lung.training, "slice_size": size}
    assert "slice_size is" in refusal_of(lambda: lung.run("train", **overrides, run_name="bad"))


def test_a_slice_size_that_is_none_is_refused_by_inference(lung, finished_run, tmp_path):
    assert "slice_size is 512" in refusal_of(lambda: infer(lung, finished_run, tmp_path, slice_size=512))


def test_slices_of_another_size_are_not_segmented(lung, finished_run, tmp_path):
    image, _, _ = lung.kind.make(7, 0)
    flat = Grid.from_affine((80, 96), np.diag([-1.0, -1, 1, 1]))
    write_volume(np.ascontiguousarray(image[:80]), flat, tmp_path / "scans" / "cut.mhd")

    message = refusal_of(lambda: infer(lung, finished_run, tmp_path / "scans"))
    assert "a slice of (80, 96) pixels, slice_size is (96, 96)" in message

    message = refusal_of(lambda: infer(lung, finished_run, tmp_path / "scans", slice_size=[80, 96]))
    assert "was trained on slices of [96, 96] pixels, slice_size is [80, 96]" in message


def test_an_rgb_picture_is_refused(lung, finished_run, tmp_path):
    (tmp_path / "scans").mkdir()
    imsave(tmp_path / "scans" / "photo.png", np.zeros((96, 96, 3), np.uint8), check_contrast=False)

    message = refusal_of(lambda: infer(lung, finished_run, tmp_path / "scans"))

    assert "photo.png: 2D with 3 channel(s), the bundle takes 2D or 3D with 1" in message


def test_intensities_that_can_be_either_kind_are_refused(lung, finished_run, tmp_path):
    image, _, _ = lung.kind.make(7, 0)
    flat = Grid.from_affine((96, 96), np.diag([-1.0, -1, 1, 1]))
    write_volume((image + 1024).astype(np.uint16), flat, tmp_path / "scans" / "sixteen.mhd")

    message = refusal_of(lambda: infer(lung, finished_run, tmp_path / "scans"))

    assert "sixteen.mhd" in message
    assert "neither 8-bit nor HU" in message
    infer(lung, finished_run, tmp_path / "scans", intensity="hu")  # what the message says to do
    assert (tmp_path / "out" / "sixteen.mhd").is_file()


def test_a_volume_is_the_same_in_every_format_and_slice_by_slice(lung, finished_run, tmp_path):
    """One scan as NIfTI, .mhd and DICOM; and each slice alone, oriented like the training slices."""
    image, _, grid = lung.kind.scans["nrrd/phantom.nrrd"](7, 0)
    for name in ("a.nii.gz", "b.mhd"):
        write_volume(image, grid, tmp_path / "scans" / name)
    write_series(image, grid, tmp_path / "scans" / "c", "CT")
    flat = Grid.from_affine(grid.size[:2], np.diag([-1.0, -1, 1, 1]))
    for index in range(grid.size[2]):
        write_volume(
            np.ascontiguousarray(image[..., index].T), flat, tmp_path / "scans" / f"slice_{index}.mhd"
        )

    infer(lung, finished_run, tmp_path / "scans")

    out = tmp_path / "out"
    expected = read_volume(out / "a.nii.gz").array
    for name in ("b.mhd", "c.nii.gz"):
        written = read_volume(out / name)
        np.testing.assert_array_equal(written.array, expected)
        assert written.grid.differences(grid) == []
    for index in range(grid.size[2]):
        alone = read_volume(out / f"slice_{index}.mhd").array
        assert np.mean(expected[..., index] == alone.T) > 0.999


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.slow
def test_another_window_than_in_validation_is_warned_of_where_the_norm_minds(lung, norm, capsys):
    """Instance norm depends on the window's size, batch norm does not."""
    training = {**lung.training, **lung.small_network, "norm": norm, "run_name": norm}
    lung.run("train", **training, epochs=1)

    lung.run("train", "evaluate", **{**training, "window_size": [128, 128]})

    assert ("was validated in windows of" in capsys.readouterr().out) == (norm == "instance")


@pytest.mark.slow
@pytest.mark.realdata
def test_real_ct_comes_back_on_its_grid(bundle, finished_run, real_data, tmp_path):
    """The test checks geometry only: none of these scans shows a lung."""
    series = real_data("dicom_seg") / "ct-3slice"
    spleen = next((real_data("spleen") / "imagesTr").glob("*.nii.gz"))
    sarcoma = next(real_data("sts_ct").glob("*/CT_image.nii.gz"))
    scans = tmp_path / "scans"
    scans.mkdir()
    named = {"series": series, "spleen.nii.gz": spleen, "sarcoma.nii.gz": sarcoma}
    for name, scan in named.items():
        (scans / name).symlink_to(scan)
    where = {"bundle_root": str(bundle.root), "dataset_dir": str(scans), "output_dir": str(tmp_path / "out")}

    bundle.run(
        "inference", **where, weights=[str(finished_run / "best.pt")], device="cpu", slice_size=[96, 96]
    )

    for name, scan in named.items():
        written = read_volume(tmp_path / "out" / f"{name.removesuffix('.nii.gz')}.nii.gz")
        assert written.grid.differences(read_volume(scan).grid) == []


@pytest.mark.realdata
def test_the_shipped_weights_segment_what_they_learnt(bundle, real_data, tmp_path):
    """Dice by hand on files read by SimpleITK. The slices are training slices: a lower Dice means broken weights."""
    folder = real_data("covid_ct_512")
    names = [f"slice_{number:03d}" for number in range(1, 82, 10)]
    for name in names:
        for suffix in (".mhd", ".zraw"):
            target = tmp_path / "scans" / (name + suffix)
            target.parent.mkdir(exist_ok=True)
            target.symlink_to((folder / "images" / target.name).resolve())

    bundle.run(
        "inference",
        bundle_root=str(bundle.root),
        dataset_dir=str(tmp_path / "scans"),
        output_dir=str(tmp_path / "out"),
        device="cpu",
    )

    predicted, drawn = (
        np.stack([sitk.GetArrayFromImage(sitk.ReadImage(part / f"{name}.mhd")) for name in names])
        for part in (tmp_path / "out", folder / "labels")
    )
    dice = [
        2 * np.sum((predicted == c) & (drawn == c)) / (np.sum(predicted == c) + np.sum(drawn == c))
        for c in (1, 2)
    ]
    assert dice[0] > SHIPPED_DICE[bundle.root.name][0]
    assert dice[1] > SHIPPED_DICE[bundle.root.name][1]


@pytest.mark.parametrize("axcodes", ["LPS", "RAS", "PSL"])
def test_a_slice_in_hu_is_measured_as_the_same_in_8_bit(bundle, tmp_path, axcodes):
    """Warnings must not depend on a file's intensity scale and orientation."""
    random = np.random.default_rng(0)
    grey = random.integers(0, 256, (512, 512)).astype(np.uint8)
    low, high = bundle.parser("inference")["window_hu"]
    hu = np.round(low + grey / 255 * (high - low)).astype(np.int16)
    write_volume(grey, Grid.from_affine(grey.shape, np.eye(4)), tmp_path / "grey.mhd")
    turn = ornt_transform(axcodes2ornt("PLS"), axcodes2ornt(axcodes))
    volume = np.ascontiguousarray(apply_orientation(hu[..., None], turn))
    affine = np.array([[0, -1.0, 0, 0], [-1, 0, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1]])
    grid = Grid.from_affine(volume.shape, affine @ inv_ornt_aff(turn, (*hu.shape, 1)))
    write_volume(volume, grid, tmp_path / "hu.nii.gz")
    segmenter = Segmenter(open_bundle(bundle.root))

    of_grey, of_hu = (
        segmenter.prepared(loaded, Grid.from_affine(loaded.shape[1:], loaded.affine))[1]
        for loaded in map(segmenter.bundle.read, (tmp_path / "grey.mhd", tmp_path / "hu.nii.gz"))
    )

    of_header = {f"{what}/{axis}" for what in ("spacing", "extent") for axis in "xy"}  # a 2D image has none
    assert of_hu.values.keys() - of_grey.values.keys() == of_header
    for name, value in of_grey.values.items():
        assert of_hu.values[name] == pytest.approx(value, abs=3e-3), name
    assert "scaled/median" in of_grey.values
    np.testing.assert_allclose(of_hu.coarse_images, of_grey.coarse_images, atol=1e-2)

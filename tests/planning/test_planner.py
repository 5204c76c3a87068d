"""plan_bundle writes a complete bundle with the reason of every number, or raises one clear message."""

import json
from dataclasses import replace

import monai.bundle
import numpy as np
import pytest
import yaml
from monai.bundle import ConfigParser

import segpipe
from segpipe.admission.gate import audit
from segpipe.bundle.check_run import configuration_findings
from segpipe.bundle.source import BundleSource
from segpipe.bundle_check.check_bundle import check_bundle
from segpipe.dataset import Case, Manifest, load_manifest, write_manifest
from segpipe.errors import SegpipeError
from segpipe.phantoms.files import ct, write_phantom_dataset
from segpipe.planning import PlanOptions, plan_bundle
from segpipe.prediction.options import PredictOptions
from segpipe.volumes import Grid, read_volume, write_label_map, write_volume

SIZE = (24, 20, 18)


def write_set(folder, *, channels=1, folds=True, name="mine", classes=None, cases=4, thickness=1.5):
    """Write small volumes of noise with a bright block, and return their manifest."""
    grid = Grid.from_affine(SIZE, np.diag([-1.0, -1.0, thickness, 1.0]))
    listed = []
    for number in range(cases):
        random = np.random.default_rng(number)
        labels = np.zeros(SIZE, np.uint8)
        labels[6:14, 5:12, 4:10] = 1
        images = [f"images/c{number}_{channel}.nii.gz" for channel in range(channels)]
        for path in images:
            voxels = random.normal(100, 20, SIZE) + 80 * labels
            write_volume(voxels.astype(np.int16), grid, folder / path)
        write_label_map(labels, grid, folder / f"labels/c{number}.nii.gz")
        fold = number % 2 if folds else None
        listed.append(Case(f"c{number}", tuple(images), f"labels/c{number}.nii.gz", f"p{number}", fold))
    modality = tuple(f"MRI {channel}" for channel in range(channels))
    manifest = Manifest(name, modality, classes or {0: "background", 1: "block"}, tuple(listed))
    write_manifest(manifest, folder / "manifest.json")
    return folder / "manifest.json"


@pytest.fixture
def data(tmp_path):
    return write_set(tmp_path / "data")


@pytest.fixture(scope="module")
def images_2d(tmp_path_factory):
    return write_phantom_dataset(
        tmp_path_factory.mktemp("images") / "set", num_cases=8, seed=4, kind=ct(size=96, slices=3)
    )


def planned(manifest, **options):
    return plan_bundle(manifest, manifest.parent, manifest.parent.parent / "bundle", PlanOptions(**options))


def parser(root, *names):
    configuration = ConfigParser()
    configuration.read_config([str(root / "configs" / f"{name}.yaml") for name in names])
    configuration.read_meta(str(root / "configs" / "metadata.json"))
    return configuration


def assert_sound(root):
    """Require that every id is used, and that neither `segpipe check` nor `segpipe audit` has a finding."""
    for names in (["train"], ["train", "multi_gpu_train"], ["train", "evaluate"], ["inference"]):
        assert configuration_findings(parser(root, *names)) == [], names
        files = [root / "configs" / f"{name}.yaml" for name in names]
        assert check_bundle(root, files, {}, look_for_files=False) == [], names
        assert audit(root, files, logging_file=root / "configs" / "logging.conf") == [], names


@pytest.mark.parametrize(
    ("channels", "folds", "options"),
    [
        (1, True, {}),
        pytest.param(2, True, {}, marks=pytest.mark.slow),
        pytest.param(1, False, {}, marks=pytest.mark.slow),
        (1, True, {"dims": 2}),
        pytest.param(1, True, {"network": "segnet"}, marks=pytest.mark.slow),
        pytest.param(1, True, {"network": "segnet", "dims": 2}, marks=pytest.mark.slow),
        pytest.param(1, True, {"network": "resenc"}, marks=pytest.mark.slow),
        pytest.param(1, True, {"network": "resenc", "dims": 2}, marks=pytest.mark.slow),
    ],
    ids=[
        "volumes",
        "channels",
        "no-folds",
        "slices",
        "segnet",
        "segnet-of-slices",
        "resenc",
        "resenc-of-slices",
    ],
)
def test_its_files_are_sound(channels, folds, options, tmp_path):
    bundle = planned(write_set(tmp_path / "data", channels=channels, folds=folds), **options)

    assert_sound(bundle.root)


@pytest.mark.slow
def test_a_segnet_of_thick_slices_is_sound(tmp_path):
    bundle = planned(write_set(tmp_path / "data", thickness=4.0), network="segnet")

    assert_sound(bundle.root)
    network = parser(bundle.root, "train").get_parsed_content("network_def")
    assert network.strides == bundle.plan.numbers["strides"].value
    assert network.strides[0] == [2, 2, 1]
    assert parser(bundle.root, "inference")["strides"] == network.strides


def test_no_validation_trains_on_every_case(data):
    bundle = planned(data, validate=False)

    assert parser(bundle.root, "train")["fold"] == "all"
    assert any("validates on none, as asked for" in warning for warning in bundle.plan.warnings)


@pytest.mark.parametrize("network", ["unet", pytest.param("segnet", marks=pytest.mark.slow)])
def test_a_bundle_of_2d_images_is_sound(images_2d, network, tmp_path):
    bundle = plan_bundle(images_2d, images_2d.parent, tmp_path / "bundle", PlanOptions(network=network))

    assert bundle.plan.intensity == "hu"
    assert_sound(bundle.root)


@pytest.mark.slow
def test_mirror_images_are_averaged_in_evaluation_and_inference_alike(images_2d, tmp_path, monkeypatch):
    monkeypatch.setattr("segpipe.planning.augmentation._FEWEST_TO_MIRROR", 2)
    monkeypatch.setattr("segpipe.planning.augmentation._MIRROR_ERRORS", 1e9)

    root = plan_bundle(images_2d, images_2d.parent, tmp_path / "bundle", PlanOptions()).root

    assert_sound(root)
    train, evaluate, inference = (
        parser(root, *names) for names in (["train"], ["train", "evaluate"], ["inference"])
    )
    assert (train["flips"], evaluate["flips"], inference["flips"]) == ([], [0, 1], [0, 1])
    assert evaluate["validate#inferer"] == inference["inferer"]
    flips = [
        step["spatial_axis"]
        for step in train["random_transforms"]
        if step["_target_"] == "monai.transforms.RandFlipd"
    ]
    assert flips == [0, 1]


def test_every_number_stands_in_the_file_with_its_reason(data):
    bundle = planned(data)
    text = (bundle.root / "configs" / "train.yaml").read_text()

    read = yaml.safe_load(text)
    for name, number in bundle.plan.numbers.items():
        assert read[name] == number.value, name
        (line,) = [line for line in text.splitlines() if line.startswith(f"{name}:")]
        assert line.endswith(f"# {number.why}"), name


def test_the_same_data_make_the_same_bundle(data):
    first, second = (
        plan_bundle(data, data.parent, data.parent.parent / name, PlanOptions()).root
        for name in ("one", "two")
    )

    for path in (path for path in first.rglob("*") if path.is_file()):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("channels", "options"),
    [(2, {}), (1, {"dims": 2, "network": "segnet"})],
    ids=["channels", "segnet-of-slices"],
)
def test_it_trains_and_its_weights_segment(channels, options, tmp_path):
    manifest = write_set(tmp_path / "data", channels=channels)
    bundle = planned(manifest, epochs=2, **options)
    root = str(bundle.root)

    given = {"bundle_root": root, "run_name": "a", "device": "cpu", "reference_ranges": False}
    monai.bundle.run(config_file=f"{root}/configs/train.yaml", **given)
    names = [f"{root}/configs/{name}.yaml" for name in ("train", "evaluate")]
    monai.bundle.run(config_file=names, bundle_root=root, run_name="a", device="cpu")

    assert (bundle.root / "runs" / "a" / "best.pt").is_file()
    tables = [path.read_text() for path in (bundle.root / "runs" / "a").rglob("*.csv")]
    assert any("block" in table for table in tables)
    scans, weights = manifest.parent / "images", [f"{root}/runs/a/best.pt"]
    config = f"{root}/configs/inference.yaml"
    given = {
        "dataset_dir": str(scans),
        "output_dir": str(tmp_path / "monai"),
        "weights": weights,
        "device": "cpu",
        "precision": "float32",  # auto would be timed by predict, and may be bfloat16 in MONAI's run
    }
    monai.bundle.run(config_file=config, bundle_root=root, **given)
    source, how = BundleSource(root, weights=weights, device="cpu"), PredictOptions(precision="float32")
    predictions = segpipe.predict(scans, source, tmp_path / "ours", options=how)
    assert [prediction.case for prediction in predictions] == ["c0", "c1", "c2", "c3"]
    for prediction in predictions:
        by_monai = read_volume(tmp_path / "monai" / f"{prediction.case}.nii.gz")
        assert np.array_equal(read_volume(prediction.label_map).array, by_monai.array)


def test_it_names_its_channels_and_their_files(tmp_path):
    manifest = write_set(tmp_path / "data", channels=2)
    manifest.write_text(manifest.read_text().replace('"labels"', '"resample_channels": true,\n "labels"', 1))
    root = planned(manifest).root

    inference = yaml.safe_load((root / "configs" / "inference.yaml").read_text())
    assert inference["channels"] == [
        {"name": "MRI 0", "files": "{case}_0"},
        {"name": "MRI 1", "files": "{case}_1"},
    ]
    assert inference["channel_order"] is None
    metadata = json.loads((root / "configs" / "metadata.json").read_text())
    assert metadata["modality"] == metadata["network_data_format"]["inputs"]["image"]["modality"] == "MR"
    train = yaml.safe_load((root / "configs" / "train.yaml").read_text())
    assert inference["resample_channels"] is train["resample_channels"] is True
    parts = (train["cases"], train["load_transforms"][0], inference["cases"], inference["load_transforms"][0])
    assert [part["resample_channels"] for part in parts] == ["@resample_channels"] * 4
    assert "MRI 0 (`{case}_0`), MRI 1 (`{case}_1`)" in (root / "docs" / "README.md").read_text()


def test_without_folds_it_trains_on_all(tmp_path):
    bundle = planned(write_set(tmp_path / "data", folds=False))

    assert parser(bundle.root, "train")["fold"] == "all"
    assert "segpipe data split" in bundle.plan.warnings[0]


def test_a_split_of_the_manifest_is_taken(tmp_path):
    path = write_set(tmp_path / "data", folds=False)
    content = json.loads(path.read_text())
    content["splits"] = {"holdout": {"about": "mine", "train": ["c0", "c1", "c2"], "validation": ["c3"]}}
    path.write_text(json.dumps(content))

    assert parser(planned(path).root, "train")["fold"] == "holdout"


def test_cases_that_stand_apart_are_warned_of(tmp_path):
    """One of four cases is a CT in HU."""
    path = write_set(tmp_path / "data")
    scan = tmp_path / "data" / "images" / "c2_0.nii.gz"
    volume = read_volume(scan)
    write_volume((volume.array - 1000).astype(np.int16), volume.grid, scan)
    described = json.loads(path.read_text())
    for case in described["training"]:
        case["sha256"] = {}
    path.write_text(json.dumps(described))

    (warning,) = planned(path).plan.warnings

    assert "1 finding(s) of `segpipe data check`" in warning
    assert "two modalities or units in one channel" in warning
    assert "(c2)" in warning


def test_names_do_not_break_the_files(tmp_path):
    classes = {0: "background", 1: 'a "block": #1 of {{ it }} or \N{GREEK SMALL LETTER BETA} - two'}
    bundle = planned(write_set(tmp_path / "data", name='my "set": #1 or two', classes=classes))

    assert_sound(bundle.root)
    assert parser(bundle.root, "train")["_meta_"]["label_table"][1]["name"] == classes[1]


def test_a_folder_in_the_way_is_not_touched(data):
    folder = data.parent.parent / "bundle"
    folder.mkdir()

    with pytest.raises(SegpipeError, match="exists already"):
        planned(data)

    assert list(folder.iterdir()) == []


def test_a_file_that_changed_is_refused_and_nothing_is_left(data):
    path = data.parent / "labels" / "c1.nii.gz"
    path.unlink()

    with pytest.raises(SegpipeError, match=r"c1: labels/c1\.nii\.gz: missing"):
        planned(data)

    assert sorted(path.name for path in data.parent.parent.iterdir()) == ["data"]


def test_label_maps_without_a_class_are_refused(data):
    grid = Grid.from_affine(SIZE, np.diag([-1.0, -1.0, 1.5, 1.0]))
    for path in (data.parent / "labels").iterdir():
        write_label_map(np.zeros(SIZE, np.uint8), grid, path)

    with pytest.raises(SegpipeError, match="none of 4 label maps has a voxel of block"):
        planned(data)


def test_balanced_draws_need_every_class(tmp_path):
    manifest = write_set(tmp_path / "data", classes={0: "background", 1: "block", 2: "ring"})

    with pytest.raises(
        SegpipeError, match="no training case of mine has ring; add such cases, remove the class"
    ):
        planned(manifest, balanced=True)
    assert not (tmp_path / "bundle").exists()


def test_a_manifest_without_label_maps_is_refused(data):
    manifest = load_manifest(data)
    cases = tuple(replace(case, label=None, classes=("block",)) for case in manifest.training)
    write_manifest(replace(manifest, target="class", training=cases), data)

    with pytest.raises(SegpipeError, match="its target is class"):
        planned(data)


def test_too_little_memory_leaves_nothing(data):
    with pytest.raises(SegpipeError, match=r"0\.6 GB of memory are too few"):
        planned(data, memory_gb=0.6)

    assert not (data.parent.parent / "bundle").exists()


def test_axes_are_compared_in_one_order(tmp_path):
    """Files with different axis orders have one median spacing."""
    folder = tmp_path / "data"
    data = write_set(folder)
    turned = np.zeros((4, 4))
    turned[0, 2], turned[1, 0], turned[2, 1], turned[3, 3] = (
        1.0,
        1.0,
        1.5,
        1.0,
    )  # its third axis points to the right
    size = (SIZE[1], SIZE[2], SIZE[0])
    grid = Grid.from_affine(size, turned)
    for kind, write in (("images/c{}_0", write_volume), ("labels/c{}", write_label_map)):
        for number in range(3):
            most = 2 if kind.startswith("labels") else 200
            values = np.random.default_rng(number).integers(0, most, size).astype(np.uint8)
            write(values, grid, folder / f"{kind.format(number)}.nii.gz")

    bundle = planned(data)

    assert bundle.data.sizes == (SIZE,) * 4
    assert bundle.plan.numbers["spacing_mm"].value == [1.0, 1.0, 1.5]


def test_what_lies_on_one_side_does_so_in_whichever_order_a_file_has_its_axes(tmp_path):
    """The patients are the same; half of the files run from right to left."""
    folder = tmp_path / "data"
    data = write_set(folder, cases=8)
    to_the_right = Grid.from_affine(SIZE, np.diag([1.0, -1.0, 1.5, 1.0]))
    for number in range(0, 8, 2):
        for path in (folder / f"images/c{number}_0.nii.gz", folder / f"labels/c{number}.nii.gz"):
            mirrored = np.ascontiguousarray(read_volume(path).array[::-1])
            write_volume(mirrored, to_the_right, path)

    bundle = planned(data)

    (mean, error), *_ = bundle.data.classes[1].offsets
    assert mean == pytest.approx((9.5 + 0.5) / 24 - 0.5) or mean == pytest.approx(0.5 - (9.5 + 0.5) / 24)
    assert error == pytest.approx(0.0, abs=1e-9)
    assert bundle.plan.mirrors.value == []


@pytest.mark.slow
def test_the_locator_lies_beside_the_bundle_and_unites_its_classes(tmp_path):
    manifest = write_set(tmp_path / "data", classes={0: "background", 1: "block", 7: "rim"}, channels=2)

    bundle = planned(manifest, locate=True)

    locator = bundle.root / "locator"
    metadata = json.loads((locator / "configs" / "metadata.json").read_text())
    train = yaml.safe_load((locator / "configs" / "train.yaml").read_text())
    assert metadata["locates"] == ["background", "block", "rim"]
    assert [row["name"] for row in metadata["label_table"]] == ["background", "foreground"]
    assert train["cases"]["groups"] == {"foreground": ["block", "rim"]}
    assert train["patch_size"] == train["window_size"]
    # scans of 24 x 20 x 27 mm have fewer than 65,536 mm3: the locator's voxels are no smaller than the bundle's
    assert train["spacing_mm"] == [1.0, 1.0, 1.5]
    assert train["patch_size"] == [24, 24, 24]
    assert train["filters"][0] == 8
    assert (locator / "models").is_dir()
    assert "locates" not in json.loads((bundle.root / "configs" / "metadata.json").read_text())
    assert_sound(locator)


def test_slices_have_no_locator(tmp_path):
    manifest = write_set(tmp_path / "data")

    with pytest.raises(
        SegpipeError, match=r"--locate is for networks of volumes, and this network is 2D \(as asked"
    ):
        planned(manifest, locate=True, dims=2)
    assert not (tmp_path / "bundle").exists()

"""The audit of components: the callable of a `_target_`, and its arguments."""

import pytest

DEVICE = {"_target_": "torch.device", "type": "cpu"}
NETWORK = {"_target_": "monai.networks.nets.UNet"}


@pytest.fixture
def of(problems_in):
    """Return a function that lists the findings in one component, beside `@bundle_root` and other ids."""

    def look(target, **arguments):
        return problems_in(
            imports=["$import os"],
            output_dir="$@bundle_root + '/out'",
            network=NETWORK,
            names=["nibabelreader"],
            dictionary={"../a": "@network"},
            metrics={"mean_dice": {"_target_": "MeanDice"}},
            unknown="$@names[0]",
            value={"_target_": target, **arguments},
        )

    return look


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        (
            "torch.device",
            {"type": "cpu", "_mode_": "callable", "_disabled_": True, "_requires_": ["@network"]},
        ),
        ("LoadImaged", {"keys": "image", "reader": "NibabelReader", "image_only": True}),
        ("LoadImaged", {"keys": "image", "reader": "@names"}),
        ("LoadImaged", {"keys": "image", "reader": None}),
        (
            "SaveImaged",
            {"keys": "pred", "output_dir": "@output_dir", "output_postfix": "seg", "output_ext": ".nii.gz"},
        ),
        (
            "SaveImaged",
            {"keys": "pred", "output_dir": "@output_dir", "output_postfix": "", "data_root_dir": ""},
        ),
        (
            "CheckpointLoader",
            {"load_path": "$@bundle_root + '/models/model.pt'", "load_dict": {"model": "@network"}},
        ),
        (
            "CheckpointSaver",
            {
                "save_dir": "@output_dir",
                "save_dict": {"model": "@network"},
                "key_metric_filename": "model.pt",
            },
        ),
        ("SupervisedEvaluator", {"key_val_metric": "@metrics", "compile": False}),
        ("SupervisedEvaluator", {"key_val_metric": {"dice": None}, "additional_metrics": None}),
        ("DenseNet121", {"spatial_dims": 3, "pretrained": False}),
        ("TensorBoardStatsHandler", {"log_dir": "@output_dir", "tag_name": "train_loss"}),
        ("segpipe.bundle.inference_cases", {"dataset_dir": "/data", "output_dir": "@output_dir"}),
    ],
)
def test_listed_callables_with_safe_arguments_need_no_consent(of, target, arguments):
    assert [what for what in of(target, **arguments) if "/data" not in what] == []


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("torch.device", {"type": "cpu", "_mode_": "debug"}),
        ("torch.device", {"type": "cpu", "_mode_": "$'de' + 'bug'"}),
        ("torch.device", {"type": "cpu", "_mode_": "@names"}),
        ("torch.device", {"type": "cpu", "_debug_": True}),
        ("torch.device", {"type": "cpu", "_requires_": ["$print(1)"]}),
        ("torch.device", {"type": "cpu", "_disabled_": "$print(1)"}),
        ("torch.device", {"type": "cpu", "_desc_": {"_target_": "os.system", "command": "true"}}),
        ("torch.device", {"type": {"a": [{"_target_": "os.system", "command": "true"}]}}),
        ("os.system", {"command": "true", "_disabled_": True}),
        ("@names", {}),
        ("$print", {}),
        ("segpipe.bundle.run_engine", {"engine": "$import monai.bundle"}),
        ("monai.transforms.Identityd", {"keys": ["$import monai.bundle"]}),
        ("LoadImaged", {"keys": "image", "reader": "evil.Reader"}),
        ("LoadImaged", {"keys": "image", "reader": "$'evil' + '.Reader'"}),
        ("LoadImaged", {"keys": "image", "reader": ["NibabelReader", "evil.Reader"]}),
        ("LoadImaged", {"keys": "image", "reader": DEVICE}),
        ("LoadImaged", {"keys": "image", "allow_pickle": True}),
        ("SaveImaged", {"keys": "pred", "output_dir": "@output_dir", "writer": "evil.Writer"}),
        ("SaveImaged", {"keys": "pred"}),  # by default into the working directory
        (
            "SaveImaged",
            {"keys": "pred", "output_dir": "@output_dir", "output_postfix": "$'a/' + '.' + './b'"},
        ),
        ("SaveImaged", {"keys": "pred", "output_dir": "@output_dir", "output_postfix": "@unknown"}),
        ("SaveImaged", {"keys": "pred", "output_dir": "@output_dir", "output_ext": ".py"}),
        ("SaveImaged", {"keys": "pred", "output_dir": "@output_dir", "data_root_dir": "a/b/c"}),
        ("SaveImaged", {"keys": "pred", "output_dir": "@output_dir", "output_name_formatter": DEVICE}),
        ("SaveImaged", {"_mode_": "callable", "keys": "pred", "output_dir": "@output_dir"}),
        ("SaveImaged", {"keys": "pred", "output_dir": "$@bundle_root + '/' + '.' + '.'"}),
        (
            "SaveImaged",
            {"keys": "pred", "output_dir": "$@output_dir if os.path.exists(@output_dir) else 'a'"},
        ),
        (
            "SaveImaged",
            {"keys": "pred", "output_dir": "$'a' if os.path.exists(@output_dir) else @output_dir"},
        ),
        ("CheckpointLoader", {"load_path": "models/model.pt", "load_dict": {"model": "@network"}}),
        ("CheckpointLoader", {"load_path": "@unknown", "load_dict": {"model": "@network"}}),
        ("CheckpointSaver", {"save_dir": "@output_dir", "save_dict": {"../a": "@network"}}),
        ("CheckpointSaver", {"save_dir": "@output_dir", "save_dict": "@dictionary"}),
        ("CheckpointSaver", {"save_dir": "@output_dir", "save_dict": "@unknown"}),
        ("CheckpointSaver", {"save_dir": "@output_dir", "save_dict": {"a": 1}, "final_filename": "a/b.pt"}),
        ("CheckpointSaver", {"save_dir": "@output_dir", "save_dict": {"a": 1}, "file_prefix": "a\\b"}),
        ("SupervisedEvaluator", {"key_val_metric": {"../a": None}}),
        ("SupervisedTrainer", {"additional_metrics": "@dictionary"}),
        ("SupervisedEvaluator", {"compile": True}),
        ("SupervisedEvaluator", {"compile_kwargs": {"backend": "evil"}}),
        ("DenseNet121", {"spatial_dims": 3, "pretrained": "$not False"}),
        ("TensorBoardStatsHandler", {}),
        ("TensorBoardStatsHandler", {"log_dir": None}),  # as without the argument: ./runs
        ("SaveImaged", {"keys": "pred", "output_dir": False}),
        ("os." * 5000 + "system", {}),
        ("TensorBoardStatsHandler", {"log_dir": "@output_dir", "summary_writer": DEVICE}),
        ("StatsHandler", {"key_var_format": "{}"}),
        ("segpipe.bundle.label_table", {"metadata": "metadata.json"}),
        ("segpipe.bundle.with_weights", {"network": "@network", "weights": ["/etc/passwd"]}),
    ],
)
def test_any_other_component_is_found(of, target, arguments):
    assert any(what.startswith("value") for what in of(target, **arguments))


def test_a_run_writes_below_the_bundle_or_where_the_user_says(problems_in, tmp_path):
    saver = {"_target_": "MetricsSaver", "save_dir": "@output_dir"}

    assert problems_in(saver=saver, output_dir="$@bundle_root + '/out'") == []
    assert problems_in(["output_dir"], saver=saver, output_dir=str(tmp_path.parent)) != []


def test_weights_lie_in_the_bundle_or_where_the_user_says(problems_in, tmp_path):
    inside, outside = "$@bundle_root + '/model.pt'", str(tmp_path.parent / "model.pt")
    loader = {"_target_": "CheckpointLoader", "load_path": "@weights", "load_dict": {"model": 1}}

    assert problems_in(loader=loader, weights=inside) == []
    assert problems_in(["weights"], [outside], loader=loader, weights=outside) == []
    assert problems_in(["weights"], loader=loader, weights=outside) != []


def test_a_folder_that_is_written_has_no_link_to_elsewhere(problems_in, tmp_path):
    """Writing to a link replaces the file that the link points to."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.csv").symlink_to(tmp_path.parent / "victim")
    saver = {"_target_": "MetricsSaver", "save_dir": str(tmp_path / "out")}

    assert any("is a link to" in what for what in problems_in(saver=saver))


def test_a_folder_that_is_a_link_to_elsewhere_is_not_the_bundles(problems_in, tmp_path):
    (tmp_path / "out").symlink_to(tmp_path.parent)
    saver = {"_target_": "MetricsSaver", "save_dir": str(tmp_path / "out")}

    assert any("outside the bundle's folder" in what for what in problems_in(saver=saver))


def test_a_loader_of_weights_may_be_called(problems_in):
    loader = {
        "_target_": "CheckpointLoader",
        "load_path": "$@bundle_root + '/a.pt'",
        "load_dict": {"model": 1},
    }

    assert problems_in(loader=loader, engine=None, run="$@loader(@engine)") == []
    assert problems_in(loader=DEVICE, engine=None, run="$@loader(@engine)") != []

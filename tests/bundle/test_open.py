"""segpipe opens its bundles and bundles of the model zoo's layout, and refuses all others with a reason."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from monai.transforms import CastToTyped, Invertd, LoadImaged
from shipped_bundles import bundles_of
from tiny_bundle import write_bundle

from segpipe.bundle.open import open_bundle as open_audited
from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError
from segpipe.networks import Ensemble
from segpipe.transforms import LoadVolumed, SaveLabelMapd

pytestmark = pytest.mark.filterwarnings("ignore:.*nvImageCodec")  # said by any LoadImaged of MONAI's

OURS = bundles_of("segmentation")
HIPPOCAMPUS = next(path for path in OURS if path.name == "mri_hippocampus_unet")


def open_bundle(bundle, **settings):
    """Open a bundle as a user who trusts it; test_gate.py tests which bundles are admitted."""
    return open_audited(replace(BundleSource.of(bundle), trust=True), **settings)


@pytest.fixture
def our_bundle(tmp_path):
    """Return a function that copies a shipped bundle with random weights; the weights have no sidecar."""

    def copied(source, change=lambda inference, metadata: None):
        root = tmp_path / source.name
        shutil.copytree(source / "configs", root / "configs")
        (root / "models").mkdir()
        torch.save(network_of(root).state_dict(), root / "models" / "model.pt")
        inference = yaml.safe_load((root / "configs" / "inference.yaml").read_text())
        metadata = json.loads((root / "configs" / "metadata.json").read_text())
        change(inference, metadata)
        (root / "configs" / "inference.yaml").write_text(yaml.safe_dump(inference, sort_keys=False))
        (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
        return root

    return copied


def network_of(root):
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "inference.yaml"))
    parser.read_meta(str(root / "configs" / "metadata.json"))
    return parser.get_parsed_content("network_def")


def refusal(call, *expected):
    with pytest.raises(SegpipeError) as caught:
        call()
    message = str(caught.value)
    for part in expected:
        assert part in message, message
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize("source", OURS, ids=lambda path: path.name)
def test_our_bundles_open(our_bundle, source):
    root = our_bundle(source)
    table = json.loads((root / "configs" / "metadata.json").read_text())["label_table"]

    bundle = open_bundle(BundleSource(root, device="cpu"))

    assert bundle.labels.rows() == table
    assert bundle.takes.spatial_dims == ((3,) if source == HIPPOCAMPUS else (2, 3))
    assert bundle.takes.slice_size == (None if source == HIPPOCAMPUS else (512, 512))
    assert isinstance(bundle.load, LoadVolumed)
    assert not [step for step in bundle.preprocessing.transforms if isinstance(step, LoadVolumed)]
    assert not [step for step in bundle.postprocessing.transforms if isinstance(step, SaveLabelMapd)]
    assert (bundle.image_key, bundle.pred_key) == ("image", "pred")
    assert not bundle.network.training
    stored = torch.load(root / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in bundle.network.state_dict().items())


def test_a_number_of_the_metadata_may_be_infinite(our_bundle):
    def change(_, metadata):
        metadata["network_data_format"]["largest"] = float("inf")

    assert len(open_bundle(our_bundle(HIPPOCAMPUS, change)).sha256) == 64


def test_a_window_size_that_cannot_be_evaluated_is_refused(tmp_path):
    root = write_bundle(tmp_path / "bundle", window_size="$[16][1]")

    refusal(lambda: open_bundle(root), "cannot be made", "list index out of range")


def test_the_shipped_weights_open():
    bundle = open_bundle(BundleSource(HIPPOCAMPUS, device="cpu", overrides=None))

    assert bundle.labels.names == ("background", "anterior", "posterior")


def test_a_bundle_of_the_zoo_opens(zoo_bundle):
    """The classes come from channel_def; segpipe replaces the load and save steps and nothing else."""
    bundle = open_bundle(zoo_bundle())

    assert bundle.labels.names == ("background", "spleen", "liver")
    assert bundle.labels.values == (0, 1, 2)
    assert (bundle.takes.spatial_dims, bundle.takes.num_channels) == ((3,), 1)
    assert isinstance(bundle.load, LoadVolumed)
    names = [type(step).__name__ for step in bundle.preprocessing.transforms]
    assert names == ["CastToTyped", "Orientationd", "Spacingd", "ScaleIntensityRanged", "EnsureTyped"]
    names = [type(step).__name__ for step in bundle.postprocessing.transforms]
    assert names == ["Activationsd", "Invertd", "AsDiscreted"]


def test_a_zoo_bundles_loader_is_inverted_by_nothing(zoo_bundle):
    """Invertd inverts the chain of the configuration, and this chain begins with MONAI's loader."""
    bundle = open_bundle(zoo_bundle())

    (invert,) = [step for step in bundle.postprocessing.transforms if isinstance(step, Invertd)]
    shared = [step for step in bundle.preprocessing.transforms if step in invert.transform.transforms]
    assert isinstance(invert.transform.transforms[0], LoadImaged)
    assert len(shared) == 4


def test_a_configuration_in_yaml_goes_before_one_in_json(zoo_bundle):
    root = zoo_bundle()
    inference = json.loads((root / "configs" / "inference.json").read_text())
    inference["inferer"]["roi_size"] = [8, 8, 8]
    (root / "configs" / "inference.yaml").write_text(yaml.safe_dump(inference))

    assert open_bundle(root).inferer.roi_size == [8, 8, 8]
    assert open_bundle(BundleSource(root, configs=["inference.json"])).inferer.roi_size == [16, 16, 16]


def test_later_configurations_override_earlier_ones_by_name_or_path(zoo_bundle, tmp_path):
    root = zoo_bundle()
    (tmp_path / "mine.yaml").write_text("inferer#roi_size: [24, 24, 24]\n")
    (root / "configs" / "fine.json").write_text('{"inferer#overlap": 0.75}')

    inferer = open_bundle(
        BundleSource(root, configs=["inference.json", "fine.json", tmp_path / "mine.yaml"])
    ).inferer

    assert (inferer.roi_size, inferer.overlap) == ([24, 24, 24], 0.75)


def test_overrides_go_before_configurations(zoo_bundle):
    bundle = open_bundle(BundleSource(zoo_bundle(), overrides={"inferer#overlap": 0.25}))

    assert bundle.inferer.overlap == 0.25


def test_the_weights_are_those_of_the_checkpoint_loader(zoo_bundle):
    def change(inference, _):
        inference["name"] = "$'tuned.pt' if @tuned else 'model.pt'"
        inference["tuned"] = True
        inference["checkpointloader"]["load_path"] = "$@bundle_root + '/models/' + @name"

    root = zoo_bundle(change)
    (root / "models" / "model.pt").rename(root / "models" / "tuned.pt")

    assert open_bundle(root).weights == (root / "models" / "tuned.pt",)


@pytest.mark.parametrize("loaders", [0, 2])
def test_without_one_checkpoint_loader_the_weights_are_model_pt(zoo_bundle, loaders):
    def change(inference, _):
        loader = inference.pop("checkpointloader") | {"load_path": "/other.pt"}
        inference["initialize"] = []
        inference["loaders"] = [loader] * loaders

    root = zoo_bundle(change)

    assert open_bundle(root).weights == (root / "models" / "model.pt",)


@pytest.mark.parametrize("wrapped", ["model", "network", "state_dict", "anything"])
def test_weights_may_lie_under_a_name(zoo_bundle, random_network, wrapped):
    """MONAI's CheckpointSaver writes weights under a name."""
    root, state = zoo_bundle(), random_network(seed=5).state_dict()
    beside = {} if wrapped == "anything" else {"epoch": 7, "optimizer": {"state": {}}}
    torch.save({wrapped: state, **beside}, root / "models" / "model.pt")

    loaded = open_bundle(root).network.state_dict()

    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_several_weights_are_an_ensemble_of_different_networks(zoo_bundle, random_network, tmp_path):
    states = [random_network(seed=seed).state_dict() for seed in (1, 2)]
    for number, state in enumerate(states):
        torch.save(state, tmp_path / f"{number}.pt")

    network = open_bundle(BundleSource(zoo_bundle(), weights=[tmp_path / "0.pt", tmp_path / "1.pt"])).network

    assert isinstance(network, Ensemble)
    for member, state in zip(network.members, states, strict=True):
        assert all(torch.equal(member.state_dict()[name], tensor) for name, tensor in state.items())
        assert not member.training


def test_two_bundles_in_one_process_get_their_own_modules(zoo_bundle):
    first, second = zoo_bundle(name="first"), zoo_bundle(name="second")

    assert open_bundle(first).network.made_for == "first"
    assert open_bundle(second).network.made_for == "second"
    assert open_bundle(first).network.made_for == "first"
    assert "scripts" not in sys.modules


def test_a_module_of_that_name_that_is_imported_already_is_another(zoo_bundle, tmp_path, monkeypatch):
    """MONAI's run of another bundle leaves such a module in the process; the module stays imported."""
    (tmp_path / "elsewhere" / "scripts").mkdir(parents=True)
    (tmp_path / "elsewhere" / "scripts" / "__init__.py").touch()
    (tmp_path / "elsewhere" / "scripts" / "names.py").write_text("NAME = 'elsewhere'\n")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    import scripts.names

    try:
        assert open_bundle(zoo_bundle(name="mine")).network.made_for == "mine"
        assert sys.modules["scripts.names"] is scripts.names
        assert sys.modules["scripts.names"].NAME == "elsewhere"
    finally:
        for name in ("scripts", "scripts.names"):
            del sys.modules[name]


def test_an_interruption_while_a_component_is_imported_is_no_mistake_of_the_configuration(zoo_bundle):
    bundle = zoo_bundle()
    (bundle / "scripts" / "names.py").write_text("raise KeyboardInterrupt\n")

    with pytest.raises(KeyboardInterrupt):
        open_bundle(bundle)


def test_the_search_path_is_as_before(zoo_bundle):
    before = list(sys.path)
    open_bundle(zoo_bundle(name="good"))
    with pytest.raises(SegpipeError):
        open_bundle(zoo_bundle(lambda inference, _: inference.pop("inferer"), name="bad"))

    assert sys.path == before


def test_a_device_can_be_chosen_where_the_configuration_has_none(zoo_bundle):
    def without_device(inference, _):
        inference["network"] = "@network_def"
        del inference["device"]

    root = zoo_bundle(without_device)

    assert open_bundle(root).device == torch.device("cpu")
    assert open_bundle(BundleSource(root, device="cpu")).device == torch.device("cpu")


def test_a_lazy_chain_stays_lazy(zoo_bundle):
    """Two resamplings in sequence give other values than MONAI's single lazy resampling."""
    bundle = open_bundle(zoo_bundle(lambda inference, _: inference["preprocessing"].update(lazy=True)))

    assert bundle.preprocessing.lazy is True


def test_intensities_are_those_of_monais_loader(zoo_bundle, write_scan):
    """int16 voxels reach the chain as float32, with the channel axis first."""
    scan = write_scan()
    bundle = open_bundle(zoo_bundle())

    cast, *_ = bundle.preprocessing.transforms
    ours = cast(bundle.load({"image": str(scan)}))["image"]
    theirs = LoadImaged("image", ensure_channel_first=True)({"image": str(scan)})["image"]

    assert isinstance(cast, CastToTyped)
    assert ours.dtype == theirs.dtype == torch.float32
    assert torch.equal(ours.as_tensor(), theirs.as_tensor())
    np.testing.assert_allclose(ours.affine, theirs.affine)


@pytest.mark.parametrize(
    "changes", [{"reader": "NibabelReader"}, {"image_only": True}, {"ensure_channel_first": True}], ids=str
)
def test_loader_arguments_that_turn_no_voxels_are_accepted(zoo_bundle, changes):
    root = zoo_bundle(lambda inference, _: inference["preprocessing"]["transforms"][0].update(changes))

    assert isinstance(open_bundle(root).load, LoadVolumed)


def test_nested_chains_are_flattened(zoo_bundle):
    def nest(inference, _):
        steps = inference["preprocessing"]["transforms"]
        inference["preprocessing"]["transforms"] = [
            {"_target_": "Compose", "transforms": steps[:3]},
            *steps[3:],
        ]

    names = [type(step).__name__ for step in open_bundle(zoo_bundle(nest)).preprocessing.transforms]

    assert names == ["CastToTyped", "Orientationd", "Spacingd", "ScaleIntensityRanged", "EnsureTyped"]


class TestHash:
    """The hash covers everything but the scan that a label map depends on."""

    def test_the_hash_depends_on_content_not_on_the_folder(self, zoo_bundle):
        one, other = zoo_bundle(name="one"), zoo_bundle(name="other")
        shutil.copy(one / "scripts" / "names.py", other / "scripts" / "names.py")

        assert open_bundle(one).sha256 == open_bundle(other).sha256
        assert (
            open_bundle(BundleSource(one, overrides={"dataset_dir": "/elsewhere"})).sha256
            == open_bundle(one).sha256
        )

    @pytest.mark.parametrize(
        "overrides", [{"inferer#overlap": 0.25}, {"preprocessing#transforms#4#a_max": 250}], ids=str
    )
    def test_a_changed_number_changes_the_hash(self, zoo_bundle, overrides):
        root = zoo_bundle()

        assert open_bundle(BundleSource(root, overrides=overrides)).sha256 != open_bundle(root).sha256

    def test_other_weights_change_the_hash(self, zoo_bundle, random_network):
        root = zoo_bundle()
        before = open_bundle(root).sha256
        torch.save(random_network(seed=1).state_dict(), root / "models" / "model.pt")

        assert open_bundle(root).sha256 != before

    def test_a_changed_module_changes_the_hash(self, zoo_bundle):
        root = zoo_bundle()
        before = open_bundle(root).sha256
        with (root / "scripts" / "networks.py").open("a") as file:
            file.write("# whatever it is\n")

        assert open_bundle(root).sha256 != before

    def test_a_renamed_class_changes_the_hash(self, our_bundle):
        root = our_bundle(HIPPOCAMPUS)
        before = open_bundle(BundleSource(root, device="cpu")).sha256
        path = root / "configs" / "metadata.json"
        path.write_text(path.read_text().replace('"name": "anterior"', '"name": "front"'))

        assert open_bundle(BundleSource(root, device="cpu")).sha256 != before

    def test_another_series_changes_the_hash(self, zoo_bundle):
        root = zoo_bundle()

        assert open_bundle(root, series_uid="1.2.3").sha256 != open_bundle(root).sha256


class TestRefusals:
    def test_no_such_folder(self, tmp_path):
        refusal(lambda: open_bundle(tmp_path / "none"), "none: is not a bundle", "configs/metadata.json")

    def test_a_folder_that_is_no_bundle(self, tmp_path):
        refusal(lambda: open_bundle(tmp_path), "is not a bundle")

    def test_no_inference_configuration(self, zoo_bundle):
        root = zoo_bundle()
        (root / "configs" / "inference.json").rename(root / "configs" / "test.json")

        refusal(lambda: open_bundle(root), "has no configs/inference.yaml or .json", "--config")

    def test_a_configuration_that_is_not_there(self, zoo_bundle):
        refusal(
            lambda: open_bundle(BundleSource(zoo_bundle(), configs=["typo.json"])),
            "typo.json: no such configuration",
        )

    @pytest.mark.parametrize("name", ["inference.json", "metadata.json"])
    def test_a_file_cut_short(self, zoo_bundle, name):
        path = zoo_bundle() / "configs" / name
        path.write_text(path.read_text()[:-20])

        refusal(lambda: open_bundle(path.parents[1]), "its configuration cannot be read")

    def test_malformed_yaml(self, zoo_bundle):
        root = zoo_bundle()
        (root / "configs" / "inference.yaml").write_text("a: [1, 2\nb: 3\n")

        refusal(lambda: open_bundle(root), "its configuration cannot be read")

    @pytest.mark.parametrize("name", ["network_def", "inferer", "preprocessing", "postprocessing"])
    def test_a_missing_id(self, zoo_bundle, name):
        root = zoo_bundle(lambda inference, _: inference.pop(name))

        refusal(lambda: open_bundle(root), f"its configuration has no {name};", "needs the ids")

    @pytest.mark.parametrize("name", ["labels", "identity"])
    def test_a_missing_id_of_ours(self, our_bundle, name):
        root = our_bundle(HIPPOCAMPUS, lambda inference, _: inference.pop(name))

        refusal(lambda: open_bundle(root), f"its configuration has no {name};")

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda inference: inference["network_def"].update(_target_="scripts.networks.Absent"), "Absent"),
            (lambda inference: inference["network_def"].update(channels=[4, 8]), "channels"),
            (lambda inference: inference["network_def"].update(classes="@labels_of_mine"), "labels_of_mine"),
            (lambda inference: inference["network_def"].update(classes="$1 / 0"), "division by zero"),
        ],
        ids=["no such class", "no such argument", "no such reference", "an expression that fails"],
    )
    def test_an_id_that_cannot_be_made(self, zoo_bundle, change, expected):
        root = zoo_bundle(lambda inference, _: change(inference))

        refusal(lambda: open_bundle(root), "its network_def cannot be made", expected)

    def test_a_module_that_cannot_be_imported(self, zoo_bundle):
        root = zoo_bundle()
        (root / "scripts" / "networks.py").write_text("import a_package_that_nobody_has\n")

        refusal(lambda: open_bundle(root), "its network_def cannot be made", "a_package_that_nobody_has")

    def test_a_misspelt_override(self, zoo_bundle):
        root = zoo_bundle()

        refusal(
            lambda: open_bundle(BundleSource(root, overrides={"infrer": 1})),
            "no infrer to set",
            "did you mean inferer?",
        )

    def test_an_unknown_device(self, zoo_bundle):
        refusal(lambda: open_bundle(BundleSource(zoo_bundle(), device="tpu")), "tpu")

    def test_no_weights(self, zoo_bundle):
        root = zoo_bundle()
        (root / "models" / "model.pt").unlink()

        refusal(lambda: open_bundle(root), "models/model.pt: no such weights")

    def test_weights_that_were_not_downloaded(self, zoo_bundle):
        root = zoo_bundle()
        (root / "models" / "model.pt").unlink()
        (root / "large_files.yml").write_text("large_files:\n- path: models/model.pt\n")

        refusal(
            lambda: open_bundle(root),
            f"{root / 'models' / 'model.pt'}: no such weights; {root / 'large_files.yml'} lists it for download",
            "or name other weights with --weights",
        )

    def test_a_bundle_of_ours_without_weights(self, our_bundle):
        root = our_bundle(HIPPOCAMPUS)
        (root / "models" / "model.pt").unlink()

        refusal(lambda: open_bundle(root), "models/model.pt: no such weights", "--weights")

    def test_weights_of_another_network(self, zoo_bundle, random_network, tmp_path):
        torch.save(random_network(classes=5).state_dict(), tmp_path / "five.pt")

        refusal(
            lambda: open_bundle(BundleSource(zoo_bundle(), weights=[tmp_path / "five.pt"])),
            "weights of another network",
        )

    def test_one_of_two_weights_of_another_network(self, zoo_bundle, random_network, tmp_path):
        root = zoo_bundle()
        torch.save(random_network(dims=2).state_dict(), tmp_path / "flat.pt")

        weights = [root / "models" / "model.pt", tmp_path / "flat.pt"]
        refusal(
            lambda: open_bundle(BundleSource(root, weights=weights)), "flat.pt: weights of another network"
        )

    def test_weights_with_a_tensor_more(self, zoo_bundle, random_network, tmp_path):
        torch.save({**random_network().state_dict(), "more": torch.zeros(1)}, tmp_path / "more.pt")

        weights = [tmp_path / "more.pt"]
        refusal(
            lambda: open_bundle(BundleSource(zoo_bundle(), weights=weights)),
            "another network",
            "more: (1,) in the file",
        )

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf])
    def test_weights_that_are_no_numbers(self, zoo_bundle, random_network, bad):
        root, state = zoo_bundle(), random_network().state_dict()
        next(iter(state.values())).view(-1)[0] = bad
        torch.save({"model": state}, root / "models" / "model.pt")

        refusal(lambda: open_bundle(root), "1 of", "NaN or infinite")

    def test_weights_that_could_run_code(self, zoo_bundle, random_network):
        root = zoo_bundle()
        torch.save(random_network(), root / "models" / "model.pt")  # the module itself

        refusal(lambda: open_bundle(root), "it could run code")

    def test_weights_cut_short(self, zoo_bundle):
        path = zoo_bundle() / "models" / "model.pt"
        path.write_bytes(path.read_bytes()[:1000])

        refusal(lambda: open_bundle(path.parents[1]), "model.pt: cannot be read as PyTorch weights")

    def test_weights_that_are_a_list(self, zoo_bundle):
        root = zoo_bundle()
        torch.save([torch.zeros(1)], root / "models" / "model.pt")

        refusal(lambda: open_bundle(root), "is not a state_dict")

    @pytest.mark.parametrize(
        "change",
        [
            lambda steps: steps.pop(0),
            lambda steps: steps.insert(0, steps.pop(1)),
            lambda steps: steps.insert(1, {"_target_": "LoadImaged", "keys": "image"}),
            lambda steps: steps[0].update(keys=["image", "label"]),
        ],
        ids=["none", "not first", "two", "of two images"],
    )
    def test_preprocessing_that_does_not_begin_with_one_load(self, zoo_bundle, change):
        root = zoo_bundle(lambda inference, _: change(inference["preprocessing"]["transforms"]))

        refusal(lambda: open_bundle(root), "its preprocessing must begin with one step that loads one image")

    @pytest.mark.parametrize(
        "changes",
        [
            {"as_closest_canonical": True},
            {"reader": "NibabelReader", "as_closest_canonical": True},
            {"reader": "PILReader", "reverse_indexing": False},
            {"reader": "PydicomReader", "affine_lps_to_ras": False},
        ],
        ids=str,
    )
    def test_a_loader_that_turns_voxels(self, zoo_bundle, changes):
        """segpipe's loader keeps the axes: without an orientation step, the network would get a turned scan."""
        root = zoo_bundle(lambda inference, _: inference["preprocessing"]["transforms"][0].update(changes))

        refusal(lambda: open_bundle(root), f"its LoadImaged has {list(changes)[-1]}=", "use Orientationd")

    def test_postprocessing_that_goes_on_after_the_save(self, zoo_bundle):
        def go_on(inference, _):
            inference["postprocessing"]["transforms"].append({"_target_": "EnsureTyped", "keys": "pred"})

        refusal(
            lambda: open_bundle(zoo_bundle(go_on)),
            "its postprocessing must end with one step that saves the label map",
        )

    def test_postprocessing_that_saves_two_maps(self, zoo_bundle):
        def save_more(inference, _):
            steps = inference["postprocessing"]["transforms"]
            steps.append({**steps[-1], "keys": "image"})

        refusal(lambda: open_bundle(zoo_bundle(save_more)), "must end with one step that saves the label map")

    @pytest.mark.parametrize("name", ["preprocessing", "postprocessing"])
    @pytest.mark.parametrize("target", ["RandomOrder", "OneOf"])
    def test_a_chain_that_draws_its_steps_by_lot(self, zoo_bundle, name, target):
        root = zoo_bundle(lambda inference, _: inference[name].update(_target_=target))

        refusal(lambda: open_bundle(root), f"its {name} is a {target}, must be a Compose")

    @pytest.mark.parametrize(
        "change",
        [
            lambda output: output.pop("channel_def"),
            lambda output: output.update(channel_def={}),
            lambda output: output["channel_def"].pop("2"),
            lambda output: output.update(channel_def={"a": "x", "b": "y", "c": "z"}),
            lambda output: output.update(channel_def=["x", "y", "z"]),
        ],
        ids=["absent", "empty", "too short", "no numbers", "a list"],
    )
    def test_metadata_that_does_not_name_the_classes(self, zoo_bundle, change):
        root = zoo_bundle(lambda _, metadata: change(metadata["network_data_format"]["outputs"]["pred"]))

        refusal(lambda: open_bundle(root), "metadata.json does not say which classes", "channel_def")

    def test_classes_of_one_name(self, zoo_bundle):
        def repeat(_, metadata):
            metadata["network_data_format"]["outputs"]["pred"]["channel_def"]["2"] = "spleen"

        refusal(lambda: open_bundle(zoo_bundle(repeat)), "the name spleen stands in more than one row")

    def test_empty_metadata(self, zoo_bundle):
        root = zoo_bundle(lambda _, metadata: metadata.clear())

        refusal(lambda: open_bundle(root), "metadata.json does not say which classes")

"""A bundle's weights load from either file format."""

import pytest
import torch
from monai.bundle import ConfigParser
from tiny_bundle import write_bundle, write_weights

from segpipe.bundle.weights import load_members, with_weights
from segpipe.networks import Ensemble


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def configuration(bundle):
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.yaml"))
    parser.read_meta(str(bundle / "configs" / "metadata.json"))
    parser.update({"bundle_root": str(bundle)})
    return parser


def loaded(bundle, *paths):
    parser = configuration(bundle)
    return load_members(
        parser.get_parsed_content("network_def"), paths, parser.get_parsed_content("identity"), parser
    )


def test_an_ensemble_may_mix_pytorch_and_safetensors_files(bundle, tmp_path):
    paths = [
        write_weights(bundle, tmp_path / f"{seed}{form}", seed)
        for seed, form in ((1, ".pt"), (2, ".safetensors"))
    ]

    network = loaded(bundle, *paths)

    assert isinstance(network, Ensemble)
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        alone = [loaded(bundle, path).eval()(image) for path in paths]
        torch.testing.assert_close(network.eval()(image), (alone[0] + alone[1]) / 2)


def test_a_configuration_that_names_model_pt_takes_the_other_form(bundle, tmp_path, monkeypatch):
    """`weights` of MONAI's run is a list of file names."""
    written = write_weights(bundle, tmp_path / "model.safetensors", 3)
    parser = configuration(bundle)
    monkeypatch.setattr("segpipe.bundle.weights.running_parser", lambda: parser)
    network, identity = (parser.get_parsed_content(name) for name in ("network_def", "identity"))

    loaded_network = with_weights(network, [str(tmp_path / "model.pt")], identity)

    wanted = loaded(bundle, written).state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in loaded_network.state_dict().items())

"""The layers of a bundle's network with shapes and parameters worked out by hand."""

import json

import pytest
import torch
import yaml
from tiny_bundle import write_bundle
from tiny_classifier import write_classifier
from torch import nn

from segpipe.bundle.layers import Layer, bundle_layers, network_layers
from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError


def test_a_segmenter_of_any_layers(tmp_path):
    table = bundle_layers(write_bundle(tmp_path / "tiny"), (16, 16, 16))

    assert table.layers[-1].outputs == ((3, 16, 16, 16),)
    assert table.parameters == sum(layer.parameters for layer in table.layers)


def test_layers_without_weights(tmp_path):
    """The weights of the tutorial's network are not in the repository; its layers are known all the same."""
    root = write_classifier(tmp_path / "tiny")
    (root / "models" / "model.pt").unlink()

    table = bundle_layers(root)

    # 3x3 convolutions with bias: 3*6*9+6 and 6*8*9+8; batch norms 2*6 and 2*8; linear 8*4*4*3+3
    assert [layer.parameters for layer in table.layers if layer.parameters] == [168, 12, 440, 16, 387]
    assert table.layers[0].outputs == ((6, 16, 16),)
    assert table.layers[-1] == Layer("classifier", "Linear", ((3,),), 387, 387)
    assert table.parameters == table.trained == 1023


def test_trained_shared_and_uncalled_layers():
    """A parameter of two layers counts once; a layer that is not called has no shape."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = nn.Linear(2, 2)
            self.first = nn.Linear(4, 4, bias=False).requires_grad_(False)
            self.second = nn.Linear(4, 4, bias=False)
            self.second.weight = self.first.weight
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, values):
            return {"a": self.second(self.first(values)), "b": [values.sum(1) * self.scale.sum()]}

    network = Net().train()
    table = network_layers(network, (4,))

    assert [(row.name, row.outputs, row.parameters, row.trained) for row in table.layers] == [
        ("first", ((4,),), 16, 0),
        ("second", ((4,),), 0, 0),
        ("", ((4,), ()), 3, 3),
        ("unused", (), 6, 6),
    ]
    assert (table.parameters, table.trained) == (25, 9)
    assert network.training
    assert not network.first._forward_hooks


class TestRefusals:
    def test_no_bundle(self, tmp_path):
        with pytest.raises(SegpipeError, match="is not a bundle"):
            bundle_layers(tmp_path)

    def test_a_size_that_is_a_rule(self, tmp_path):
        """MONAI's metadata may say 16*n."""
        root = write_classifier(tmp_path / "tiny")
        path = root / "configs" / "metadata.json"
        metadata = json.loads(path.read_text())
        metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] = ["8*n", "8*n"]
        path.write_text(json.dumps(metadata))

        with pytest.raises(
            SegpipeError, match=r"spatial_shape .* is no one size; give --size, such as --size 96,96"
        ):
            bundle_layers(root)
        assert bundle_layers(root, (16, 16)).input == (3, 16, 16)

    def test_a_size_that_the_network_refuses(self, tmp_path):
        root = write_classifier(tmp_path / "tiny")
        with pytest.raises(SegpipeError, match=r"takes \(16, 16\)"):
            bundle_layers(root, (20, 20))

    def test_metadata_without_input(self, tmp_path):
        root = write_classifier(tmp_path / "tiny")
        path = root / "configs" / "metadata.json"
        metadata = json.loads(path.read_text())
        del metadata["network_data_format"]
        path.write_text(json.dumps(metadata))

        with pytest.raises(SegpipeError, match="does not say which image the network takes"):
            bundle_layers(root)

    def test_code_that_is_not_trusted(self, tmp_path):
        root = write_classifier(tmp_path / "tiny")
        path = root / "configs" / "inference.yaml"
        content = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**content, "network": "$__import__('os').system('true')"}))
        with pytest.raises(SegpipeError, match="nothing was run"):
            bundle_layers(BundleSource(root))

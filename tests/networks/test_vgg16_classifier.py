import pytest
import torch

from segpipe.errors import SegpipeError
from segpipe.networks import VGG16Classifier, load_vgg16

SMALL = {"layout": (4, "pool", 8, "pool"), "width": 16}


def test_parameters_of_the_tutorials_network():
    with torch.device("meta"):
        network = VGG16Classifier(4)

    assert sum(parameter.numel() for parameter in network.parameters()) == 135_310_404
    trained = [parameter.numel() for parameter in network.parameters() if parameter.requires_grad]
    assert sum(trained) == 1_049_860


def test_outputs_are_logarithms_of_probabilities():
    network = VGG16Classifier(3, **SMALL).eval()

    with torch.no_grad():
        scores = network(torch.rand(2, 3, 32, 40))

    torch.testing.assert_close(scores.exp().sum(1), torch.ones(2))


def test_torchvisions_weights_fit_all_layers_but_the_last(tmp_path):
    """A file with torchvision's names, among them a last layer of 1000 classes."""
    donor, network = VGG16Classifier(2, **SMALL), VGG16Classifier(4, **SMALL)
    state = {
        name: tensor for name, tensor in donor.state_dict().items() if not name.startswith("classifier.6")
    }
    state |= {"classifier.6.weight": torch.ones(1000, 16), "classifier.6.bias": torch.ones(1000)}
    torch.save(state, tmp_path / "vgg16.pth")
    last = network.classifier[6][0].weight.clone()

    load_vgg16(network, tmp_path / "vgg16.pth")

    assert torch.equal(network.features[0].weight, donor.features[0].weight)
    assert torch.equal(network.classifier[3].bias, donor.classifier[3].bias)
    assert torch.equal(network.classifier[6][0].weight, last)


def test_weights_of_another_network_are_refused(tmp_path):
    network = VGG16Classifier(4, **SMALL)
    before = network.features[0].weight.clone()
    torch.save(
        VGG16Classifier(2, layout=(6, "pool", 8, "pool"), width=16).state_dict(), tmp_path / "other.pth"
    )
    torch.save({"features.0.weight": torch.ones(4, 3, 3, 3)}, tmp_path / "part.pth")
    torch.save([1, 2], tmp_path / "list.pth")

    with pytest.raises(
        SegpipeError, match=r"features.0.weight is of shape \(6, 3, 3, 3\), the network's of \(4"
    ):
        load_vgg16(network, tmp_path / "other.pth")
    with pytest.raises(SegpipeError, match=r"has no features\.0\.bias"):
        load_vgg16(network, tmp_path / "part.pth")
    with pytest.raises(SegpipeError, match="is not a state_dict"):
        load_vgg16(network, tmp_path / "list.pth")
    with pytest.raises(SegpipeError, match="no such weights of VGG16"):
        load_vgg16(network, tmp_path / "none.pth")
    assert torch.equal(network.features[0].weight, before)

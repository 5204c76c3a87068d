import pytest
import torch

from segpipe.errors import SegpipeError
from segpipe.networks import TileClassifier


def test_parameters_of_the_tutorials_network():
    """Convolutions 640 + 36,928 + 73,856 + 147,584, batch norms 768, linear layer 128 * 6 * 6 * 2 + 2."""
    assert sum(parameter.numel() for parameter in TileClassifier(2).parameters()) == 268_994


def test_it_overfits_one_batch():
    torch.manual_seed(0)
    network, tiles, classes = (
        TileClassifier(2, stages=((8,), (16,))),
        torch.rand(8, 1, 24, 24),
        torch.tensor([0, 1] * 4),
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(tiles), classes).backward()
        optimizer.step()

    assert torch.equal(network(tiles).argmax(1), classes)


def test_tiles_of_another_size_are_refused():
    with pytest.raises(SegpipeError, match=r"tiles of \(24, 25\) pixels, takes \(24, 24\)"):
        TileClassifier(2)(torch.zeros(1, 1, 24, 25))
    with pytest.raises(SegpipeError, match="needs at least 4 pixels"):
        TileClassifier(2, tile_size=(3, 24))

"""Two ranks train as one process with the batch of both, for the loss of every shipped bundle and every other loss."""

import copy
import logging

import pytest
import torch
from monai.bundle import ConfigParser
from monai.losses import DiceCELoss
from shipped_bundles import bundles_of
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from two_ranks import in_ranks

from segpipe.losses import (
    DeepSupervision,
    DiceCrossEntropy,
    OverRanks,
    RegionDiceCrossEntropy,
    WeightedBinaryCrossEntropy,
)
from segpipe.losses.over_ranks import is_exact, mean_over_ranks, sum_over_ranks

CLASSES, STEPS, RATE = 3, 20, 0.5
WEIGHTS = [0.25, 1.0, 4.0]
IGNORED = 9
MAPS = {  # of losses on label maps, beside those of the bundles
    "dice of each image, absent classes left out": DiceCrossEntropy(WEIGHTS, skip_absent=True),
    "dice of the batch, unknown voxels": DiceCrossEntropy(batch_dice=True, ignore_index=IGNORED),
    "unknown voxels, absent classes left out": DiceCrossEntropy(
        WEIGHTS, include_background=True, batch_dice=True, skip_absent=True, ignore_index=IGNORED
    ),
    "regions": RegionDiceCrossEntropy([[1, 2], [2], [1]], ignore_index=IGNORED),
    "regions, dice of the batch": RegionDiceCrossEntropy(
        [[1, 2], [2], [1]], batch_dice=True, skip_absent=True
    ),
    "heads": DeepSupervision(DiceCrossEntropy(WEIGHTS, batch_dice=True)),
}


def shipped_losses():
    """Return the loss of each shipped bundle by name, and whether it is one of label maps."""
    losses = {}
    for task in ("segmentation", "classification"):
        for root in bundles_of(task):
            parser = ConfigParser()
            parser.read_config(str(root / "configs" / "train.yaml"))
            one = [[0.25, 1.0], [4.0, 0.5], [1.0, 1.0]] if root.name.startswith("cxr_findings") else WEIGHTS
            parser["class_weights"] = f"$torch.tensor({one})"
            losses[root.name] = (parser.get_parsed_content("loss"), task == "segmentation")
    return losses


def example(loss, of_maps):
    """Return four images and their labels; the first two, those of rank 0, have other classes than the last two."""
    generator = torch.Generator().manual_seed(3)
    if not of_maps:
        images = torch.randn(4, 1, 6, 6, generator=generator)
        if isinstance(loss, WeightedBinaryCrossEntropy):
            unknown = float("nan")
            return images, torch.tensor([[1, 0, unknown], [unknown, unknown, 1], [0, 0, 0], [1, 1, 0]])
        return images, torch.tensor([0, 0, 2, 1])
    images = torch.randn(4, 1, 6, 4, 4, generator=generator)
    labels = torch.zeros(4, 1, 6, 4, 4)
    labels[0, :, :1] = 1
    labels[2, :, 2:] = 1
    labels[2:, :, :2] = 2
    if getattr(getattr(loss, "loss", loss), "ignore_index", None) == IGNORED:
        labels[0] = IGNORED  # no voxel counts
        labels[3, :, :, 1:] = IGNORED
    return images, labels


class Heads(nn.Module):
    """Scores at full resolution and at half of it, as a network of deep supervision returns."""

    def __init__(self):
        super().__init__()
        self.full, self.coarse = nn.Conv3d(1, CLASSES, 3, padding=1), nn.Conv3d(1, CLASSES, 2, stride=2)

    def forward(self, images):
        return [self.full(images), self.coarse(images)]


def network(loss, of_maps):
    torch.manual_seed(0)
    if isinstance(loss, DeepSupervision):
        return Heads()
    if of_maps:
        return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv3d(4, CLASSES, 1))
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, CLASSES))


def trained(model, loss, images, labels):
    """Return the first value, its terms and gradients, and the weights after 20 steps of SGD."""
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    first = None
    for _ in range(STEPS):
        optimizer.zero_grad()
        value = loss(model(images), labels)
        value.backward()
        if first is None:
            terms = {name: term.item() for name, term in (getattr(loss, "terms", None) or {}).items()}
            first = [value.detach(), *(parameter.grad.clone() for parameter in model.parameters())]
        optimizer.step()
    return first, terms, [parameter.detach() for parameter in model.parameters()]


def train_rank(rank, losses):
    half = slice(2 * rank, 2 * rank + 2)
    results = {}
    for name, (loss, of_maps) in losses.items():
        images, labels = example(loss, of_maps)
        model = DistributedDataParallel(network(loss, of_maps))
        results[name] = trained(model, OverRanks(loss), images[half], labels[half])
    return results


@pytest.mark.slow
def test_two_ranks_train_as_one_process_with_both_batches():
    losses = {**shipped_losses(), **{name: (loss, True) for name, loss in MAPS.items()}}
    losses["findings"] = (WeightedBinaryCrossEntropy([[1.0, 1.0], [3.0, 1.0], [1.0, 2.0]], 0.1), False)

    of_ranks = in_ranks(train_rank, losses)

    assert len(losses) == 13
    for name, (loss, of_maps) in losses.items():
        alone = trained(network(loss, of_maps), copy.deepcopy(loss), *example(loss, of_maps))
        for rank in of_ranks:
            torch.testing.assert_close(
                rank[name][0], alone[0], atol=1e-6, rtol=0, msg=lambda m, n=name: f"{n}: {m}"
            )
            torch.testing.assert_close(
                rank[name][2], alone[2], atol=1e-4, rtol=0, msg=lambda m, n=name: f"{n}: {m}"
            )
            assert rank[name][1] == pytest.approx(alone[1], abs=1e-6), name
        start = [parameter.detach() for parameter in network(loss, of_maps).parameters()]
        moved = [float((after - before).abs().max()) for after, before in zip(alone[2], start, strict=True)]
        assert min(moved) > 1e-3, f"{name}: a comparison of weights that stay shows nothing"


def test_in_one_process_and_outside_of_it_nothing_is_summed():
    loss = DiceCrossEntropy(WEIGHTS, batch_dice=True)
    images, labels = example(loss, of_maps=True)
    logits = network(loss, of_maps=True)(images)

    assert OverRanks(loss)(logits, labels) == loss(logits, labels)
    assert sum_over_ranks(logits) is logits
    assert mean_over_ranks(logits, lambda: pytest.fail("not asked for")) is logits


def test_a_loss_that_is_no_mean_over_images_is_named_once(caplog, monkeypatch):
    with caplog.at_level(logging.WARNING):
        OverRanks(DiceCELoss(softmax=True))
        OverRanks(nn.CrossEntropyLoss(torch.tensor(WEIGHTS)))
        OverRanks(DeepSupervision(DiceCrossEntropy()))
        assert caplog.messages == []
        OverRanks(DiceCELoss(softmax=True, batch=True))

    assert caplog.messages == [
        "DiceCELoss: each process computes it of its own images, and the mean counts; one process with the whole batch "
        "may train differently"
    ]
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    OverRanks(DiceCELoss(softmax=True, batch=True))
    assert len(caplog.messages) == 1, "rank 0 says it"
    assert not is_exact(DeepSupervision(nn.CrossEntropyLoss(torch.tensor(WEIGHTS))))
    assert not is_exact(nn.MSELoss())

"""Dice plus binary cross-entropy of regions, counted by hand and region by region with MONAI and torch."""

import pytest
import torch
from monai.losses import DiceLoss
from torch.nn import functional

from segpipe.errors import SegpipeError
from segpipe.losses import RegionDiceCrossEntropy

REGIONS = ((1, 2, 3), (2, 3), (3,))


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((2, 3, 6, 5, 4), generator=generator)
    return logits, torch.randint(0, 4, (2, 1, 6, 5, 4), generator=generator)


def masks(target):
    return torch.cat([torch.isin(target, torch.tensor(region)) for region in REGIONS], dim=1).float()


def test_it_is_the_mean_over_regions_of_monais_dice_and_torchs_cross_entropy():
    logits, target = batch()
    loss = RegionDiceCrossEntropy(REGIONS, dice_weight=2.0, cross_entropy_weight=3.0)

    expected = 2 * DiceLoss(sigmoid=True)(logits, masks(target))
    expected += 3 * functional.binary_cross_entropy_with_logits(logits, masks(target))
    torch.testing.assert_close(loss(logits, target), expected)
    torch.testing.assert_close(sum(loss.terms.values()), expected)


def test_one_voxel_by_hand():
    """Class 2 is in the regions 1 and 2: three questions at log 2 each."""
    loss = RegionDiceCrossEntropy(REGIONS, dice_weight=0.0)

    assert float(loss(torch.zeros((1, 3, 1, 1)), torch.full((1, 1, 1, 1), 2))) == pytest.approx(0.693147)
    logits = torch.tensor([20.0, 20.0, -20.0]).reshape(1, 3, 1, 1)
    assert float(loss(logits, torch.full((1, 1, 1, 1), 2))) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("batch_dice", [False, True])
def test_ignored_voxels_change_nothing(batch_dice):
    logits, target = batch()
    ignored = torch.zeros_like(target, dtype=torch.bool)
    ignored[:, :, :, 2:] = True
    loss = RegionDiceCrossEntropy(REGIONS, batch_dice=batch_dice, ignore_index=4)

    masked = target.masked_fill(ignored, 4)
    changed = torch.where(ignored.expand_as(logits), -7 * logits, logits)
    torch.testing.assert_close(loss(changed, masked), loss(logits, masked))
    cropped = loss(logits[:, :, :, :2], target[:, :, :, :2])
    torch.testing.assert_close(loss(logits, masked), cropped)


def test_a_batch_that_nobody_looked_at_has_no_loss_and_no_gradient():
    logits, target = batch()
    logits.requires_grad_()
    loss = RegionDiceCrossEntropy(REGIONS, dice_weight=0.0, ignore_index=4)(
        logits, torch.full_like(target, 4)
    )
    loss.backward()

    assert float(loss.detach()) == 0
    assert not logits.grad.any()


def test_the_dice_of_an_absent_region_is_left_out():
    logits, target = batch()
    without = target.clamp(max=2)
    loss = RegionDiceCrossEntropy(REGIONS, cross_entropy_weight=0.0, batch_dice=True, skip_absent=True)

    expected = DiceLoss(sigmoid=True, batch=True)(logits[:, :2], masks(without)[:, :2])
    torch.testing.assert_close(loss(logits, without), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"regions": ()}, "each needs a class"),
        ({"regions": ((1,), ())}, "each needs a class"),
        ({"regions": REGIONS, "dice_weight": -1}, "neither may be below 0"),
        ({"regions": REGIONS, "dice_weight": 0, "cross_entropy_weight": 0}, "one must be above"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(SegpipeError, match=message):
        RegionDiceCrossEntropy(**arguments)


def test_a_network_with_outputs_for_classes_is_refused():
    with pytest.raises(
        SegpipeError, match=r"3 regions, but the network has 4 outputs; .*len\(@labels.output_names\)"
    ):
        RegionDiceCrossEntropy(REGIONS)(torch.zeros((1, 4, 2, 2)), torch.zeros((1, 1, 2, 2)))

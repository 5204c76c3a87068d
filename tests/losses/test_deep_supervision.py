import pytest
import torch

from segpipe.losses import DeepSupervision, DiceCrossEntropy


class MeanClass(torch.nn.Module):
    """The mean of the label map: shows which voxels a head is compared with."""

    def forward(self, logits, target):
        return target.float().mean()


def test_heads_count_half_as_much_as_the_next_finer_one():
    """Of 4 x 4 ones the losses are 1 at every size; of three heads 4/7 + 2/7 + 1/7."""
    heads = [torch.zeros(1, 2, size, size) for size in (4, 2, 1)]
    levels = torch.zeros(1, 1, 4, 4)
    levels[..., 1::2, 1::2] = 1  # the voxels that the head of half the size is compared with

    assert DeepSupervision(MeanClass())(heads, torch.ones(1, 1, 4, 4)).item() == pytest.approx(1)
    # a quarter of the voxels at full size, all at half, and voxel (2, 2) of 0 at a quarter
    assert DeepSupervision(MeanClass())(heads, levels).item() == pytest.approx(4 / 7 / 4 + 2 / 7)


def test_one_tensor_has_the_loss_of_its_own():
    logits, target = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 1, 4, 4))

    assert torch.equal(
        DeepSupervision(DiceCrossEntropy())(logits, target), DiceCrossEntropy()(logits, target)
    )


def test_the_terms_add_up_to_the_loss():
    loss = DeepSupervision(DiceCrossEntropy())
    heads = [torch.randn(1, 3, size, size) for size in (8, 4)]

    whole = loss(heads, torch.randint(0, 3, (1, 1, 8, 8)))

    assert set(loss.terms) == {"dice", "cross_entropy"}
    torch.testing.assert_close(sum(loss.terms.values()), whole)

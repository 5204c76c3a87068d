import math

import numpy as np
import pytest
import torch

from segpipe.errors import SegpipeError
from segpipe.losses import WeightedBinaryCrossEntropy, balanced_class_weights, finding_weights

LABELS = torch.tensor([[1.0], [1.0], [1.0], [0.0]])


def summed(probability, weights=None):
    logits = torch.full((4, 1), math.log(probability / (1 - probability)), dtype=torch.float64)
    return 4 * WeightedBinaryCrossEntropy(weights)(logits, LABELS).item()


def test_unweighted_sums_of_three_positives_and_a_negative():
    assert summed(0.9) == pytest.approx(2.6187, abs=5e-5)
    assert summed(0.1) == pytest.approx(7.0131, abs=5e-5)


def test_weights_by_the_other_kinds_share_make_both_answers_alike():
    """Weights 1/4 for the three positives and 3/4 for the negative."""
    weights = finding_weights(LABELS.numpy(), ["mass"])

    assert weights.tolist() == [[0.25, 0.75]]
    assert summed(0.9, weights) == pytest.approx(1.8060, abs=5e-5)
    assert summed(0.1, weights) == pytest.approx(1.8060, abs=5e-5)


def test_two_positives_in_eight_contribute_as_much_as_six_negatives():
    targets = np.array([[1.0], [1.0], *[[0.0]] * 6], np.float32)
    loss = WeightedBinaryCrossEntropy(finding_weights(targets, ["mass"]))
    logits = torch.zeros(8, 1, requires_grad=True)

    loss(logits, torch.from_numpy(targets)).backward()

    positive, negative = logits.grad[:2].sum().item(), logits.grad[2:].sum().item()
    assert positive == pytest.approx(-negative)
    assert positive < 0


def test_unknown_findings_have_no_loss_and_no_gradient():
    logits = torch.tensor([[2.0, -5.0]], requires_grad=True)
    loss = WeightedBinaryCrossEntropy()(logits, torch.tensor([[1.0, float("nan")]]))
    loss.backward()

    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2.0)))
    assert logits.grad[0, 1].item() == 0.0


def test_all_unknown_is_zero_and_not_nan():
    assert WeightedBinaryCrossEntropy()(torch.ones(2, 1), torch.full((2, 1), float("nan"))).item() == 0.0


def test_unknown_findings_do_not_count_in_weights():
    """One of the two known images is positive: one half each."""
    targets = np.array([[1.0], [0.0], [np.nan], [np.nan]], np.float32)

    assert finding_weights(targets, ["mass"]).tolist() == [[0.5, 0.5]]


def test_class_weights_are_inverse_shares_over_the_number_of_classes():
    """Six of one and two of another class: 8 / (2 * 6) and 8 / (2 * 2)."""
    weights = balanced_class_weights(np.array([0] * 6 + [1] * 2), ["healthy", "ill"])

    torch.testing.assert_close(weights, torch.tensor([2 / 3, 2.0]))


def test_a_finding_of_one_kind_has_no_weight_and_no_gradient():
    weights = finding_weights(np.array([[1.0, 0.0], [0.0, 0.0]], np.float32), ["mass", "hernia"])

    assert weights.tolist() == [[0.5, 0.5], [0.0, 0.0]]
    logits = torch.zeros(2, 2, requires_grad=True)
    WeightedBinaryCrossEntropy(weights)(logits, torch.tensor([[1.0, 0.0], [0.0, 0.0]])).backward()
    assert logits.grad[:, 1].tolist() == [0.0, 0.0]


def test_refusals():
    with pytest.raises(SegpipeError, match=r"none has both: mass \(0 with, 2 without\)"):
        finding_weights(np.zeros((2, 1), np.float32), ["mass"])
    with pytest.raises(SegpipeError, match="no training image is of ill"):
        balanced_class_weights(np.array([0, 0]), ["healthy", "ill"])
    with pytest.raises(SegpipeError, match="two numbers"):
        WeightedBinaryCrossEntropy([[1.0, 2.0, 3.0]])
    with pytest.raises(SegpipeError, match="label_smoothing is 1"):
        WeightedBinaryCrossEntropy(label_smoothing=1)

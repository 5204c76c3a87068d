"""How far an engine's scores may be from PyTorch's in float32."""

import pytest
import torch

from segpipe.inference.agreement import disagreement, other_labels

REFERENCE = torch.tensor(
    [[[-2.0, 0.0, 2.0, 8.0]]]
)  # range 10; mean 2, deviations -4 -2 0 6: std sqrt(14) = 3.742


@pytest.mark.parametrize(("off", "agrees"), [(0.0099, True), (0.0101, False), (-0.0101, False)])
def test_float32_may_differ_by_a_thousandth_of_the_range(off, agrees):
    scores = REFERENCE.clone()
    scores[0, 0, 1] += off

    assert (disagreement(scores, REFERENCE, "float32") is None) is agrees


@pytest.mark.parametrize(("off", "agrees"), [(0.111, True), (0.113, False)])
def test_a_reduced_precision_may_differ_by_three_hundredths_of_the_spread(off, agrees):
    """0.03 times 3.742 is 0.1122."""
    assert (disagreement(REFERENCE + off, REFERENCE, "bfloat16") is None) is agrees


def test_a_difference_has_both_numbers():
    assert disagreement(REFERENCE + 0.5, REFERENCE, "float32") == (
        "its scores of a window in float32 differ from those of PyTorch in float32 by up to 0.5, the limit is 0.01"
    )
    assert disagreement(REFERENCE + 0.5, REFERENCE, "bfloat16") == (
        "its scores of a window in bfloat16 differ from those of PyTorch in float32 by a root mean square of 0.5, the "
        "limit is 0.112"
    )


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (REFERENCE[..., :2], r"have shape \(1, 1, 2\), those of PyTorch shape \(1, 1, 4\)"),
        ([REFERENCE], "have list"),
        (REFERENCE * float("nan"), "in float32 are NaN or infinite"),
    ],
)
def test_other_answers_disagree(scores, message):
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(disagreement(scores, REFERENCE, "float32"))


def test_a_scan_that_gives_pytorch_no_numbers_is_refused_elsewhere():
    assert disagreement(REFERENCE, REFERENCE / 0, "float32") is None


@pytest.mark.parametrize(("changed", "share"), [(0, None), (1, None), (2, "0.020%"), (10000, "100.000%")])
def test_one_label_in_ten_thousand_may_differ(changed, share):
    reference = torch.zeros(1, 3, 100, 100)
    reference[:, 1] = 1
    scores = reference.clone()
    scores[0, 2].view(-1)[:changed] = 1.01

    expected = share and f"{share} of a window's labels differ from those of float32, the limit is 0.01%"
    assert other_labels(scores, reference) == expected


@pytest.mark.parametrize(("score", "differs"), [(0.1, True), (-0.1, False)])
def test_the_label_of_one_channel_is_its_sign(score, differs):
    reference = torch.full((1, 1, 10), -1.0)
    scores = reference.clone()
    scores[..., 3] = score

    assert (other_labels(scores, reference) is not None) is differs

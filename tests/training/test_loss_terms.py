"""Means of loss terms over two batches, computed by hand."""

from types import SimpleNamespace

import pytest
import torch

from segpipe.losses import DiceCrossEntropy
from segpipe.training.loss_terms import LossTerms


def of(**terms):
    return SimpleNamespace(terms={name: torch.tensor(value) for name, value in terms.items()})


def test_each_term_has_its_mean():
    means = LossTerms()
    means.update(of(dice=1.0, cross_entropy=4.0))
    means.update(of(dice=2.0, cross_entropy=2.0))

    assert means.means() == {"cross_entropy": 3.0, "dice": 1.5}


def test_a_larger_batch_counts_more():
    means = LossTerms()
    means.update(of(dice=1.0), weight=3)
    means.update(of(dice=5.0), weight=1)

    assert means.means() == {"dice": 2.0}


def test_after_a_reset_nothing_is_left():
    means = LossTerms()
    means.update(of(dice=1.0))
    means.reset()
    means.update(of(dice=9.0))

    assert means.means() == {"dice": 9.0}


@pytest.mark.parametrize("loss", [torch.nn.CrossEntropyLoss(), torch.nn.functional.cross_entropy, None])
def test_a_loss_without_terms_has_no_means(loss):
    means = LossTerms()
    means.update(loss)

    assert means.means() == {}


def test_what_is_kept_holds_no_graph():
    loss, means = DiceCrossEntropy(), LossTerms()
    loss(torch.randn(1, 2, 4, 4, requires_grad=True), torch.ones(1, 1, 4, 4))
    means.update(loss)

    assert all(not kept.requires_grad for kept in means._sums.values())

import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.losses import DiceLoss
from torch.nn import functional

from segpipe.errors import SegpipeError
from segpipe.losses import DiceCrossEntropy

WEIGHTS = torch.tensor([0.25, 1.0, 4.0])


def example(spatial=(6, 5), batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, 3, *spatial, generator=generator)
    return logits, torch.randint(0, 3, (batch, 1, *spatial), generator=generator)


def soft_dice_loss(logits, target, classes, smooth=1e-5):
    """Return by hand: 1 minus the mean over images and classes of 2 |pg| / (|p| + |g|)."""
    losses = []
    for image, reference in zip(logits.softmax(1), target[:, 0], strict=True):
        for index in classes:
            p, g = image[index], (reference == index).float()
            losses.append(1 - (2 * (p * g).sum() + smooth) / (p.sum() + g.sum() + smooth))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("spatial", [(6, 5), (4, 3, 5)])
def test_the_weights_act_on_the_cross_entropy_alone(spatial):
    logits, target = example(spatial)

    loss = DiceCrossEntropy(WEIGHTS)(logits, target)

    chosen = logits.log_softmax(1).gather(1, target)[:, 0]
    weights = WEIGHTS[target[:, 0]]
    cross_entropy = -(weights * chosen).sum() / weights.sum()
    torch.testing.assert_close(loss, soft_dice_loss(logits, target, [1, 2]) + cross_entropy)


def test_the_background_counts_in_the_dice_when_asked():
    logits, target = example()

    loss = DiceCrossEntropy(include_background=True, cross_entropy_weight=0)(logits, target)

    torch.testing.assert_close(loss, soft_dice_loss(logits, target, [0, 1, 2]))


def test_the_background_counts_in_the_cross_entropy_always():
    logits, target = example()
    of_background = torch.zeros_like(target)

    for include in (True, False):
        loss = DiceCrossEntropy(WEIGHTS, include_background=include, dice_weight=0)(logits, of_background)
        torch.testing.assert_close(loss, -logits.log_softmax(1)[:, 0].mean())


def test_factors_scale_their_terms():
    logits, target = example()
    dice = DiceCrossEntropy(cross_entropy_weight=0)(logits, target)
    cross_entropy = DiceCrossEntropy(dice_weight=0)(logits, target)

    loss = DiceCrossEntropy(dice_weight=0.5, cross_entropy_weight=3)(logits, target)

    torch.testing.assert_close(loss, 0.5 * dice + 3 * cross_entropy)


def test_one_dice_over_the_batch_does_not_ask_for_a_class_in_every_image():
    """One image has the class and is perfect; in the other, a small false probability costs a whole Dice per image."""
    target = torch.zeros(2, 1, 4, 4, dtype=torch.int64)
    target[0, 0, :2] = 1
    logits = 20.0 * functional.one_hot(target[:, 0], 2).movedim(-1, 1)
    logits[1, 1, 0, 0] += 18  # probability 0.12 of what is not there

    by_image = DiceCrossEntropy(cross_entropy_weight=0)(logits, target)
    over_batch = DiceCrossEntropy(cross_entropy_weight=0, batch_dice=True)(logits, target)

    trace = 1 / (1 + math.exp(2))
    assert by_image == pytest.approx(0.5, abs=1e-3)
    assert over_batch == pytest.approx(1 - 16 / (16 + trace), abs=1e-4)


@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("include_background", [False, True])
def test_a_class_that_is_absent_has_no_dice(batch_dice, include_background):
    """Of the classes 0, 1, 2, the first image has 0 and 1, the second has 0, and no image has 2."""
    logits, _ = example()
    target = torch.zeros(2, 1, 6, 5, dtype=torch.int64)
    target[0, 0, :2] = 1
    settings = {"batch_dice": batch_dice, "include_background": include_background, "cross_entropy_weight": 0}

    loss = DiceCrossEntropy(**settings, skip_absent=True)(logits, target)

    probabilities, reference = logits.softmax(1), functional.one_hot(target[:, 0], 3).movedim(-1, 1)
    groups = [(probabilities, reference)] if batch_dice else list(zip(probabilities, reference, strict=True))
    terms = []
    for p, g in groups:
        for index in range(0 if include_background else 1, 3):
            predicted, true = p.select(-3, index), g.select(-3, index)
            if true.any():
                terms.append(1 - 2 * (predicted * true).sum() / (predicted.sum() + true.sum()))
    torch.testing.assert_close(loss, torch.stack(terms).mean())


@pytest.mark.parametrize("batch_dice", [False, True])
def test_without_any_class_there_is_no_dice_at_all(batch_dice):
    logits, target = example()
    logits.requires_grad_()
    dice = DiceCrossEntropy(batch_dice=batch_dice, cross_entropy_weight=0, skip_absent=True)

    loss = dice(logits, torch.zeros_like(target))
    loss.backward()

    assert loss == 0
    assert torch.count_nonzero(logits.grad) == 0


@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("include_background", [False, True])
def test_the_dice_is_monais(batch_dice, include_background):
    logits, target = example((3, 4, 5))
    settings = {"include_background": include_background}

    loss = DiceCrossEntropy(batch_dice=batch_dice, cross_entropy_weight=0, **settings)(logits, target)

    expected = DiceLoss(to_onehot_y=True, softmax=True, batch=batch_dice, **settings)(logits, target)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("ignore_index", [255, -1, 2])
def test_ignored_voxels_count_in_neither_term(ignore_index):
    logits, target = example((6, 8))
    target = target.clamp(max=1)
    hidden = target.clone()
    hidden[..., 4:] = ignore_index
    loss = DiceCrossEntropy([1.0, 2.0, 3.0], include_background=True, ignore_index=ignore_index)

    left = DiceCrossEntropy([1.0, 2.0, 3.0], include_background=True)(logits[..., :4], target[..., :4])

    torch.testing.assert_close(loss(logits, hidden), left)


def test_nothing_but_ignored_voxels_costs_nothing_and_moves_nothing():
    logits, target = example()
    logits.requires_grad_()

    loss = DiceCrossEntropy(dice_weight=0, ignore_index=9)(logits, torch.full_like(target, 9))
    loss.backward()

    assert loss == 0
    assert torch.count_nonzero(logits.grad) == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_any_floating_type_gives_a_float32_loss_and_its_own_gradients(dtype):
    logits, target = example()
    logits = logits.to(dtype).requires_grad_()

    loss = DiceCrossEntropy(WEIGHTS.double())(logits, target.float())
    loss.backward()

    assert loss.dtype == torch.float32
    assert logits.grad.dtype == dtype
    torch.testing.assert_close(loss, DiceCrossEntropy(WEIGHTS)(logits.float(), target))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_weights_follow_the_logits_to_the_card():
    logits, target = example()

    on_card = DiceCrossEntropy(WEIGHTS)(logits.cuda(), target.cuda())

    torch.testing.assert_close(on_card.cpu(), DiceCrossEntropy(WEIGHTS)(logits, target))


def test_weights_are_not_part_of_a_state():
    assert DiceCrossEntropy(WEIGHTS).state_dict() == {}


@given(st.lists(st.floats(0.01, 100), min_size=3, max_size=3), st.integers(0, 2**16))
def test_the_gradient_is_what_finite_differences_give(weights, seed):
    logits, target = example((2, 2), batch=1, seed=seed)
    loss = DiceCrossEntropy(weights)
    step = torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed + 1))
    logits.requires_grad_()

    (gradient,) = torch.autograd.grad(loss(logits, target), logits)

    size = 1e-2
    with torch.no_grad():
        slope = (loss(logits + size * step, target) - loss(logits - size * step, target)) / (2 * size)
    assert float((gradient * step).sum()) == pytest.approx(float(slope), abs=2e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_weights": [1.0, 0.0]}, "each must be a positive number"),
        ({"class_weights": [1.0, float("inf")]}, "each must be a positive number"),
        ({"class_weights": [1.0, float("nan")]}, "each must be a positive number"),
        ({"dice_weight": 0, "cross_entropy_weight": 0}, "one must be above"),
        ({"dice_weight": -1}, "neither may be below 0"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(SegpipeError, match=message):
        DiceCrossEntropy(**arguments)


def test_weights_of_another_number_of_classes_are_refused():
    with pytest.raises(SegpipeError, match="2 class weights, but the network has 3 classes"):
        DiceCrossEntropy([1.0, 2.0])(*example())


def test_the_terms_are_kept_without_gradient_and_add_up():
    logits, target = example()
    loss = DiceCrossEntropy(WEIGHTS, dice_weight=3, cross_entropy_weight=0.5)
    assert loss.terms == {}

    total = loss(logits.requires_grad_(), target)

    assert set(loss.terms) == {"dice", "cross_entropy"}
    assert not any(term.requires_grad for term in loss.terms.values())
    torch.testing.assert_close(sum(loss.terms.values()), total.detach())
    torch.testing.assert_close(
        loss.terms["dice"], 3 * DiceCrossEntropy(cross_entropy_weight=0)(logits, target).detach()
    )
    assert set(pickle.loads(pickle.dumps(loss)).terms) == {"dice", "cross_entropy"}


def test_a_term_that_is_left_out_is_not_among_them():
    loss = DiceCrossEntropy(dice_weight=0)
    loss(*example())

    assert set(loss.terms) == {"cross_entropy"}

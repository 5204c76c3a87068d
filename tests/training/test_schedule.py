"""The warm-up of the learning rate, the epochs of validation, and early stopping."""

import pytest
import torch
from ignite.engine import Engine, State

from segpipe.errors import SegpipeError
from segpipe.training import Validate, warm_up


def rates(share, steps):
    """Return the learning rate of each step of a cycle with a peak of 1; the schedule also moves after the last one."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=steps, pct_start=share)
    learning_rates = []
    for _ in range(steps):
        learning_rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return learning_rates


@pytest.mark.parametrize(("share", "steps"), [(0.2, 5), (0.1, 10), (0.25, 4), (1 / 3, 3)])
def test_one_warm_up_step_has_the_low_rate(share, steps):
    """OneCycleLR divides by share * steps - 1, the intervals between warm-up steps: 0 / 0 for one step."""
    with pytest.raises(ZeroDivisionError):
        rates(share, steps)

    learning_rates = rates(warm_up(share, steps), steps)

    assert learning_rates[0] == pytest.approx(1 / 25)
    assert learning_rates[1] == pytest.approx(max(learning_rates), abs=1e-9)
    assert learning_rates[-1] == pytest.approx(1 / 25e4, abs=1e-6)


@pytest.mark.parametrize(
    ("share", "steps"), [(0.2, 4), (0.2, 6), (0.3, 10), (0.0, 7), (0.2, 1), (0.99, 8), (1 / 49, 49)]
)
def test_other_warm_up_shares_stay_unchanged(share, steps):
    assert warm_up(share, steps) == share
    assert len(rates(warm_up(share, steps), steps)) == steps


def test_two_steps_are_one_up_and_one_down():
    assert rates(warm_up(0.5, 2), 2) == pytest.approx([1 / 25, 1 / 25e4])


def test_a_whole_number_is_a_share():
    """YAML may have 0 for 0.0, and OneCycleLR refuses 0."""
    assert rates(warm_up(0, 5), 5)[0] == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("share", [1, 1.0, 1.5, -0.1, float("nan"), "0.2", True, None])
def test_a_share_that_leaves_no_step_is_refused(share):
    """With a share of 1, OneCycleLR divides by zero after the training's last step."""
    with pytest.raises(SegpipeError) as ended:
        warm_up(share, 10)
    assert "warm_up_share is" in str(ended.value)
    assert "from 0 to below 1" in str(ended.value)


class Evaluator:
    """An evaluator with fixed scores for the epochs, and MONAI's record of the best score."""

    def __init__(self, scores=None, cases=2):
        self.scores = scores or {}
        self.epochs = []
        self.state = State(epoch_length=cases, best_metric=-1.0, best_metric_epoch=-1)

    def run(self, epoch):
        self.epochs.append(epoch)
        score = self.scores.get(epoch, 0.0)
        if score > self.state.best_metric:
            self.state.best_metric, self.state.best_metric_epoch = score, epoch


def train(evaluator, epochs, interval, patience=0):
    trainer = Engine(lambda *_: None)
    Validate(evaluator, interval, patience).attach(trainer)
    return trainer.run([0], max_epochs=epochs).epoch


@pytest.mark.parametrize(
    ("epochs", "interval", "expected"),
    [(3, 1, [1, 2, 3]), (6, 2, [2, 4, 6]), (7, 3, [3, 6, 7]), (2, 5, [2])],
)
def test_every_interval_and_the_last_epoch_are_validated(epochs, interval, expected):
    evaluator = Evaluator()

    train(evaluator, epochs, interval)

    assert evaluator.epochs == expected


def test_nothing_is_validated_where_nothing_is_held_out():
    evaluator = Evaluator(cases=0)

    assert train(evaluator, 5, 1, patience=1) == 5
    assert evaluator.epochs == []


def test_training_stops_after_so_many_validations_without_a_better_one():
    """Epoch 4 is best; epochs 6 and 8 are no better, and the patience is two validations."""
    evaluator = Evaluator({2: 0.3, 4: 0.5, 6: 0.5, 8: 0.4})

    assert train(evaluator, 20, 2, patience=2) == 8
    assert evaluator.epochs == [2, 4, 6, 8]


def test_a_better_validation_starts_the_count_again():
    evaluator = Evaluator({2: 0.3, 4: 0.2, 6: 0.4, 8: 0.1, 10: 0.1})

    assert train(evaluator, 20, 2, patience=2) == 10


def test_patience_zero_never_stops():
    assert train(Evaluator({1: 0.5}), 9, 1, patience=0) == 9

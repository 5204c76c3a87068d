"""When a run validates, and when it stops."""

import pytest
from ignite.engine import Engine, State

from segpipe.training import Validate


class Evaluator:
    """Scores epochs as they are written down; keeps MONAI's record of the best."""

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
    """Best at epoch 4; those of 6 and 8 are no better; the two of them are the patience."""
    evaluator = Evaluator({2: 0.3, 4: 0.5, 6: 0.5, 8: 0.4})

    assert train(evaluator, 20, 2, patience=2) == 8
    assert evaluator.epochs == [2, 4, 6, 8]


def test_a_better_validation_starts_the_count_again():
    evaluator = Evaluator({2: 0.3, 4: 0.2, 6: 0.4, 8: 0.1, 10: 0.1})

    assert train(evaluator, 20, 2, patience=2) == 10


def test_patience_zero_never_stops():
    assert train(Evaluator({1: 0.5}), 9, 1, patience=0) == 9

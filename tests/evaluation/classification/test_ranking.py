"""AUROC and average precision equal an independent count of pairs and of steps, for every weighting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.evaluation.classification.ranking import Ranking


def once(probabilities, present):
    weights = np.ones((1, len(probabilities)))
    ranking = Ranking(np.array(probabilities, float), np.array(present, bool))
    return tuple(float(value[0]) for value in ranking.scores(weights))


def counted(probabilities, present):
    """Return AUROC by all pairs and average precision by all thresholds, in plain Python."""
    positive = [p for p, is_there in zip(probabilities, present, strict=True) if is_there]
    negative = [p for p, is_there in zip(probabilities, present, strict=True) if not is_there]
    won = sum((a > b) + (a == b) / 2 for a in positive for b in negative)
    precision_sum, found = 0.0, 0
    for threshold in sorted(set(probabilities), reverse=True):
        above = [is_there for p, is_there in zip(probabilities, present, strict=True) if p >= threshold]
        precision_sum += (sum(above) - found) * sum(above) / len(above)
        found = sum(above)
    return won / (len(positive) * len(negative)), precision_sum / len(positive)


def test_four_images_by_hand():
    """Of the pairs (.8, .1), (.8, .4), (.35, .1), (.35, .4) three are right; precision 1 at recall .5, 2/3 at 1."""
    auroc, auprc = once([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])

    assert auroc == pytest.approx(0.75)
    assert auprc == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_a_tie_counts_one_half():
    auroc, auprc = once([0.5, 0.5], [1, 0])

    assert (auroc, auprc) == (0.5, 0.5)


def test_without_a_positive_or_a_negative_there_is_no_value():
    assert np.isnan(once([0.1, 0.2], [0, 0])).all()
    auroc, auprc = once([0.1, 0.2], [1, 1])
    assert np.isnan(auroc)
    assert auprc == 1


LISTS = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: 0 < sum(there for _, there in rows) < len(rows)
)


@settings(max_examples=40)
@given(LISTS)
def test_ties_as_in_the_count_of_all_pairs(rows):
    probabilities, present = [value / 8 for value, _ in rows], [there for _, there in rows]

    np.testing.assert_allclose(once(probabilities, present), counted(probabilities, present), atol=1e-12)


@settings(max_examples=40)
@given(LISTS)
def test_a_monotone_map_changes_nothing(rows):
    probabilities, present = np.array([value / 8 for value, _ in rows]), [there for _, there in rows]

    assert once(probabilities**3, present) == once(probabilities, present)


def test_weights_are_repetitions():
    """A bootstrap sample by weights is the sample with its images repeated."""
    random = np.random.default_rng(0)
    probabilities, present = random.integers(0, 6, 30) / 6, random.random(30) < 0.4
    weights = random.integers(0, 4, (5, 30))
    auroc, auprc = Ranking(probabilities, present).scores(weights.astype(float))

    for row, times in enumerate(weights):
        repeated = np.repeat(np.arange(30), times)
        assert (auroc[row], auprc[row]) == pytest.approx(
            counted(probabilities[repeated].tolist(), present[repeated].tolist())
        )


def test_the_curves_pass_through_the_steps():
    ranking = Ranking(np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False]))
    weights = np.ones((1, 4))

    roc = ranking.roc(weights, np.array([0.0, 0.25, 0.5, 1.0]))
    curve = ranking.precision_recall(weights, np.array([0.25, 0.5, 0.75, 1.0]))

    np.testing.assert_allclose(roc, [[0.5, 0.5, 1, 1]])  # at 0 the highest value of the vertical step
    np.testing.assert_allclose(curve, [[1, 1, 2 / 3, 2 / 3]])

import numpy as np
import pytest
from monai.transforms import Compose

from segpipe.dataset.loading import CaseDataset
from segpipe.dataset.sampling import BalancedSampler, class_draws, finding_draws
from segpipe.errors import SegpipeError

CLASSES = np.array([0] * 90 + [1] * 10)


def sampler(seed=0, count=100):
    dataset = CaseDataset([{"case": str(number)} for number in range(count)], Compose([]))
    return BalancedSampler(dataset, class_draws(CLASSES[:count]), seed)


def test_each_class_is_drawn_alike():
    """400 draws of which half are expected to be of the rare class; the deviation of that share is .025."""
    drawn = []
    for epoch in range(4):
        balanced = sampler()
        balanced.set_epoch(epoch)
        drawn += [index % 100 for index in balanced]

    assert np.mean(CLASSES[drawn]) == pytest.approx(0.5, abs=0.1)


def test_draws_depend_on_seed_and_epoch_alone():
    first, again, other = sampler(), sampler(), sampler(seed=1)
    for balanced in (first, again, other):
        balanced.set_epoch(3)

    assert list(first) == list(again)
    assert list(first) != list(other)
    first.set_epoch(4)
    assert list(first) != list(again)


def test_a_case_drawn_twice_gets_other_random_transforms():
    indices = list(sampler())

    assert len(set(indices)) == len(indices) == 100
    assert len({index % 100 for index in indices}) < 100


def test_a_resume_leaves_out_the_draws_before():
    whole, resumed = sampler(), sampler()
    resumed.skip = 30

    assert list(resumed) == list(whole)[30:]


def test_weight_of_an_image_is_that_of_its_rarest_finding():
    """Finding a in three images, b in one, two images with none."""
    targets = np.array([[1, 0], [1, 0], [1, 1], [0, np.nan], [0, 0]], np.float32)

    assert finding_draws(targets) == pytest.approx([1 / 3, 1 / 3, 1, 1 / 2, 1 / 2])


def test_weights_of_another_number_of_cases_are_refused():
    dataset = CaseDataset([{"case": "a"}], Compose([]))
    with pytest.raises(SegpipeError, match="needs 1 finite weights"):
        BalancedSampler(dataset, [1.0, 2.0])


def test_several_draws_a_case_are_one_longer_epoch_over_all_processes():
    """Three draws for each of 100 cases; two processes share them, and no two draws have equal random transforms."""
    dataset = CaseDataset([{"case": str(number)} for number in range(100)], Compose([]))
    whole = BalancedSampler(dataset, class_draws(CLASSES), repeats=3)
    parts = [BalancedSampler(dataset, class_draws(CLASSES), repeats=3) for _ in range(2)]
    for rank, part in enumerate(parts):
        part.num_replicas, part.rank, part.num_samples = 2, rank, 50

    one, other = map(list, parts)

    assert len(whole) == len(list(whole)) == len(set(whole)) == 300
    assert [index for pair in zip(one, other, strict=True) for index in pair] == list(whole)
    assert len(one) == len(parts[0]) == 150

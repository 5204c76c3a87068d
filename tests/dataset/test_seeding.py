"""The random states of a chain are those that MONAI's `Compose.set_random_state` sets."""

import pickle

import numpy as np
import pytest
import torch
from monai.transforms import (
    Compose,
    MapTransform,
    OneOf,
    Rand2DElasticd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    Randomizable,
    RandRotated,
    RandSpatialCropSamplesd,
)

from segpipe.dataset.seeding import TransformSeeds

IMAGE = torch.arange(3 * 20 * 20, dtype=torch.float32).reshape(3, 20, 20)


class OwnGenerator(Randomizable, MapTransform):
    """A transform with a generator that MONAI does not know."""

    def __init__(self):
        MapTransform.__init__(self, "image")
        self.own = np.random.default_rng(0)

    def set_random_state(self, seed=None, state=None):
        super().set_random_state(seed, state)
        self.own = np.random.default_rng(seed)
        return self

    def __call__(self, data):
        return {**data, "image": data["image"] + self.own.uniform() + self.R.uniform()}


def chain():
    """Nested chains, transforms that contain random transforms, and one that makes several samples."""
    changed = Compose(
        [RandAffined("image", prob=1.0, rotate_range=0.3), RandGaussianNoised("image", prob=1.0)]
    )
    return Compose(
        [
            RandFlipd("image", prob=0.5, spatial_axis=1),
            OneOf([RandRotated("image", prob=1.0, range_x=0.2), changed]),
            OwnGenerator(),
            Rand2DElasticd("image", spacing=(5, 5), magnitude_range=(1, 2), prob=0.5),
            RandSpatialCropSamplesd("image", (8, 8), 2, random_size=False),
        ]
    )


def result(transform):
    return torch.stack([sample["image"].as_tensor() for sample in transform({"image": IMAGE.clone()})])


def test_every_sample_is_that_of_monai():
    reference, transform = chain(), chain()
    seeds = TransformSeeds(transform)

    for seed in (5, 0, 5, 2**32 - 1, 7):
        reference.set_random_state(seed=seed)
        seeds.set(seed)
        torch.testing.assert_close(result(transform), result(reference), rtol=0, atol=0)


def test_generators_are_made_once():
    transform = chain()
    seeds = TransformSeeds(transform)
    seeds.set(1)
    flip, rotate = transform.transforms[0], transform.transforms[1].transforms[0]
    made = [transform.R, flip.R, rotate.R, rotate.rand_rotate.R]

    seeds.set(2)

    assert made == [transform.R, flip.R, rotate.R, rotate.rand_rotate.R]  # generators are equal by identity


@pytest.mark.parametrize("change", ["another generator", "another process"])
def test_a_generator_from_elsewhere_changes_nothing(change):
    reference, transform = chain(), chain()
    seeds = TransformSeeds(transform)
    seeds.set(1)
    if change == "another generator":
        transform.set_random_state(seed=99)
    else:
        seeds = pickle.loads(pickle.dumps(seeds))  # as a loader process gets it
        transform = seeds.transform

    reference.set_random_state(seed=3)
    seeds.set(3)

    torch.testing.assert_close(result(transform), result(reference), rtol=0, atol=0)

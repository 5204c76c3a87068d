"""Batches of cases: a sample's random numbers, the cases of an epoch, and the end of a failed load."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, get_track_meta
from monai.transforms import (
    Compose,
    Lambdad,
    MapTransform,
    OneOf,
    RandFlipd,
    RandGaussianNoised,
    Randomizable,
    Spacingd,
)

from segpipe.dataset.loading import CaseDataset, CaseFailure, CaseLoader, EpochSampler, ShareSampler
from segpipe.errors import SegpipeError
from segpipe.monai_run import refusal_ends_run

NAMES = ["anna", "bert", "carl", "dora", "emil"]
RECORDS = [{"case": name, "image": number} for number, name in enumerate(NAMES)]


class Number(MapTransform):
    """Read a record's number as an image, and count the loads."""

    def __init__(self, bad=None, error=None):
        super().__init__("image")
        self.loads = []
        self.bad, self.error = bad, error

    def __call__(self, data):
        self.loads.append(data["case"])
        if data["case"] == self.bad:
            raise self.error
        return {**data, "image": torch.full((1, 4), float(data["image"]))}


class Draw(Randomizable, MapTransform):
    """Keep one number of each kind of random draw in MONAI's transforms."""

    def __init__(self):
        MapTransform.__init__(self, "image")

    def __call__(self, data):
        return {**data, "drawn": self.R.uniform(size=3)}


def dataset(seed=0, records=RECORDS, load=None, **kwargs):
    chain = Compose([load or Number(), Draw(), RandGaussianNoised("image", prob=1.0)])
    return CaseDataset(records, chain, seed=seed, **kwargs)


def samples(data, epoch, num_workers=0, order=None):
    """Return case -> its random numbers, loaded in this order."""
    size = len(data)
    indices = [epoch * size + case for case in (range(size) if order is None else order)]
    loader = CaseLoader(data, sampler=indices, batch_size=2, num_workers=num_workers)
    voxels = {}
    for batch in loader:
        for name, image, drawn in zip(batch["case"], batch["image"], batch["drawn"], strict=True):
            voxels[name] = np.concatenate([image.numpy().ravel(), drawn.numpy()])
    return voxels


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_a_sample_is_the_same_in_a_worker():
    assert_same(samples(dataset(), epoch=3), samples(dataset(), epoch=3, num_workers=2))


def test_a_sample_is_the_same_in_any_order_and_after_any_other():
    data = dataset()
    first = samples(data, epoch=3)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002  # what no sample may depend on

    assert_same(first, samples(data, epoch=3, order=[4, 2, 0, 1, 3]))
    assert_same({"carl": first["carl"]}, samples(dataset(), epoch=3, order=[2]))


def test_a_sample_is_the_same_whichever_cases_stand_beside_it():
    """Another fold in the training set does not change a case's augmentation."""
    alone = dataset(records=[RECORDS[2]])

    assert_same({"carl": samples(dataset(), epoch=3)["carl"]}, samples(alone, epoch=3))


def test_epochs_seeds_and_cases_differ():
    drawn = [
        sample[-3:]
        for seed in (0, 1)
        for epoch in (1, 2)
        for sample in samples(dataset(seed), epoch).values()
    ]

    assert len({tuple(values) for values in drawn}) == 2 * 2 * len(NAMES)


def test_an_index_carries_its_epoch():
    data = dataset()

    np.testing.assert_array_equal(data[2 + 3 * 5]["drawn"], samples(data, epoch=3)["carl"][-3:])
    np.testing.assert_array_equal(data[2]["drawn"], samples(data, epoch=0)["carl"][-3:])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_each_case_is_loaded_once_and_kept(num_workers):
    load = Number()
    data = dataset(load=load)

    for epoch in (1, 2):
        samples(data, epoch, num_workers)

    assert load.loads == NAMES


def test_random_transforms_do_not_change_what_is_kept():
    data = CaseDataset(RECORDS, Compose([Number(), Draw(), Lambdad("image", lambda image: image.add_(1))]))

    assert data[1]["image"].tolist() == data[1]["image"].tolist() == [[2.0] * 4]


class Image(MapTransform):
    """Read a record's number as an image with metadata."""

    def __init__(self):
        super().__init__("image")

    def __call__(self, data):
        return {**data, "image": MetaTensor(torch.arange(6.0).reshape(1, 2, 3) + data["image"])}


def flipped(**kwargs):
    """Return the images of two epochs, each flipped or not."""
    chain = Compose([Image(), RandFlipd("image", prob=0.5, spatial_axis=1)])
    data = CaseDataset(RECORDS, chain, **kwargs)
    return [data[index]["image"] for index in range(2 * len(data))]


@pytest.mark.parametrize("cache", [True, False])
def test_without_metadata_the_voxels_are_the_same(cache):
    plain, tracked = flipped(cache=cache, track_meta=False), flipped(cache=cache)

    assert {type(image) for image in plain} == {torch.Tensor}
    assert {type(image) for image in tracked} == {MetaTensor}
    for one, other in zip(plain, tracked, strict=True):
        torch.testing.assert_close(one, other.as_tensor(), rtol=0, atol=0)
    assert (
        len({image[0, 0, 0].item() - number % 5 for number, image in enumerate(plain)}) == 2
    )  # 0, and 2 if flipped


def test_without_metadata_random_transforms_do_not_change_what_is_kept():
    chain = Compose([Image(), Draw(), Lambdad("image", lambda image: image.add_(1))])
    data = CaseDataset(RECORDS, chain, track_meta=False)

    assert data[1]["image"].tolist() == data[1]["image"].tolist() == [[[2.0, 3.0, 4.0], [5.0, 6.0, 7.0]]]


def test_without_random_transforms_the_kept_image_has_no_metadata():
    data = CaseDataset(RECORDS, Compose([Image()]), track_meta=False)

    assert type(data[0]["image"]) is torch.Tensor


def test_metadata_are_tracked_again_after_a_failure():
    def fail(_):
        raise SegpipeError("image: 3 voxels are NaN")

    data = CaseDataset(RECORDS, Compose([Image(), Draw(), Lambdad("image", fail)]), track_meta=False)

    assert isinstance(data[0], CaseFailure)
    assert get_track_meta()


def test_without_cache_each_case_is_loaded_each_time():
    load = Number()
    data = dataset(load=load, cache=False)

    for epoch in (1, 2):
        samples(data, epoch)

    assert load.loads == [*NAMES, *NAMES]


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_refused_case_ends_in_one_message_that_names_it(cache, num_workers, capfd):
    load = Number(bad="carl", error=SegpipeError("scan.nii.gz: 3 voxels are NaN"))

    with pytest.raises(SegpipeError, match=r"^carl: scan.nii.gz: 3 voxels are NaN$"):
        samples(dataset(load=load, cache=cache), 1, num_workers)

    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("cache", [True, False])
def test_a_defect_keeps_its_own_type(cache):
    load = Number(bad="carl", error=ZeroDivisionError("a defect of the program"))

    with pytest.raises(Exception, match="applying transform") as raised:
        samples(dataset(load=load, cache=cache), 1)

    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_the_search_for_a_defects_cause_ends():
    """An error that is its own cause would make the search endless."""

    @refusal_ends_run()
    def load():
        bad = Number(bad="carl", error=ZeroDivisionError("a defect of the program"))
        dataset(load=bad).fill_cache()

    with pytest.raises(Exception, match="applying transform"):
        load()


def test_a_failure_is_a_value_in_the_dataset():
    data = dataset(load=Number(bad="carl", error=SegpipeError("broken")), cache=False)

    assert data[2] == CaseFailure("carl: broken")
    assert data[1]["case"] == "bert"


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_an_epoch_has_every_case_once(epoch):
    sampler = EpochSampler(dataset())
    sampler.set_epoch(epoch)

    indices = list(sampler)

    assert sorted(indices) == [epoch * 5 + case for case in range(5)]
    assert indices == list(sampler)


def test_epochs_have_their_own_order():
    data = dataset(records=[{"case": str(n), "image": n} for n in range(20)])
    orders = []
    for epoch in range(4):
        sampler = EpochSampler(data)
        sampler.set_epoch(epoch)
        orders.append(tuple(index % 20 for index in sampler))

    assert len(set(orders)) == 4
    assert tuple(range(20)) not in orders


@pytest.fixture
def rank(monkeypatch):
    """Return a function that makes this process one of several ranks."""

    def become(number, world_size):
        monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
        monkeypatch.setattr("torch.distributed.get_world_size", lambda: world_size)
        monkeypatch.setattr("torch.distributed.get_rank", lambda: number)

    return become


def test_two_ranks_split_an_epoch(rank):
    data = dataset(records=[{"case": str(n), "image": n} for n in range(8)])
    shares = []
    for number in (0, 1):
        rank(number, 2)
        sampler = EpochSampler(data)
        sampler.set_epoch(3)
        shares.append(list(sampler))

    assert [len(share) for share in shares] == [4, 4]
    assert sorted(shares[0] + shares[1]) == [3 * 8 + case for case in range(8)]


@pytest.mark.parametrize(("cases", "repeats"), [(8, 1), (9, 1), (9, 3), (7, 2)])
def test_a_step_of_two_ranks_has_the_samples_of_one_process_with_twice_the_batch(rank, cases, repeats):
    """Of 9 cases the tenth sample, which makes the ranks equal, is the first one again."""
    data = dataset(records=[{"case": str(n), "image": n} for n in range(cases)])

    def batches(number, world_size, size):
        rank(number, world_size)
        sampler = EpochSampler(data, seed=4, repeats=repeats)
        sampler.set_epoch(2)
        loader = torch.utils.data.BatchSampler(sampler, size, drop_last=False)
        assert sum(map(len, loader)) == len(sampler)
        return list(loader)

    alone, (first, second) = batches(0, 1, 4), [batches(number, 2, 2) for number in (0, 1)]

    assert [len(batch) for batch in first] == [len(batch) for batch in second]
    steps = [sorted(one + other) for one, other in zip(first, second, strict=True)]
    expected = [sorted(batch) for batch in alone]
    if cases * repeats % 2:
        expected[-1] = sorted([*expected[-1], alone[0][0]])
    assert steps == expected


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_shares_count_each_case_once(rank, world_size):
    """DistributedSampler gives a case to two ranks if the ranks do not divide the cases."""
    indices = []
    for number in range(world_size):
        rank(number, world_size)
        sampler = ShareSampler(dataset())
        assert len(sampler) == len(list(sampler)) > 0
        indices += list(sampler)

    assert sorted(indices) == [0, 1, 2, 3, 4]


def test_one_process_validates_in_order():
    assert list(ShareSampler(dataset())) == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_a_worker_prints_no_traceback(tmp_path):
    """The training is a real process, whose workers write to stderr."""
    script = tmp_path / "load.py"
    script.write_text(
        textwrap.dedent("""
        import sys
        from importlib.machinery import ModuleSpec
        from monai.transforms import Compose, Lambdad
        from segpipe.dataset.loading import CaseDataset, CaseLoader
        from segpipe.errors import SegpipeError
        from segpipe.monai_run import refusal_ends_run

        def load(image):
            if image == 2:
                raise SegpipeError("scan.nii.gz: 3 voxels are NaN")
            return image

        __spec__ = ModuleSpec("monai.bundle", None)  # as MONAI's run has it

        @refusal_ends_run()
        def main():
            data = CaseDataset([{"case": str(n), "image": n} for n in range(4)], Compose([Lambdad("image", load)]),
                               cache=False)
            list(CaseLoader(data, batch_size=1, num_workers=2))

        if __name__ == "__main__":
            main()
        """)
    )

    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)

    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == "segpipe: 2: scan.nii.gz: 3 voxels are NaN"
    assert "Traceback" not in done.stdout + done.stderr


def test_an_epoch_with_repeats_draws_each_case_anew_each_time():
    data = dataset()
    sampler = EpochSampler(data, repeats=3)
    sampler.set_epoch(2)

    indices = list(sampler)

    assert len(indices) == len(sampler) == 3 * len(NAMES)
    assert len(set(indices)) == len(indices)
    assert sorted(index % len(data) for index in indices) == sorted(3 * list(range(len(NAMES))))
    drawn = {data[index]["drawn"].tobytes() for index in indices if index % len(data) == 0}
    assert len(drawn) == 3


def test_epochs_with_repeats_share_no_draw():
    sampler = EpochSampler(dataset(), repeats=2)
    first = list(sampler)
    sampler.set_epoch(1)

    assert not set(first) & set(sampler)


@pytest.mark.parametrize("inside", [False, True])
def test_without_metadata_no_random_step_is_followed_by_one_that_reads_a_grid(inside):
    spacing = Spacingd("image", (1, 1))
    steps = [OneOf([spacing])] if inside else [RandFlipd("image"), spacing]

    with pytest.raises(
        SegpipeError, match="Spacingd stands behind the first random transform and reads the spacing"
    ):
        CaseDataset(RECORDS, Compose([Image(), *steps]), track_meta=False)
    CaseDataset(RECORDS, Compose([Image(), *steps]))
    CaseDataset(RECORDS, Compose([Image(), spacing, RandFlipd("image")]), track_meta=False)

"""How often a training draws each case with a label map."""

from types import SimpleNamespace

import numpy as np
import pytest
from monai.transforms import Compose

from segpipe.bundle import case_draws
from segpipe.dataset import Case, Manifest
from segpipe.dataset.loading import CaseDataset, EpochSampler
from segpipe.dataset.sampling import BalancedSampler
from segpipe.errors import SegpipeError

LABELS = SimpleNamespace(names=("background", "lung", "tumour"))
CLASSES = {
    "a": {"background", "lung"},
    "b": {"background", "lung"},
    "c": {"background", "lung", "tumour"},
    "d": {"background"},
    "e": {"background"},
}


def cases_of(weights=None, classes=CLASSES, names="abcde"):
    """Training cases, of which the manifest gives some a weight; `z` validates."""
    listed = tuple(
        Case(name, (f"{name}.png",), label=f"{name}_label.png", weight=(weights or {}).get(name))
        for name in [*CLASSES, "z"]
    )
    manifest = Manifest("made", ("CT",), {0: "background", 1: "lung", 2: "tumour"}, listed)
    present = None if classes is None else [frozenset(classes[name]) for name in names]
    train = [{"case": name} for name in names]
    return SimpleNamespace(manifest=manifest, train=train, class_cases=present, provenance={})


def refusal(*arguments, **keywords):
    with pytest.raises(SegpipeError) as refused:
        case_draws(*arguments, **keywords)
    return str(refused.value)


def test_a_case_counts_by_its_rarest_class():
    """Lung in three cases, tumour in one; the two cases without a class share the weight of one class."""
    cases = cases_of()

    draws = case_draws(cases, LABELS, "rarest_class")

    assert draws == pytest.approx([1 / 3, 1 / 3, 1, 1 / 2, 1 / 2])
    # of a sum of 8/3
    assert np.array(draws) / sum(draws) == pytest.approx([1 / 8, 1 / 8, 3 / 8, 3 / 16, 3 / 16])
    assert cases.provenance["sampling"] == dict(zip("abcde", draws, strict=True))


def test_the_manifest_gives_weights_and_a_mapping_replaces_them():
    weights = {"a": 3.0, "b": 0.0}

    assert case_draws(cases_of(weights), LABELS, "weights") == [3, 0, 1, 1, 1]
    assert case_draws(cases_of(weights), LABELS, {"b": 2, "z": 9}) == [3, 2, 1, 1, 1]
    assert case_draws(cases_of(), LABELS, {"c": 0.5}) == [1, 1, 0.5, 1, 1]


def test_shuffled_has_no_weights_and_is_as_it_was():
    """The sampler of every bundle gives the indices of `EpochSampler`, to the order, in every epoch."""
    dataset = CaseDataset([{"case": name} for name in "abcde"], Compose([]))
    one = BalancedSampler(dataset, case_draws(cases_of(), LABELS), seed=3, repeats=2)
    other = EpochSampler(dataset, seed=3, repeats=2)

    for epoch in range(3):
        one.set_epoch(epoch)
        other.set_epoch(epoch)
        assert list(one) == list(other)
    assert len(one) == len(other) == 10


def test_draws_follow_the_probabilities():
    """2,000 draws; the standard deviation of the largest share, 3/8, is .011."""
    dataset = CaseDataset([{"case": name} for name in "abcde"], Compose([]))
    sampler = BalancedSampler(dataset, case_draws(cases_of(), LABELS, "rarest_class"), repeats=400)

    shares = np.bincount([index % 5 for index in sampler]) / len(sampler)

    assert shares == pytest.approx([1 / 8, 1 / 8, 3 / 8, 3 / 16, 3 / 16], abs=0.04)


def test_a_class_in_no_training_case_is_refused():
    healthy = {name: classes - {"tumour"} for name, classes in CLASSES.items()}

    assert refusal(cases_of(classes=healthy), LABELS, "rarest_class") == (
        "made: sampling is rarest_class, and no training case has tumour, so no draw can balance it; hold another fold "
        "out, or set sampling to shuffled"
    )


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (
            "balanced",
            "sampling is 'balanced'; choose one of shuffled, rarest_class, weights, or give a mapping",
        ),
        (True, "sampling is True; choose one of"),
        ("weights", "no case of the manifest has a weight; add `weight` to its cases"),
        ({"y": 1, "a": 1}, "gives a weight to y, which the manifest does not list under training"),
        ({"a": -1}, "gives a the weight -1; must be a number of at least 0"),
        ({"a": float("inf")}, "gives a the weight inf; must be"),
        ({"a": "much"}, "gives a the weight 'much'; must be"),
        (dict.fromkeys("abcde", 0), "the weights of all 5 training cases are 0"),
    ],
    ids=str,
)
def test_bad_samplings_are_refused(sampling, message):
    assert message in refusal(cases_of(), LABELS, sampling)


def test_cases_without_label_maps_have_no_rarest_class():
    assert "the training cases have no label maps" in refusal(cases_of(classes=None), LABELS, "rarest_class")

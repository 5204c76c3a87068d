"""each_volume changes the volumes of a transform's keys alone."""

import pytest
import torch
from monai.transforms import MapTransform

from segpipe.transforms.each_volume import each_volume


class Keyed(MapTransform):
    def __call__(self, data):
        return each_volume(self, data, lambda volume: volume + 1)


def test_other_keys_and_the_record_stay():
    record = {"image": torch.zeros(1, 2), "label": torch.zeros(1, 2), "case": "a"}

    changed = Keyed(["image"])(record)

    assert changed["image"].tolist() == [[1, 1]]
    assert changed["label"] is record["label"]
    assert changed["case"] == "a"
    assert record["image"].sum() == 0


def test_a_missing_key_is_refused_unless_it_may_be_missing():
    with pytest.raises(KeyError, match="label"):
        Keyed(["label"])({"image": torch.zeros(1)})
    assert set(Keyed(["label"], allow_missing_keys=True)({"image": torch.zeros(1)})) == {"image"}

"""MONAI's internals are in their expected places; for a missing one, one sentence names it."""

import re
from pathlib import Path

import monai
import numpy as np
import pytest
import torch
from monai.bundle import ComponentLocator, ConfigParser
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    CropForegroundd,
    Orientationd,
    ScaleIntensityRange,
    ScaleIntensityRanged,
    Spacingd,
    SpatialPadd,
    SpatialResample,
)

from segpipe import monai_internals as internals
from segpipe.errors import SegpipeError

ROOT = Path(__file__).parents[1]
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def image(size=(6, 5, 4)):
    return MetaTensor(torch.arange(float(np.prod(size))).reshape(1, *size), affine=torch.as_tensor(AFFINE))


def resampler():
    assert isinstance(internals.resampler_of(Spacingd("image", (1, 1, 1))), SpatialResample)


def scaler():
    assert isinstance(internals.scaler_of(ScaleIntensityRanged("image", 0, 1, 0, 1)), ScaleIntensityRange)


def names():
    locator = ComponentLocator()
    locator.get_component_module_name("Spacingd")
    assert "Spacingd" in internals.component_names(locator)


def parser():
    config_parser = ConfigParser(
        {"a": "$seek()"}, globals={"seek": internals.parser_on_the_stack}
    ).get_parsed_content("a")
    assert isinstance(config_parser, ConfigParser)


def padding():
    (noted,) = internals.applied_operations(
        SpatialPadd("image", (8, 5, 4), method="end")({"image": image()})["image"]
    )
    assert (noted.padded, noted.cropped, noted.size, noted.lazy) == ([0, 0, 0], None, (6, 5, 4), False)


def cropping():
    step = CropForegroundd(
        "image", "image", select_fn=lambda voxels: voxels > 60, k_divisible=4, allow_smaller=True
    )
    (noted,) = internals.applied_operations(step({"image": image()})["image"])
    assert noted.cropped == [3, 0, 0]
    assert noted.padding_after_crop.padded is not None


def turning():
    (noted,) = internals.applied_operations(
        Orientationd("image", "LPS", labels=None)({"image": image()})["image"]
    )
    assert (noted.name, noted.size) == ("Orientation", (6, 5, 4))
    assert noted.info["original_affine"] is not None


def resampling():
    step = Spacingd("image", (2, 2, 2), align_corners=False)
    (noted,) = internals.applied_operations(step({"image": image()})["image"])
    assert noted.name == "SpatialResample"
    assert {"mode", "padding_mode", "align_corners", "src_affine", "dtype"} <= set(noted.info)


INTERNALS = [resampler, scaler, names, parser, padding, cropping, turning, resampling]


@pytest.mark.parametrize("require", INTERNALS, ids=lambda require: require.__name__)
def test_an_internal_is_where_it_was(require):
    try:
        require()
    except Exception as error:  # whatever MONAI has made of it
        pytest.fail(
            f"MONAI {monai.__version__}: its {require.__name__} is not where segpipe.monai_internals looks for it, "
            f"which was tested with {internals.TESTED_WITH} ({type(error).__name__}: {error})",
            pytrace=False,
        )


def test_a_refusal_in_a_chain_of_transforms_keeps_its_text_and_a_defect_is_wrapped_as_before():
    def refuse(record):
        raise SegpipeError("scan.nii.gz: 3 voxels are NaN")

    internals.let_refusals_through()

    with pytest.raises(SegpipeError, match=r"^scan.nii.gz: 3 voxels are NaN$"):
        Compose([refuse])({"image": 1})
    with pytest.raises(RuntimeError, match="applying transform"):
        Compose([lambda record: record["missing"]])({"image": 1})


def test_the_version_is_capped_where_it_was_tested():
    major, minor = map(int, internals.TESTED_WITH.split("."))
    (spec,) = re.findall(r'"monai(>=[^"]*)"', (ROOT / "pyproject.toml").read_text())
    assert spec.endswith(f",<{major}.{minor + 1}")
    assert monai.__version__.startswith(f"{internals.TESTED_WITH}.")


def test_a_replaced_resampler_resamples():
    class Marked(SpatialResample):
        pass

    step = Spacingd("image", (1, 1, 1))
    internals.replace_resampler(step, marked := Marked())
    assert internals.resampler_of(step) is marked

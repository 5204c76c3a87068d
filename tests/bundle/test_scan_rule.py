"""The kind of scans that a bundle takes: dimensions, channels and their order, size of slices."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segpipe.bundle.open import open_bundle
from segpipe.bundle.scan_rule import ScanRule
from segpipe.bundle.source import BundleSource
from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, VolumeFormat, VolumeHeader

ROOT = Path(__file__).parents[2]

CHANNELS = [{"name": "FLAIR", "files": "{case}_0000"}, {"name": "T1c", "files": "{case}_0001"}]
NAMES_ALONE = [{"name": "FLAIR"}, {"name": "T1c"}]
HEADER = VolumeHeader(
    Path("scan.nii.gz"), VolumeFormat.NIFTI_GZ, Grid.from_affine((4, 4, 4), np.eye(4)), 2, np.dtype(np.int16)
)


def test_one_file_each_channel_is_taken():
    ScanRule.of(3, 2, channels=CHANNELS).check(HEADER, num_files=2)


@pytest.mark.parametrize(("num_files", "num_channels"), [(3, 3), (2, 3), (3, 2)])
def test_another_number_of_files_or_channels_is_refused(num_files, num_channels):
    with pytest.raises(
        SegpipeError, match=r"files with . channels, the bundle takes 2 \(FLAIR, T1c\); give one file"
    ):
        ScanRule.of(3, 2, channels=CHANNELS).check(replace(HEADER, num_channels=num_channels), num_files)


def test_channels_of_one_file_need_an_order_where_training_had_a_file_each():
    with pytest.raises(SegpipeError, match=r"whose order is not known; .*--set channel_order=\[FLAIR,T1c\]"):
        ScanRule.of(3, 2, channels=CHANNELS).check(HEADER)

    ordered = ScanRule.of(3, 2, channels=CHANNELS, channel_order=["T1c", "FLAIR"])
    ordered.check(HEADER)
    assert ordered.order == (1, 0)
    ScanRule.of(3, 2, channels=NAMES_ALONE).check(HEADER)
    ScanRule.of(3, 2).check(HEADER)


def test_the_names_are_as_many_as_the_channels():
    with pytest.raises(SegpipeError, match="channels names 2, num_channels is 3; name each channel once"):
        ScanRule.of(3, 3, channels=CHANNELS)


class TestInFiles:
    """The rule as a bundle's files state it; whatever is not plain needs the bundle opened."""

    @pytest.fixture
    def bundle(self, tmp_path):
        configs = tmp_path / "bundle" / "configs"
        configs.mkdir(parents=True)
        (configs / "metadata.json").write_text('{"label_table": []}')
        return tmp_path / "bundle"

    @staticmethod
    def write(bundle, cases):
        (bundle / "configs" / "inference.yaml").write_text(f"dims: [2, 3]\ncount: $1 + 1\ncases: {cases}\n")

    def test_plain_values_and_references(self, bundle):
        self.write(bundle, "{spatial_dims: '@dims', num_channels: 2}")

        assert ScanRule.in_files(BundleSource(bundle)) == ScanRule.of([2, 3], 2)

    @pytest.mark.parametrize(
        "cases",
        [
            "{num_channels: '@count'}",
            "{num_channels: '$1 + 1'}",
            "{num_channels: '@nowhere'}",
            "{channels: [{name: '@n'}]}",
        ],
    )
    def test_an_expression_is_not_evaluated(self, bundle, cases):
        self.write(bundle, cases)

        assert ScanRule.in_files(BundleSource(bundle)) is None

    def test_overrides_count_as_far_as_they_are_whole_values(self, bundle):
        self.write(bundle, "{spatial_dims: '@dims'}")

        assert ScanRule.in_files(BundleSource(bundle, overrides={"dims": 2})) == ScanRule.of(2)
        assert ScanRule.in_files(BundleSource(bundle, overrides={"cases::spatial_dims": 2})) is None

    def test_a_bundle_of_somebody_else(self, bundle):
        self.write(bundle, "{}")
        (bundle / "configs" / "metadata.json").write_text("{}")

        assert ScanRule.in_files(BundleSource(bundle)) is None

    @pytest.mark.parametrize("name", ["mri_hippocampus_unet", "ct_covid_unet"])
    def test_the_shipped_bundles_state_theirs(self, name):
        rule = ScanRule.in_files(BundleSource(ROOT / "bundles" / name))

        assert rule == open_bundle(ROOT / "bundles" / name).takes

"""Label maps of shipped bundles on real scans: OpenVINO against PyTorch in float32."""

import numpy as np
import pytest
from shipped_bundles import BUNDLES

from segpipe import PredictOptions, predict
from segpipe.inference.engines.names import is_installed
from segpipe.volumes import read_volume

CASES = {
    "mri_hippocampus_unet": ("hippocampus/imagesTr", ".nii.gz", 6, (0,)),
    "ct_covid_unet": ("covid_ct_512/images", ".mhd", 3, None),  # mirrored along axis 1 by itself
}


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.skipif(not is_installed("openvino"), reason="openvino is not installed")
@pytest.mark.parametrize("name", CASES)
def test_labels_and_dice_are_those_of_pytorch(name, real_data, tmp_path):
    folder, suffix, count, flips = CASES[name]
    top, _, below = folder.partition("/")
    scans = sorted(real_data(top).joinpath(below).glob(f"[!.]*{suffix}"))[:count]
    maps = {}
    for engine in ("torch", "openvino"):
        how = PredictOptions(precision="float32", engine=engine, flips=flips, overlays=False)
        said = []
        done = predict(scans, BUNDLES / name, tmp_path / engine, options=how, report=said.append)
        assert not [message for message in said if "instead of" in message]
        maps[engine] = np.concatenate([read_volume(one.label_map).array.ravel() for one in done])
    ours, theirs = maps["openvino"], maps["torch"]

    assert np.mean(ours == theirs) >= 0.9999
    assert len(np.unique(theirs)) > 2
    for label in np.unique(theirs):
        both = np.sum((ours == label) & (theirs == label))
        assert 2 * both / (np.sum(ours == label) + np.sum(theirs == label)) >= 0.999

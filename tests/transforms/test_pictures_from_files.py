"""Images to classify as tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from segpipe.errors import SegpipeError
from segpipe.transforms import LoadPictured

GREY = np.array([[0, 51, 255], [102, 204, 153]], np.uint8)  # fifths of 255


def test_a_file_becomes_a_plain_tensor_of_three_channels(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")

    loaded = LoadPictured("image")({"case": "a", "image": str(tmp_path / "a.png")})

    assert type(loaded["image"]) is torch.Tensor
    torch.testing.assert_close(
        loaded["image"], torch.tensor([[0, 0.2, 1], [0.4, 0.8, 0.6]]).expand(3, 2, 3), rtol=0, atol=1e-7
    )
    assert loaded["case"] == "a"


def test_several_files_and_a_wrong_window_are_refused(tmp_path):
    with pytest.raises(SegpipeError, match="2 files of one image"):
        LoadPictured("image")({"image": [str(tmp_path / "a.png"), str(tmp_path / "b.png")]})
    with pytest.raises(SegpipeError, match="must be two numbers"):
        LoadPictured("image", window=[400, -400])


def test_one_channel_is_the_mean_of_the_colours(tmp_path):
    coloured = np.zeros((2, 3, 3), np.uint8)
    coloured[0, 1] = (255, 51, 0)
    Image.fromarray(coloured).save(tmp_path / "colour.png")
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    load = LoadPictured("image", channels=1)

    colour, grey = (load({"image": str(tmp_path / name)})["image"] for name in ("colour.png", "grey.png"))

    torch.testing.assert_close(colour, torch.tensor([[[0, 0.4, 0], [0, 0, 0]]]), rtol=0, atol=1e-7)
    torch.testing.assert_close(grey, torch.tensor([[[0, 0.2, 1], [0.4, 0.8, 0.6]]]), rtol=0, atol=1e-7)


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_another_number_of_channels_is_refused(channels):
    with pytest.raises(SegpipeError, match=f"channels is {channels}, must be 1 or 3"):
        LoadPictured("image", channels=channels)

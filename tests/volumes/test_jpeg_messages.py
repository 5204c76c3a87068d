"""JPEG files whose pixels are damaged although the file has a beginning and an end."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
from PIL import Image

from segpipe.errors import SegpipeError
from segpipe.volumes import read_volume
from segpipe.volumes.jpeg_messages import refusing_damaged_jpeg


def jpeg(**options) -> bytes:
    into = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    Image.fromarray(noise).save(into, "JPEG", **options)
    return into.getvalue()


def test_half_of_a_file_with_an_end_marker_is_refused(tmp_path):
    whole = jpeg()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")

    with pytest.raises(SegpipeError, match=r"half.jpg: damaged pixels, .*premature end of data segment"):
        read_volume(tmp_path / "half.jpg")


@pytest.mark.parametrize("progressive", [False, True])
def test_a_whole_file_is_read_without_a_message(progressive, tmp_path, capfd):
    (tmp_path / "whole.jpg").write_bytes(jpeg(progressive=progressive))

    assert read_volume(tmp_path / "whole.jpg").array.shape == (64, 64)
    assert capfd.readouterr() == ("", "")


def damage(path):
    with refusing_damaged_jpeg(path):
        os.write(1, b"of another thread\nCorrupt JPEG data: 3 extraneous bytes before marker 0xd9\n")
        os.write(2, b"a warning\n")


def fail(path):
    with refusing_damaged_jpeg(path):
        raise RuntimeError("decoder")


def test_other_text_is_printed_after_the_block_to_its_own_stream(tmp_path, capfd):
    with pytest.raises(SegpipeError, match=r"Corrupt JPEG data: 3 extraneous bytes"):
        damage(tmp_path)

    assert capfd.readouterr() == ("of another thread\n", "a warning\n")


def test_an_error_in_the_block_keeps_its_type_and_frees_the_streams(tmp_path, capfd):
    with pytest.raises(RuntimeError, match="decoder"):
        fail(tmp_path)
    os.write(1, b"printed\n")
    with pytest.raises(RuntimeError, match="decoder"):  # the lock is free
        fail(tmp_path)

    assert capfd.readouterr().out == "printed\n"

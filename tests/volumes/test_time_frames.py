"""Time frames of 4D NIfTI files: one is read at a time, and label maps keep grid and time spacing."""

import gzip

import nibabel
import numpy as np
import pytest
from cine_files import AFFINE, FRAMES, MILLISECONDS, SIZE, frames_of_noise, labelled_frames, save_4d

from segpipe.errors import SegpipeError
from segpipe.volumes import (
    Grid,
    label_frame,
    num_frames,
    read_channel_headers,
    read_channels,
    read_header,
    read_volume,
    write_label_frames,
    write_volume,
)


@pytest.fixture(params=["cine.nii", "cine.nii.gz"])
def cine(request, tmp_path):
    return save_4d(tmp_path / request.param, frames_of_noise())


def test_each_frame_is_read_alone(cine):
    for frame in range(1, FRAMES + 1):
        volume, header = read_volume(cine, frame=frame), read_header(cine, frame=frame)

        np.testing.assert_array_equal(volume.array, frames_of_noise()[..., frame - 1])
        assert volume.num_channels == header.num_channels == 1
        assert volume.grid == header.grid
        np.testing.assert_allclose(volume.grid.affine, AFFINE, atol=1e-6)
    assert num_frames(cine) == FRAMES


def test_without_a_frame_the_fourth_axis_holds_channels(cine):
    assert read_volume(cine).num_channels == read_header(cine).num_channels == FRAMES


def test_a_scaled_frame(tmp_path):
    image = nibabel.Nifti1Image(frames_of_noise(), AFFINE)
    image.header.set_slope_inter(0.5, -10)
    path = tmp_path / "scaled.nii.gz"
    nibabel.save(image, path)

    np.testing.assert_allclose(
        read_volume(path, frame=2).array, np.asarray(nibabel.load(path).dataobj)[..., 1], rtol=1e-6
    )


def test_memory_for_one_frame_is_enough(cine, monkeypatch):
    frame_bytes = 2 * int(np.prod(SIZE))
    monkeypatch.setattr("segpipe.volumes.needed_memory.free_memory_bytes", lambda: frame_bytes)

    assert read_volume(cine, frame=2).array.nbytes == frame_bytes
    assert num_frames(cine) == FRAMES
    with pytest.raises(SegpipeError, match="of memory"):
        read_volume(cine)


def test_damage_in_another_frame_is_noticed(tmp_path):
    path = save_4d(tmp_path / "cine.nii.gz", frames_of_noise())
    content = bytearray(gzip.decompress(path.read_bytes()))
    path.write_bytes(gzip.compress(content)[:-8] + bytes(4) + gzip.compress(content)[-4:])

    with pytest.raises(SegpipeError, match="CRC"):
        read_volume(path, frame=1)


@pytest.mark.parametrize("frame", [0, FRAMES + 1])
@pytest.mark.parametrize("read", [read_volume, read_header])
def test_a_number_out_of_range(cine, frame, read):
    with pytest.raises(SegpipeError, match=rf"has no frame {frame}: its frames are 1 to {FRAMES}"):
        read(cine, frame=frame)


def test_frames_are_read_from_grey_nifti_only(tmp_path):
    write_volume(np.ones((3, 3, 3), np.uint8), Grid.from_affine((3, 3, 3), np.eye(4)), tmp_path / "a.mha")
    colour = np.zeros((4, 4, 4), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nibabel.save(nibabel.Nifti1Image(colour, np.eye(4)), tmp_path / "rgb.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 1, 3), np.uint8), np.eye(4)), tmp_path / "vector.nii")

    with pytest.raises(SegpipeError, match=r"a\.mha: time frames are read from NIfTI files"):
        read_volume(tmp_path / "a.mha", frame=1)
    for name in ("rgb.nii", "vector.nii"):
        with pytest.raises(SegpipeError, match=rf"{name}: .*time frames are read from the fourth axis"):
            read_volume(tmp_path / name, frame=1)


def test_channels_of_one_frame_and_channels_with_other_frames(tmp_path):
    first, second = (save_4d(tmp_path / f"{seed}.nii.gz", frames_of_noise(seed)) for seed in (0, 1))
    short = save_4d(tmp_path / "short.nii.gz", frames_of_noise(2, FRAMES - 1))

    np.testing.assert_array_equal(
        read_channels([first, second], frame=2).array,
        [frames_of_noise(0)[..., 1], frames_of_noise(1)[..., 1]],
    )
    with pytest.raises(SegpipeError, match=r"short\.nii\.gz: has 2 frames, \S*0\.nii\.gz has 3"):
        read_channel_headers([first, short], frame=1)


def test_a_label_map_of_all_frames_or_of_one(tmp_path):
    image = save_4d(tmp_path / "image.nii.gz", frames_of_noise())
    whole = save_4d(tmp_path / "whole.nii.gz", labelled_frames([1]))
    single = tmp_path / "single.nii.gz"
    nibabel.save(nibabel.Nifti1Image(labelled_frames([1])[..., 0], AFFINE), single)
    two = save_4d(tmp_path / "two.nii.gz", labelled_frames([1], 2))

    assert [label_frame(path, 3, [image]) for path in (whole, single)] == [3, None]
    assert label_frame(whole, None, [image]) is None
    with pytest.raises(SegpipeError, match=r"two\.nii\.gz: has 2 frames, its image \S*image\.nii\.gz has 3"):
        label_frame(two, 1, [image])


def test_label_maps_of_all_frames_keep_grid_and_time(tmp_path):
    scan = save_4d(tmp_path / "scan.nii.gz", frames_of_noise())
    header = read_header(scan, frame=1)

    write_label_frames(labelled_frames([1, 3]), header.grid, tmp_path / "out.nii.gz", source=header)

    written, source = nibabel.load(tmp_path / "out.nii.gz"), nibabel.load(scan)
    np.testing.assert_array_equal(written.dataobj, labelled_frames([1, 3]))
    np.testing.assert_array_equal(written.affine, source.affine)
    assert written.header.get_zooms()[3] == MILLISECONDS
    assert written.header.get_xyzt_units() == ("mm", "msec")
    for form in ("sform_code", "qform_code"):
        assert written.header[form] == source.header[form]
    with pytest.raises(SegpipeError, match="written as NIfTI only"):
        write_label_frames(labelled_frames([1]), header.grid, tmp_path / "out.nrrd", source=header)
    with pytest.raises(SegpipeError, match="must be equal"):
        write_label_frames(labelled_frames([1])[:3], header.grid, tmp_path / "out.nii", source=header)

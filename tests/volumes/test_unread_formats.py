"""An image in an unsupported format is one refused scan, with a remedy."""

import pytest

from segpipe.volumes.unread_formats import unread_images


@pytest.fixture
def look(tmp_path):
    """Return a function that writes files, name -> text, and finds the images among them."""

    def images_of(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        paths = sorted(path for path in tmp_path.rglob("*") if path.is_file())
        return {
            image.path.relative_to(tmp_path).as_posix(): (
                image.reason,
                [file.relative_to(tmp_path).as_posix() for file in image.voxel_files],
            )
            for image in unread_images(paths)
        }

    return images_of


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "brain.mgz",
            "a FreeSurfer volume (.mgz), which segpipe does not read; convert it to .nii.gz or .nrrd",
        ),
        ("a.MNC", "a MINC volume (.mnc), which segpipe does not read; convert it to .nii.gz or .nrrd"),
        ("a.mnc.gz", "a MINC volume (.mnc), which segpipe does not read; convert it to .nii.gz or .nrrd"),
        ("a.ome.tif", "a TIFF image (.tif), which segpipe does not read; convert it to .png"),
        ("a.bmp", "a bitmap image (.bmp), which segpipe does not read; convert it to .png"),
        ("a.nii.zst", "a scan packed as .zst, which segpipe does not read; unpack it"),
        ("a.mha.gz", "a scan packed as .gz, which segpipe does not read; unpack it"),
        ("IM1.dcm.zip", "a scan packed as .zip, which segpipe does not read; unpack it"),
    ],
)
def test_the_suffix_says_what_it_is_and_what_to_do(look, tmp_path, name, reason):
    assert look({name: "x"}) == {name: (f"{tmp_path / name}: {reason}", [])}


@pytest.mark.parametrize(
    "name", ["a.bval", "study.zip", "a.gz", "a.img", "a.hdr", "a.par", "tif", ".mgz", "a.rec"]
)
def test_other_files_are_no_images(look, name):
    assert look({name: "x"}) == {}


@pytest.mark.parametrize(
    ("header", "voxels", "what"),
    [
        ("a.hdr", "a.img", "Analyze or NIfTI"),
        ("a.HDR", "a.IMG", "Analyze or NIfTI"),
        ("a.hdr.gz", "a.img.gz", "Analyze or NIfTI"),
        ("x+orig.HEAD", "x+orig.BRIK.gz", "AFNI"),
        ("p.PAR", "p.REC", "PAR/REC"),
    ],
)
def test_a_pair_is_one_scan_named_by_its_header(look, header, voxels, what):
    (image,) = look({header: "x", voxels: "x", "other.img": "x"}).items()

    assert (image[0], image[1][1]) == (header, [voxels])
    assert what in image[1][0]


@pytest.mark.parametrize(
    ("text", "files", "voxels"),
    [
        ("NRRD0004\ndata file: b.raw\n", ["b.raw", "a.raw"], ["b.raw"]),
        ("NRRD0004\nDataFile: deep/b.raw.gz\n", ["deep/b.raw.gz"], ["deep/b.raw.gz"]),
        ("data file: s%02d.raw 1 2 1\n", ["s01.raw", "s02.raw", "t.raw"], ["s01.raw", "s02.raw"]),
        ("data file: LIST\nx.raw\ny.raw\n", ["x.raw", "y.raw", "z.raw"], ["x.raw", "y.raw"]),
        ("damaged", ["a.raw", "b.raw"], ["a.raw"]),
        ("damaged", ["a.raw.gz"], ["a.raw.gz"]),
    ],
)
def test_the_voxel_files_of_a_detached_nrrd_header_belong_to_it(look, text, files, voxels):
    images = look({"a.nhdr": text, **dict.fromkeys(files, "x")})

    assert images["a.nhdr"][1] == voxels
    assert list(images) == ["a.nhdr"]

"""Channels of a bundle: which files of a folder, a table or a manifest make one case."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.dataset import Manifest
from segpipe.dataset.importing.channel_files import (
    ScanChannel,
    case_files,
    look_for_cases,
    order_of,
    planned_channels,
    scan_channels,
)
from segpipe.dataset.manifest import Case
from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, write_volume

NUMBERED = (ScanChannel("FLAIR", "{case}_0000"), ScanChannel("T1c", "{case}_0001"))
NAMED = (ScanChannel("MRI flair", "{case}/flair"), ScanChannel("MRI t1c", "{case}/t1c"))


@pytest.fixture
def put(tmp_path):
    """Return a function that writes tiny scans below `tmp_path` and returns the folder."""

    def write(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            voxels = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
            write_volume(voxels, Grid.from_affine((2, 2, 2), np.eye(4)), path)
        return tmp_path

    return write


def files(listing, top):
    """Return name of a scan -> its files below a folder."""
    return {scan.name: [path.relative_to(top).as_posix() for path in scan.files] for scan in listing.scans}


def test_files_of_one_case_are_one_scan_in_the_networks_order(put):
    top = put(
        "b_0001.nii.gz",
        "a_0000.nii.gz",
        "a_0001.nii.gz",
        "b_0000.nii.gz",
        "deep/c_0000.nii",
        "deep/c_0001.nii",
    )

    listing = look_for_cases(top, NUMBERED[::-1])

    assert files(listing, top) == {
        "a": ["a_0001.nii.gz", "a_0000.nii.gz"],
        "b": ["b_0001.nii.gz", "b_0000.nii.gz"],
        "deep/c": ["deep/c_0001.nii", "deep/c_0000.nii"],
    }
    assert not listing.refused


def test_a_folder_for_each_case_is_one_scan_also_if_it_is_given_itself(put):
    top = put("site/p1/flair.nii.gz", "site/p1/t1c.nrrd", "site/p2/flair.nii.gz", "site/p2/t1c.nii.gz")

    assert files(look_for_cases(top, NAMED), top) == {
        "site/p1": ["site/p1/flair.nii.gz", "site/p1/t1c.nrrd"],
        "site/p2": ["site/p2/flair.nii.gz", "site/p2/t1c.nii.gz"],
    }
    assert files(look_for_cases(top / "site" / "p1", NAMED), top)["p1"] == [
        "site/p1/flair.nii.gz",
        "site/p1/t1c.nrrd",
    ]


def test_a_missing_channel_refuses_its_case_alone(put):
    listing = look_for_cases(put("a_0000.nii.gz", "b_0000.nii.gz", "b_0001.nii.gz"), NUMBERED)

    (refused,) = listing.refused
    assert [scan.name for scan in listing.scans] == ["b"]
    assert refused.name == "a"
    assert re.search(
        r"^a: has no file of the channel T1c \(\{case\}_0001\); add it beside .*a_0000", refused.reason
    )


def test_two_files_of_one_channel_refuse_their_case_alone(put):
    listing = look_for_cases(
        put("a_0000.nii.gz", "a_0000.nrrd", "a_0001.nii.gz", "b_0000.nii", "b_0001.nii"), NUMBERED
    )

    (refused,) = listing.refused
    assert [scan.name for scan in listing.scans] == ["b"]
    assert re.search(r"a_0000\.n\S+ and \S*a_0000\.n\S+ are both its channel FLAIR; keep one", refused.reason)


def test_other_files_stay_scans_of_one_file(put):
    top = put("a_0000.nii.gz", "a_0001.nii.gz", "merged.nii.gz")

    assert files(look_for_cases(top, NUMBERED), top)["merged"] == ["merged.nii.gz"]
    assert files(look_for_cases(top, ()), top)["a_0000"] == ["a_0000.nii.gz"]


def test_the_longest_template_names_a_files_channel(put):
    channels = (ScanChannel("T1", "{case}"), ScanChannel("contrast", "{case}_ce"))
    top = put("a.nii.gz", "a_ce.nii.gz")

    assert files(look_for_cases(top, channels), top) == {"a": ["a.nii.gz", "a_ce.nii.gz"]}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["FLAIR"], "channels: number 0 is 'FLAIR'; write a name"),
        ([{"name": " "}], "number 0 is"),
        ([{"name": "T1", "file": "{case}"}], "number 0 is"),
        ([{"name": "T1", "files": 3}], "number 0 is"),
        ([{"name": "T1"}, {"name": "t1"}], "two have the name 't1'"),
        ([{"name": "T1", "files": "{case}_0"}, {"name": "T2", "files": "{case}_0"}], "two have the files"),
        ([{"name": "T1", "files": "{case}_0"}, {"name": "T2"}], "T2 has no files, but others have"),
        ([{"name": "T1", "files": "image"}], "must have {case}"),
        ([{"name": "T1", "files": "*a*a*a{case}"}], "may have 200 characters and 2 stars"),
        ([{"name": "T1", "files": "a" * 300 + "{case}"}], "may have 200 characters and 2 stars"),
        ([{"name": "T1", "files": "{patient}/{case}"}], "must have {case} and no other braces"),
    ],
)
def test_odd_channels_are_refused(rows, message):
    with pytest.raises(SegpipeError, match=re.escape(message)):
        scan_channels(rows)


def test_an_order_gives_each_channels_place_in_the_file():
    three = tuple(map(ScanChannel, ("T1", "T2", "FLAIR")))

    assert order_of(three, ["flair", "T1", "T2"]) == (1, 2, 0)
    assert order_of(three, None) is None
    for wrong in (["T1", "T2"], ["T1", "T2", "T2"], ["T1", "T2", "PD"], "T1", [1, 2, 3]):
        with pytest.raises(
            SegpipeError, match=r"must name each of the bundle's channels once, such as \[T1, T2, FLAIR\]"
        ):
            order_of(three, wrong)


def manifest(images, modality=("FLAIR", "T1c"), test=()):
    """Return a manifest: case -> its image files."""
    cases = [Case(case, tuple(paths), f"labels/{case}.nii.gz") for case, paths in images.items()]
    others = tuple(Case(case, tuple(paths)) for case, paths in dict(test).items())
    return Manifest("set", modality, {0: "background", 1: "tumour"}, tuple(cases), others)


@pytest.mark.parametrize(
    ("images", "templates"),
    [
        (
            {c: [f"imagesTr/{c}_0000.nii.gz", f"imagesTr/{c}_0001.nii.gz"] for c in "ab"},
            ["{case}_0000", "{case}_0001"],
        ),
        ({c: [f"{c}/flair.nii.gz", f"{c}/t1c.nii.gz"] for c in ("p1", "p2")}, ["{case}/flair", "{case}/t1c"]),
        (
            {c: [f"{c}/{c}_flair.nii.gz", f"{c}/{c}_t1ce.nii.gz"] for c in ("Bra_1", "Bra_2")},
            ["{case}_flair", "{case}_t1ce"],
        ),
        ({c: [f"flair/{c}.nii.gz", f"t1/{c}.nii.gz"] for c in ("1", "2")}, ["flair/{case}", "t1/{case}"]),
        ({c: [f"img{c}_0001.nrrd", f"img{c}_0002.nrrd"] for c in "12"}, ["img{case}_0001", "img{case}_0002"]),
        ({"a": ["x1.nii", "x2.nii"], "b": ["y1.nii", "y2.nii"]}, [None, None]),
        ({c: [f"images/{c}.nii.gz"] for c in "ab"}, [None, None]),
    ],
)
def test_templates_are_read_off_a_data_set(images, templates):
    channels = planned_channels(manifest(images))

    assert [channel.name for channel in channels] == ["FLAIR", "T1c"]
    assert [channel.files for channel in channels] == templates


def test_one_channel_needs_a_template_only_where_files_have_more_than_the_cases_name():
    numbered = {c: [f"imagesTr/{c}_0000.nii.gz"] for c in "ab"}
    plain = {c: [f"images/{c}.nii.gz"] for c in "ab"}

    assert planned_channels(manifest(numbered, ("CT",))) == (ScanChannel("CT", "{case}_0000"),)
    assert planned_channels(manifest(plain, ("CT",))) == ()


def test_a_template_that_the_test_cases_do_not_follow_is_none():
    images = {c: [f"{c}_0000.nii", f"{c}_0001.nii"] for c in "ab"}

    channels = planned_channels(manifest(images, test={"c": ["c-flair.nii", "c-t1.nii"]}))

    assert [channel.files for channel in channels] == [None, None]


@settings(deadline=None, max_examples=60)
@given(
    cases=st.lists(
        st.from_regex(r"[A-Za-z0-9]{1,6}(_[A-Za-z0-9]{1,4})?", fullmatch=True),
        min_size=1,
        max_size=5,
        unique=True,
    ),
    words=st.lists(st.from_regex(r"[a-z0-9]{1,4}", fullmatch=True), min_size=2, max_size=3, unique=True),
    layout=st.sampled_from(["{case}_{word}", "{case}/{word}", "{word}/{case}", "{case}/{case}_{word}"]),
)
@pytest.mark.slow
def test_templates_find_each_case_of_their_data_set_again_or_there_are_none(cases, words, layout):
    images = {case: [layout.format(case=case, word=word) + ".nii.gz" for word in words] for case in cases}
    channels = planned_channels(manifest(images, tuple(words)))

    assert [channel.name for channel in channels] == words
    if channels[0].files is not None:
        for case, paths in images.items():
            for channel, path in zip(channels, paths, strict=True):
                match = channel.pattern.fullmatch(
                    "/".join(path.removesuffix(".nii.gz").split("/")[-1 - channel.num_folders :])
                )
                assert match is not None
                assert match["case"] == case


class TestTables:
    def test_columns_are_brought_into_the_networks_order(self, put):
        top = put("x/1.nii.gz", "x/2.nii.gz")
        (top / "list.csv").write_text("case,image_t1c,image_flair\np1,x/1.nii.gz,x/2.nii.gz\n")

        listing = look_for_cases(top / "list.csv", NAMED)

        assert files(listing, top) == {"p1": ["x/2.nii.gz", "x/1.nii.gz"]}

    def test_a_file_that_is_not_there_refuses_its_case_alone(self, put):
        top = put("1.nii.gz", "2.nii.gz")
        (top / "list.csv").write_text(
            "case,image_flair,image_t1c\na,1.nii.gz,2.nii.gz\nb,1.nii.gz,3.nii.gz\n"
        )

        listing = look_for_cases(top / "list.csv", NAMED)

        assert [scan.name for scan in listing.scans] == ["a"]
        assert [scan.name for scan in listing.refused] == ["b"]
        assert "3.nii.gz: no such file or folder; correct the path in the list" in listing.refused[0].reason

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "case,image_flair,image_pd\na,1.nii.gz,2.nii.gz\n",
                "must name each channel of the bundle once: MRI flair, MRI t1c",
            ),
            ("case,image_flair,image_flair\na,1.nii.gz,2.nii.gz\n", "has the column image_flair twice"),
            (
                "case,image_flair,image_t1c\na,1.nii.gz,2.nii.gz\na,2.nii.gz,1.nii.gz\n",
                "the case a is there twice",
            ),
            ("case,image_flair,image_t1c\na,1.nii.gz\n", "line 2 names no image"),
            ("case,image_flair,image_t1c\n../a,1.nii.gz,2.nii.gz\n", "must be usable as a file name"),
            ("case,image_flair,image_t1c\n", "lists no case"),
        ],
    )
    def test_odd_tables_are_refused(self, put, text, message):
        top = put("1.nii.gz", "2.nii.gz")
        (top / "list.csv").write_text(text)

        with pytest.raises(SegpipeError, match=re.escape(message)):
            look_for_cases(top / "list.csv", NAMED)

    def test_other_tables_and_json_files_hold_no_scans(self, put):
        """A shell that expands scans/* gives participants.csv and the sidecars of BIDS, too."""
        top = put("1.nii.gz")
        (top / "participants.csv").write_text("participant,age\na,40\n")
        (top / "1.json").write_text('{"EchoTime": 0.1}')
        (top / "2.json").write_text("{")

        for name, reason in (
            ("participants.csv", "needs a column image"),
            ("1.json", "it has no modality and training"),
            ("2.json", "is not JSON"),
        ):
            listing = look_for_cases(top / name, NAMED)
            assert not listing.scans
            assert reason in listing.why_none

    def test_a_table_of_one_column_lists_files_that_hold_all_channels(self, put):
        top = put("1.nii.gz", "2.nii.gz")
        (top / "list.csv").write_text("image\n1.nii.gz\n2.nii.gz\n")

        assert files(look_for_cases(top / "list.csv", NAMED), top) == {"1": ["1.nii.gz"], "2": ["2.nii.gz"]}


def test_a_manifest_lists_its_cases_in_the_networks_order(put):
    top = put("t1/a.nii.gz", "fl/a.nii.gz", "labels/a.nii.gz", "t1/b.nii.gz", "fl/b.nii.gz")
    images = {"a": ["t1/a.nii.gz", "fl/a.nii.gz"]}
    described = manifest(images, ("T1c", "FLAIR"), test={"b": ["t1/b.nii.gz", "fl/b.nii.gz"]})
    (top / "set.json").write_text(json.dumps(described.to_json()))

    listing = look_for_cases(top / "set.json", NUMBERED)

    assert files(listing, top) == {"a": ["fl/a.nii.gz", "t1/a.nii.gz"], "b": ["fl/b.nii.gz", "t1/b.nii.gz"]}


def test_a_manifest_of_files_with_all_channels_in_another_order_is_refused():
    described = manifest({"a": ["a.nii.gz"]}, ("T1c", "FLAIR"))
    (case,) = described.training

    with pytest.raises(
        SegpipeError, match="its files hold the channels T1c, FLAIR, the bundle takes FLAIR, T1c; give"
    ):
        case_files(case, described, Path(), NUMBERED)
    assert case_files(case, described, Path("top"), NUMBERED[::-1]) == [Path("top/a.nii.gz")]


def test_a_path_that_is_not_there_is_refused():
    with pytest.raises(SegpipeError, match="no such file or folder"):
        look_for_cases(Path("nowhere.csv"), NUMBERED)

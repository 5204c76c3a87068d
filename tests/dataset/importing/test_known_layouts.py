"""Public data sets are recognised by the names of their own files, without templates."""

import numpy as np
import pytest
from made_sets import CLASSES, SIZE, require_sound, write_image, write_labels

from segpipe.dataset import create_manifest
from segpipe.dataset.importing.set_patterns import set_pattern
from segpipe.errors import SegpipeError
from segpipe.volumes import Grid, write_volume

LONG = "03-23-2003-NA-PET-CT Ganzkoerper  primaer mit KM-12456"

# name: images of each case, its label map, other scans, channels, case ids, patients, what is recognised
SETS = {
    "BIDS": (
        [
            ["sub-01/ses-1/anat/sub-01_ses-1_T1w"],
            ["sub-01/ses-2/anat/sub-01_ses-2_T1w"],
            ["sub-02/anat/sub-02_T1w"],
        ],
        [
            "derivatives/drawn/sub-01/ses-1/anat/sub-01_ses-1_space-T1w_dseg",
            "derivatives/drawn/sub-01/ses-2/anat/sub-01_ses-2_space-T1w_dseg",
            "derivatives/drawn/sub-02/anat/sub-02_space-T1w_dseg",
        ],
        [
            "derivatives/fmriprep/sub-01/ses-1/anat/sub-01_ses-1_desc-preproc_T1w",
            "sub-01/ses-1/func/sub-01_task-rest_bold",
        ],
        ("T1w",),
        ["sub-01_ses-1", "sub-01_ses-2", "sub-02"],
        ["sub-01", "sub-01", "sub-02"],
        "BIDS",
    ),
    "BIDS, lesion masks beside the scans": (
        [[f"sub-r00{k}/ses-1/anat/sub-r00{k}_ses-1_space-MNI152NLin2009aSym_T1w"] for k in (1, 2)],
        [
            f"sub-r00{k}/ses-1/anat/sub-r00{k}_ses-1_space-MNI152NLin2009aSym_label-L_desc-T1lesion_mask"
            for k in (1, 2)
        ],
        ["derivatives/fs/sub-r001/ses-1/anat/sub-r001_ses-1_desc-brain_mask"],
        ("T1w",),
        ["sub-r001_ses-1", "sub-r002_ses-1"],
        ["sub-r001", "sub-r002"],
        "BIDS",
    ),
    "BraTS 2020": (
        [
            [
                f"HGG/BraTS20_Training_00{k}/BraTS20_Training_00{k}_{end}"
                for end in ("t1", "t1ce", "t2", "flair")
            ]
            for k in (1, 2)
        ],
        [f"HGG/BraTS20_Training_00{k}/BraTS20_Training_00{k}_seg" for k in (1, 2)],
        [],
        ("T1", "T1c", "T2", "FLAIR"),
        ["BraTS20_Training_001", "BraTS20_Training_002"],
        ["BraTS20_Training_001", "BraTS20_Training_002"],
        "BraTS (2017 to 2021)",
    ),
    "BraTS-GLI": (
        [
            [f"BraTS-GLI-00000-00{k}/BraTS-GLI-00000-00{k}-{end}" for end in ("t1n", "t1c", "t2w", "t2f")]
            for k in (0, 1)
        ],
        [f"BraTS-GLI-00000-00{k}/BraTS-GLI-00000-00{k}-seg" for k in (0, 1)],
        [],
        ("T1", "T1c", "T2", "FLAIR"),
        ["BraTS-GLI-00000-000", "BraTS-GLI-00000-001"],
        ["BraTS-GLI-00000", "BraTS-GLI-00000"],
        "BraTS (2023 and later)",
    ),
    "ISLES 2022": (
        [
            [
                f"sub-strokecase000{k}/ses-0001/dwi/sub-strokecase000{k}_ses-0001_{end}"
                for end in ("dwi", "adc")
            ]
            for k in (1, 2)
        ],
        [f"derivatives/sub-strokecase000{k}/ses-0001/sub-strokecase000{k}_ses-0001_msk" for k in (1, 2)],
        [],
        ("DWI", "ADC"),
        ["sub-strokecase0001_ses-0001", "sub-strokecase0002_ses-0001"],
        ["sub-strokecase0001", "sub-strokecase0002"],
        "ISLES 2022",
    ),
    "KiTS": (
        [[f"case_0000{k}/imaging"] for k in (0, 1)],
        [f"case_0000{k}/segmentation" for k in (0, 1)],
        ["case_00000/instances/tumor_instance-1_annotation-1"],
        ("CT",),
        ["case_00000", "case_00001"],
        ["case_00000", "case_00001"],
        "KiTS",
    ),
    "LiTS": (
        [["Training Batch 1/volume-0"], ["Training Batch 2/volume-28"]],
        ["Training Batch 1/segmentation-0", "Training Batch 2/segmentation-28"],
        ["Test/test-volume-0"],
        ("CT",),
        ["0", "28"],
        ["0", "28"],
        "LiTS",
    ),
    "ACDC": (
        [[f"patient00{k}/patient00{k}_frame{frame}"] for k in (1, 2) for frame in ("01", "12")],
        [f"patient00{k}/patient00{k}_frame{frame}_gt" for k in (1, 2) for frame in ("01", "12")],
        ["patient001/patient001_4d", "patient002/patient002_4d"],
        ("MRI",),
        [f"patient00{k}_frame{frame}" for k in (1, 2) for frame in ("01", "12")],
        ["patient001", "patient001", "patient002", "patient002"],
        "ACDC",
    ),
    "WMH": (
        [[f"Amsterdam/GE3T/{k}/pre/{name}" for name in ("FLAIR", "T1")] for k in (100, 101)],
        [f"Amsterdam/GE3T/{k}/wmh" for k in (100, 101)],
        ["Amsterdam/GE3T/100/orig/FLAIR", "Amsterdam/GE3T/100/pre/3DT1"],
        ("FLAIR", "T1"),
        ["100", "101"],
        ["100", "101"],
        "WMH challenge",
    ),
    "VerSe": (
        [["rawdata/sub-verse004/sub-verse004_ct"], ["rawdata/sub-gl003/sub-gl003_dir-ax_ct"]],
        [
            "derivatives/sub-verse004/sub-verse004_seg-vert_msk",
            "derivatives/sub-gl003/sub-gl003_dir-ax_seg-vert_msk",
        ],
        [],
        ("CT",),
        ["sub-gl003_dir-ax", "sub-verse004"],
        ["sub-gl003", "sub-verse004"],
        "VerSe",
    ),
    "AutoPET": (
        [
            [f"PETCT_0011f3deaf/{LONG}/{name}" for name in ("CTres", "SUV")],
            ["PETCT_01140d52d8/b/CTres", "PETCT_01140d52d8/b/SUV"],
        ],
        [f"PETCT_0011f3deaf/{LONG}/SEG", "PETCT_01140d52d8/b/SEG"],
        [f"PETCT_0011f3deaf/{LONG}/CT", f"PETCT_0011f3deaf/{LONG}/PET"],
        ("CT", "PET"),
        [f"PETCT_0011f3deaf_{LONG}", "PETCT_01140d52d8_b"],
        ["PETCT_0011f3deaf", "PETCT_01140d52d8"],
        "AutoPET",
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_a_public_data_set_is_recognised_by_its_names(folder, name):
    images, labels, others, channels, cases, patients, what = SETS[name]
    every = [path for of_case in images for path in of_case]
    top = folder([f"{path}.nii.gz" for path in (*every, *others)], [f"{path}.nii.gz" for path in labels])

    created = create_manifest(top, labels=CLASSES if what == "BIDS" else None)

    require_sound(created, top)
    manifest = created.manifest
    assert (created.layout, manifest.modality) == (f"recognised by its names as {what}", channels)
    assert ([case.case for case in manifest.training], manifest.test) == (cases, ())
    assert [case.patient for case in manifest.training] == patients
    assert {case.images: case.label for case in manifest.training} == {
        tuple(f"{path}.nii.gz" for path in of_case): f"{label}.nii.gz"
        for of_case, label in zip(images, labels, strict=True)
    }
    assert created.patients_from
    assert manifest.labels[0] == "background"
    said = " ".join(created.notes)
    assert all(f"{path}.nii.gz" in said for path in others)


def test_the_4d_file_of_acdc_is_ignored_with_the_reason(folder):
    top = folder(
        ["patient001/patient001_frame01.nii.gz", "patient001/patient001_4d.nii.gz"],
        ["patient001/patient001_frame01_gt.nii.gz"],
    )

    notes = create_manifest(top).notes

    assert (
        "1 scan ignored, all frames of a heart beat in one file, without a label map: patient001/patient001_4d.nii.gz"
    ) in notes


def test_classes_that_no_label_map_stores_are_left_out(folder):
    """KiTS 2019 has no cysts."""
    top = folder([f"case_0000{k}/imaging.nii.gz" for k in (0, 1)])
    for k in (0, 1):
        write_labels(top / f"case_0000{k}/segmentation.nii.gz", (0, 0, 1, 2))

    created = create_manifest(top)

    assert created.manifest.labels == {0: "background", 1: "kidney", 2: "tumour"}
    assert "no label map stores 3 cyst: left out" in created.notes


def test_a_value_that_the_set_does_not_have_is_refused(folder):
    top = folder(["case_00000/imaging.nii.gz"])
    write_labels(top / "case_00000/segmentation.nii.gz", (0, 9))

    with pytest.raises(SegpipeError, match=r"store 9 \(in 1\), too, which no class names"):
        create_manifest(top)
    assert create_manifest(top, labels={0: "background", 9: "x"}).manifest.labels[9] == "x"


def test_a_channel_on_another_grid_is_left_out_and_said(folder):
    """The FLAIR of ISLES has another grid than the DWI, on which the lesion is drawn."""
    stems = [f"sub-strokecase000{k}/ses-0001/{{}}/sub-strokecase000{k}_ses-0001_" for k in (1, 2)]
    top = folder(
        [f"{stem.format('dwi')}{end}.nii.gz" for stem in stems for end in ("dwi", "adc")],
        [f"derivatives/{stem.format('x').replace('x/', '')}msk.nii.gz" for stem in stems],
    )
    for stem in stems:
        write_image(top / f"{stem.format('anat')}flair.nii.gz", size=(9, 9, 9))

    created = create_manifest(top)

    assert created.manifest.modality == ("DWI", "ADC")
    (note,) = (note for note in created.notes if "channels left out" in note)
    assert "FLAIR is on another grid than the label map in 2 of 2 cases" in note
    assert create_manifest(top, channels=["adc"]).manifest.modality == ("adc",)


def test_channels_that_some_cases_lack_are_left_out_and_said(folder):
    images = [
        "sub-1/anat/sub-1_T1w",
        "sub-1/anat/sub-1_FLAIR",
        "sub-2/anat/sub-2_T1w",
        "sub-3/anat/sub-3_FLAIR",
    ]
    labels = [f"derivatives/x/sub-{k}/anat/sub-{k}_dseg" for k in (1, 2)]
    top = folder([f"{path}.nii.gz" for path in images], [f"{path}.nii.gz" for path in labels])

    created = create_manifest(top, labels=CLASSES)

    require_sound(created, top)
    assert (created.manifest.modality, len(created.manifest.training), created.manifest.test) == (
        ("T1w",),
        2,
        (),
    )
    said = " ".join(created.notes)
    assert (
        "channels left out: FLAIR is missing in 1 of 2 cases (sub-2); --channel NAME chooses others" in said
    )
    assert "1 case without a label map and without T1w left out: sub-3" in said
    assert "2 scans ignored: sub-1/anat/sub-1_FLAIR.nii.gz, sub-3/anat" in said
    with pytest.raises(SegpipeError, match="--channel FLAIR: sub-2 has no such channel, it has T1w; correct"):
        create_manifest(top, labels=CLASSES, channels=["FLAIR"])


def test_a_set_without_a_channel_on_the_grid_of_the_label_map_is_refused(folder):
    top = folder([], ["derivatives/x/sub-1/anat/sub-1_dseg.nii.gz"])
    write_image(top / "sub-1/anat/sub-1_T1w.nii.gz", size=(9, 9, 9))

    with pytest.raises(
        SegpipeError, match=r"no channel is there .*: T1w is on another grid .* 1 case \(sub-1\)"
    ):
        create_manifest(top)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            ["sub-1/anat/sub-1_run-1_T1w", "sub-1/anat/sub-1_run-2_T1w"],
            ["derivatives/x/sub-1/anat/sub-1_dseg"],
            r"BIDS, but \S+sub-1_run-1_T1w.nii.gz and \S+sub-1_run-2_T1w.nii.gz are both T1w of case sub-1",
        ),
        (
            ["sub-1/anat/sub-1_T1w"],
            ["derivatives/a/sub-1/anat/sub-1_dseg", "derivatives/b/sub-1/anat/sub-1_dseg"],
            r"derivatives/a/\S+ and derivatives/b/\S+ are both the label map of case sub-1; move one",
        ),
        (
            [
                f"BraTS20_Training_00{k}/BraTS20_Training_00{k}_{end}"
                for k, end in ((1, "t1"), (1, "t2"), (2, "t1"))
            ],
            [f"BraTS20_Training_00{k}/BraTS20_Training_00{k}_seg" for k in (1, 2)],
            "1 image is missing: BraTS20_Training_002 has no T2; add the files",
        ),
        (
            ["case_00000/imaging"],
            ["case_00000/segmentation", "case_00001/segmentation"],
            r"KiTS, but 1 case with a label map has no image \(CT\): case_00001/segmentation.nii.gz; add",
        ),
    ],
    ids=["two runs", "two label maps", "a channel missing", "an image missing"],
)
def test_what_does_not_fit_the_set_has_one_message(folder, images, labels, message):
    top = folder([f"{path}.nii.gz" for path in images], [f"{path}.nii.gz" for path in labels])

    with pytest.raises(SegpipeError, match=message):
        create_manifest(top)


def test_cases_without_a_label_map_are_tests(folder):
    top = folder([f"case_0000{k}/imaging.nii.gz" for k in (0, 1)], ["case_00000/segmentation.nii.gz"])

    manifest = create_manifest(top).manifest

    assert ([case.case for case in manifest.training], [case.case for case in manifest.test]) == (
        ["case_00000"],
        ["case_00001"],
    )


def test_numbers_that_begin_again_below_another_folder_are_other_patients(folder):
    top = folder(
        [f"{site}/7/pre/{name}.nii.gz" for site in ("Utrecht", "Singapore") for name in ("FLAIR", "T1")],
        [f"{site}/7/wmh.nii.gz" for site in ("Utrecht", "Singapore")],
    )

    cases = create_manifest(top).manifest.training

    assert [(case.case, case.patient) for case in cases] == [("Singapore_7",) * 2, ("Utrecht_7",) * 2]


def test_the_parts_of_verse_are_kept(folder):
    names = [
        f"dataset-{part}/{{}}/sub-verse{k}/sub-verse{k}_" for k, part in enumerate(("01training", "03test"))
    ]
    top = folder(
        [f"{name.format('rawdata')}ct.nii.gz" for name in names],
        [f"{name.format('derivatives')}seg-vert_msk.nii.gz" for name in names],
    )

    manifest = create_manifest(top).manifest

    assert ([case.case for case in manifest.training], [case.case for case in manifest.test]) == (
        ["sub-verse0"],
        ["sub-verse1"],
    )


def test_templates_and_own_names_come_before_a_known_set(folder):
    top = folder(["case_00000/imaging.nii.gz"], ["case_00000/segmentation.nii.gz"])

    created = create_manifest(
        top,
        images=["{case}/imaging.nii.gz"],
        label="{case}/segmentation.nii.gz",
        modality=["MRI"],
        labels={0: "background", 1: "cyst"},
    )

    assert (created.layout, created.manifest.modality) == ("templates", ("MRI",))
    with pytest.raises(
        SegpipeError, match="--channel chooses channels by the names of files, but templates says"
    ):
        create_manifest(
            top, images=["{case}/imaging.nii.gz"], label="{case}/segmentation.nii.gz", channels=["CT"]
        )


# --- one mask for each class


@pytest.fixture
def total(folder):
    """Two subjects of TotalSegmentator: the liver covers x 0 to 2, the spleen x 2 to 3, so both have x = 2."""
    top = folder([f"s000{k}/ct.nii.gz" for k in (0, 1)])
    grid = Grid.from_affine(SIZE, np.diag([-1.0, -1, 1, 1]))
    for k in (0, 1):
        for name, planes in (("liver", slice(0, 3)), ("spleen", slice(2, 4)), ("aorta", slice(5, 5))):
            mask = np.zeros(SIZE, np.uint8)
            mask[planes] = 1
            write_volume(mask, grid, top / f"s000{k}" / "segmentations" / f"{name}.nii.gz")
    return top


def test_masks_are_merged_in_a_stated_order_and_overlaps_are_counted(total):
    with pytest.raises(
        SegpipeError,
        match=r"one mask for each class \(3 classes\).*add --merge-masks .*1 aorta, 2 liver, 3 spleen",
    ):
        create_manifest(total)

    created = create_manifest(total, merge_masks=True)

    require_sound(created, total)
    manifest = created.manifest
    assert (manifest.modality, manifest.labels) == (("CT",), {0: "background", 2: "liver", 3: "spleen"})
    assert [case.label for case in manifest.training] == [
        "merged_labels/s0000.nii.gz",
        "merged_labels/s0001.nii.gz",
    ]
    # the plane x = 2 has 5 * 4 voxels, in each of two cases; the spleen comes later
    assert any(
        "overlap in 40 voxels of 2 of 2 cases" in note and "spleen over liver 40" in note
        for note in created.notes
    )
    assert "no label map stores 1 aorta: left out" in created.notes
    again = create_manifest(total, merge_masks=True)
    assert again.manifest == manifest


def test_classes_choose_masks_and_their_order(total):
    created = create_manifest(total, merge_masks=True, labels={1: "spleen", 4: "liver"})

    require_sound(created, total)
    assert created.manifest.labels == {0: "background", 1: "spleen", 4: "liver"}
    assert any("liver over spleen 40" in note for note in created.notes)
    with pytest.raises(
        SegpipeError, match=r"s0000.nii.gz: exists already with other labels; move the folder"
    ):
        create_manifest(total, merge_masks=True)
    with pytest.raises(
        SegpipeError, match=r"--class heart: there is no mask of that name, the masks are aorta"
    ):
        create_manifest(total, merge_masks=True, labels={1: "heart"})


def test_masks_that_are_none_or_are_missing_are_refused(total):
    write_labels(total / "s0001/segmentations/liver.nii.gz", (0, 1, 2))
    with pytest.raises(
        SegpipeError, match=r"liver.nii.gz: a mask has one channel .* this file has 1 channel with 0, 1, 2"
    ):
        create_manifest(total, merge_masks=True)
    write_labels(total / "s0001/segmentations/liver.nii.gz", size=(4, 4, 4))
    with pytest.raises(SegpipeError, match="the masks of one case must be on one grid"):
        create_manifest(total, merge_masks=True)
    (total / "s0001/segmentations/liver.nii.gz").unlink()
    with pytest.raises(SegpipeError, match="1 mask missing: s0001 has no liver; add an empty mask"):
        create_manifest(total, merge_masks=True)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("a/sub-1/x", {"above": "a/", "who": "sub-1", "visit": None}),
        ("sub-1/ses-2/x", {"above": "", "who": "sub-1", "visit": "ses-2"}),
        ("SUB-1/y", {"above": "", "who": "SUB-1", "visit": None}),
        ("sub-1/ses-2/z", None),
    ],
)
def test_templates_of_known_sets(path, fields):
    pattern = set_pattern("{above}{who}/[{visit}/](x|y)", {"who": "sub-[0-9]", "visit": "ses-[0-9]"})

    match = pattern.fullmatch(path)

    assert (match.groupdict() if match else None) == fields

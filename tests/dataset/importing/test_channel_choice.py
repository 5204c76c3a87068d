"""Several modalities of a patient are one case with named channels, or each a data set of its own."""

import pytest
from made_sets import CLASSES, require_sound, write_image, write_labels

from segpipe.dataset import create_manifest
from segpipe.dataset.importing.modality_names import modality_warnings, of_modalities
from segpipe.errors import SegpipeError

MODALITIES = ("CT", "MR_T1", "PET")
NAMES = {
    "a folder a patient": "STS_00{}/{}_{}.nii.gz",
    "a folder a modality below": "STS_00{}/{}/{}.nii.gz",
    "flat": "STS_00{}_{}_{}.nii.gz",
}


def sarcoma(folder, name, sizes):
    """Return a folder of two patients with modalities, each with a label map of its own, by `sizes`."""
    top = folder()
    for patient in (1, 2):
        for modality, size in sizes.items():
            write_image(top / name.format(patient, modality, "image"), patient, size)
            write_labels(top / name.format(patient, modality, "mask"), size=size)
    return top


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_modalities_on_one_grid_are_one_case(folder, name):
    top = sarcoma(folder, name, dict.fromkeys(MODALITIES, (6, 5, 4)))
    for patient in (1, 2):  # no modality may be another's copy, nor another patient's
        for seed, modality in enumerate(MODALITIES):
            write_image(top / name.format(patient, modality, "image"), 10 * patient + seed)

    created = create_manifest(top, labels=CLASSES)

    require_sound(created, top)
    manifest = created.manifest
    assert manifest.modality == ("CT", "MR T1", "PET")
    assert [case.case for case in manifest.training] == ["STS_001", "STS_002"]
    assert manifest.training[0].images == tuple(name.format(1, modality, "image") for modality in MODALITIES)
    assert any("CT, MR_T1, PET of a patient are one case with 3 channels" in note for note in created.notes)
    two = create_manifest(top, labels=CLASSES, channels=["pet", "CT"]).manifest
    assert (two.modality, two.training[0].images[0]) == (("PET", "CT"), name.format(1, "PET", "image"))


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_modalities_on_other_grids_are_sets_of_their_own(folder, name):
    top = sarcoma(folder, name, dict(zip(MODALITIES, ((6, 5, 4), (7, 5, 4), (4, 5, 4)), strict=True)))

    with pytest.raises(
        SegpipeError,
        match=r"several modalities, each with label maps: CT \(2 cases\), MR_T1 \(2 cases\), PET \(2 cases\)\. They "
        r"cannot .*: CT and MR_T1 are on different grids: size .* choose with --channel CT",
    ):
        create_manifest(top, labels=CLASSES, modality=["MRI"])

    created = create_manifest(top, labels=CLASSES, channels=["mr t1"])
    require_sound(created, top)
    assert created.manifest.modality == ("MR T1",)
    assert [(case.case, case.images[0]) for case in created.manifest.training] == [
        (f"STS_00{patient}", name.format(patient, "MR_T1", "image")) for patient in (1, 2)
    ]
    assert any("8 scans of other modalities ignored: " in note for note in created.notes)
    with pytest.raises(
        SegpipeError, match="--channel US: the folder has no such modality, it has CT, MR_T1, PET"
    ):
        create_manifest(top, labels=CLASSES, channels=["US"])
    with pytest.raises(SegpipeError, match="--channel CT is given twice"):
        create_manifest(top, labels=CLASSES, channels=["CT", "ct"])


def test_modalities_with_other_label_maps_or_without_a_partner_are_no_case(folder):
    top = sarcoma(folder, NAMES["flat"], dict.fromkeys(("CT", "PET"), (6, 5, 4)))
    write_labels(top / "STS_002_PET_mask.nii.gz", (0, 0, 1))
    with pytest.raises(
        SegpipeError, match=r"the label maps STS_002_CT_mask\S+ and STS_002_PET_mask\S+ differ"
    ):
        create_manifest(top, labels=CLASSES)

    for kind in ("image", "mask"):
        (top / f"STS_002_PET_{kind}.nii.gz").unlink()
    with pytest.raises(SegpipeError, match=r"CT \(2 cases\), PET \(1 case\).* STS_002 has no PET\. Make"):
        create_manifest(top, labels=CLASSES)


def test_channels_of_one_label_map_must_be_on_one_grid(folder):
    top = folder(["p1/CT.nii.gz", "p2/CT.nii.gz"], ["p1/mask.nii.gz", "p2/mask.nii.gz"])
    for patient in ("p1", "p2"):
        write_image(top / patient / "PET.nii.gz", size=(3, 3, 3))

    with pytest.raises(
        SegpipeError, match=r"p1: ct and pet are on different grids: size .* with --channel ct"
    ):
        create_manifest(top, labels=CLASSES)
    created = create_manifest(top, labels=CLASSES, channels=["CT"])
    require_sound(created, top)
    assert created.manifest.modality == ("CT",)
    with pytest.raises(SegpipeError, match="--channel MR: the folder has no such modality, it has CT, PET"):
        create_manifest(top, labels=CLASSES, channels=["MR"])


def test_one_modality_a_case_is_no_other_set(folder):
    top = folder(["P1_CT.nii.gz", "P2_CT.nii.gz"], ["P1_CT_mask.nii.gz", "P2_CT_mask.nii.gz"])

    created = create_manifest(top, labels=CLASSES, modality=["CT"])

    assert [case.case for case in created.manifest.training] == ["P1", "P2"]


def test_pictures_are_not_asked_to_be_ct_or_mri(folder):
    top = folder(["images/a.png"], ["masks/a.png"], size=(6, 5))

    with pytest.raises(
        SegpipeError, match="does not say what the images are; add --modality microscopy, or X-ray"
    ):
        create_manifest(top, labels=CLASSES)


@pytest.mark.parametrize(
    ("images", "given", "says"),
    [
        (["STS_1/CT_image.nii.gz", "STS_2/CT_image.nii.gz"], ["MRI"], "say CT, such as STS_1/CT_image"),
        (["a_t1.nii.gz", "a_flair.nii.gz"], ["CT"], "say MRI, such as a_t1.nii.gz, but --modality is CT"),
        (["STS_1/CT_image.nii.gz"], ["CT"], None),
        (["STS_1/CT_image.nii.gz"], ["contrast-enhanced CT"], None),
        (["STS_1/CT_image.nii.gz"], ["photograph"], None),
        (["CT/a.nii.gz", "PET/a.nii.gz"], ["MRI"], None),
        (["US_001.nii.gz"], ["MRI"], None),
        (["a.nii.gz"], ["MRI"], None),
        (["STS_1/CT_image.nii.gz"], [], None),
    ],
)
def test_a_modality_that_the_names_contradict_is_said(images, given, says):
    warnings = modality_warnings(images, given)

    assert (warnings != []) == (says is not None)
    assert all(says in warning for warning in warnings)


def test_one_modality_may_be_chosen_where_only_that_one_has_label_maps(folder):
    top = folder(["p1/CT_image.nii.gz", "p2/CT_image.nii.gz"], ["p1/CT_mask.nii.gz", "p2/CT_mask.nii.gz"])
    write_image(top / "p1" / "PET_image.nii.gz", size=(3, 3, 3))

    with pytest.raises(SegpipeError, match=r"1 images have no label map: p1/PET_image\.nii\.gz"):
        create_manifest(top, labels=CLASSES)
    created = create_manifest(top, labels=CLASSES, channels=["CT"])

    require_sound(created, top)
    assert created.manifest.modality == ("CT",)
    assert [case.case for case in created.manifest.training] == ["p1", "p2"]
    assert "1 scan of other modalities ignored: p1/PET_image.nii.gz" in created.notes


@pytest.mark.parametrize(
    ("names", "wanted", "kept"),
    [
        (["a_CT", "a_PET", "a_mask"], ["ct"], [True, False, True]),
        (["a_CT", "a_MR_T1", "a_MR_T2"], ["MR T1"], [False, True, False]),
        (["PT_1/CT", "PT_1/mask"], ["CT"], [True, True]),
        (["a_post", "a_CT"], ["post"], [True, True]),
    ],
)
def test_names_of_other_modalities(names, wanted, kept):
    assert of_modalities(names, wanted, "set") == kept


def test_short_names_of_modalities_are_chosen_by_cases(folder):
    """US and PT may also be initials of patients, so that their scans are paired before one is chosen."""
    top = sarcoma(folder, NAMES["flat"], {"US": (6, 5, 4), "PT": (7, 5, 4)})

    created = create_manifest(top, labels=CLASSES, channels=["US"])

    assert created.manifest.modality == ("US",)
    assert "only US is used, not PT" in created.notes


def test_a_part_of_several_names_chooses_none(folder):
    top = sarcoma(folder, NAMES["flat"], {"MR_T1": (6, 5, 4), "MR_T2": (7, 5, 4)})

    with pytest.raises(
        SegpipeError, match="--channel MR: the folder has no such modality, it has MR_T1, MR_T2"
    ):
        create_manifest(top, labels=CLASSES, channels=["MR"])

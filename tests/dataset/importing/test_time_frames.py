"""4D series become one case for each labelled time frame; frames of one series never part."""

import nibabel
import numpy as np
import pytest
from cine_files import AFFINE, FRAMES, frames_of_noise, labelled_frames, save_4d, write_patient

from segpipe.dataset import check_cases, create_manifest, load_manifest, training_records, write_manifest
from segpipe.dataset.importing.channel_files import look_for_cases, planned_channels
from segpipe.dataset.manifest_split import divide_manifest
from segpipe.errors import SegpipeError
from segpipe.transforms import LoadVolumed

KNOWN = {"labels": {0: "background", 1: "ventricle"}, "modality": ["MRI"], "checksums": False}
IMAGE, LABEL = "{case}/{case}_4d.nii.gz", "{case}/{case}_4d_gt.nii.gz"
OF_FRAME = "{case}/{case}_frame{frame}_gt.nii.gz"


@pytest.fixture
def patients(tmp_path):
    """Return a folder of three patients with a 4D image and a 4D label map each."""
    for number in range(3):
        write_patient(tmp_path / "set", f"p{number}", seed=number)
    return tmp_path / "set"


def created(folder, image=IMAGE, label=LABEL, **more):
    return create_manifest(folder, images=[image], label=label, frames=True, **{**KNOWN, **more})


def refusal(folder, **how):
    with pytest.raises(SegpipeError) as error:
        created(folder, **how)
    return str(error.value)


def write_frame_labels(folder, name, numbers):
    labels = labelled_frames([number for number in numbers if number <= FRAMES])
    for number in numbers:
        array = labels[..., min(number, FRAMES) - 1]
        path = folder / name / f"{name}_frame{number:02d}_gt.nii.gz"
        nibabel.save(nibabel.Nifti1Image(array, AFFINE), path)


def test_each_labelled_frame_is_a_case_of_one_patient(patients, tmp_path):
    made = created(patients)

    assert [(case.case, case.patient, case.frame) for case in made.manifest.training][:3] == [
        ("p0_frame01", "p0", 1),
        ("p0_frame03", "p0", 3),
        ("p1_frame01", "p1", 1),
    ]
    assert "6 labelled time frames of 3 series, a case each" in made.notes
    write_manifest(made.manifest, tmp_path / "m.json")
    manifest = load_manifest(tmp_path / "m.json")
    assert manifest == made.manifest
    table = manifest.label_table()
    assert check_cases(manifest.training, patients, manifest, table, progress=False) == []


def test_checksums_of_a_series_are_those_of_its_file(patients):
    first, second, *_ = created(patients, checksums=True).manifest.training

    assert set(first.sha256) == {"p0/p0_4d.nii.gz", "p0/p0_4d_gt.nii.gz"}
    assert first.sha256 == second.sha256


def test_frames_of_a_patient_never_part(patients):
    division = divide_manifest(created(patients).manifest, patients, num_folds=3)

    folds = {case.patient: set() for case in division.manifest.training}
    for case in division.manifest.training:
        folds[case.patient].add(case.fold)
    assert sorted(map(len, folds.values())) == [1, 1, 1]
    assert not any("same image content" in note for note in division.notes)


def test_a_label_map_for_each_frame(patients):
    for number in range(3):
        write_frame_labels(patients, f"p{number}", (1, 3))

    of_frames, whole = created(patients, label=OF_FRAME).manifest, created(patients).manifest

    assert [case.case for case in of_frames.training] == [case.case for case in whole.training]
    assert of_frames.training[1].label == "p0/p0_frame03_gt.nii.gz"
    records = [training_records(manifest.training[1:2], patients)[0] for manifest in (of_frames, whole)]
    loaded = [LoadVolumed(["image", "label"])(record) for record in records]
    np.testing.assert_array_equal(loaded[0]["image"][0], frames_of_noise(0)[..., 2])
    for case in loaded:
        np.testing.assert_array_equal(case["label"][0], labelled_frames([3])[..., 2])


def test_a_manifest_of_frames_is_a_cohort(patients, tmp_path):
    manifest = created(patients).manifest
    write_manifest(manifest, tmp_path / "m.json")

    scans = look_for_cases(tmp_path / "m.json", ()).scans

    assert [(scan.name, scan.frame) for scan in scans][:2] == [("p0_frame01", 1), ("p0_frame03", 3)]
    assert [channel.files for channel in planned_channels(manifest)] == ["{case}_4d"]


def test_series_without_a_label_map_are_listed_in_a_note(patients):
    save_4d(patients / "p9" / "p9_4d.nii.gz", frames_of_noise(9))
    for number in range(3):
        write_frame_labels(patients, f"p{number}", (1,))

    made = created(patients, label=OF_FRAME)

    assert len(made.manifest.training) == 3
    assert any(note.startswith("1 series without a label map not listed: p9") for note in made.notes)


def test_an_image_with_other_frames_than_its_label_map(patients):
    save_4d(patients / "p1" / "p1_4d_gt.nii.gz", labelled_frames([1], 2))

    assert "p1_4d_gt.nii.gz: has 2 frames, its image" in refusal(patients)
    assert "p1_4d.nii.gz has 3; must be as many" in refusal(patients)


def test_channels_with_other_frames(patients):
    for number in range(3):
        frames = FRAMES - (number == 2)
        save_4d(patients / f"p{number}" / f"p{number}_phase.nii.gz", frames_of_noise(7 + number, frames))

    with pytest.raises(SegpipeError, match=r"p2/p2_phase\.nii\.gz has 2 frames, p2/p2_4d\.nii\.gz has 3"):
        create_manifest(
            patients,
            images=[IMAGE, "{case}/{case}_phase.nii.gz"],
            label=LABEL,
            frames=True,
            **{**KNOWN, "modality": ["MRI", "phase"]},
        )


def test_label_maps_that_do_not_fit_frames(patients):
    write_frame_labels(patients, "p0", (FRAMES + 1,))
    assert f"is of frame {FRAMES + 1}, but p0/p0_4d.nii.gz has 3 frames" in refusal(patients, label=OF_FRAME)

    save_4d(patients / "p1" / "p1_4d_gt.nii.gz", labelled_frames([]))
    assert "has one value in each of its 3 frames" in refusal(patients)

    nibabel.save(
        nibabel.Nifti1Image(labelled_frames([1])[..., 0], AFFINE), patients / "p0" / "p0_4d_gt.nii.gz"
    )
    assert "of which frame is not known; name the frames' label maps with {frame}" in refusal(patients)


def test_numbers_of_frames_in_names(patients):
    write_frame_labels(patients, "p0", (1, 0))
    assert "p0_frame00_gt.nii.gz is of frame 0; frames are counted from 1" in refusal(
        patients, label=OF_FRAME
    )

    (patients / "p0" / "p0_frame00_gt.nii.gz").rename(patients / "p0" / "p0_frame1_gt.nii.gz")
    assert "are both frame 1 of p0" in refusal(patients, label=OF_FRAME)
    assert "matches no label map" in refusal(patients, label="{case}/{case}_t{frame}.nii.gz")
    assert "must have {frame} once" in refusal(patients, label="{case}/{case}{frame}_gt.nii.gz")


def test_frames_are_asked_for(patients):
    """Time frames are never taken as channels without a word."""
    with pytest.raises(SegpipeError, match=r"has 3 channels, a label map has one; .*add --frames"):
        create_manifest(patients, images=[IMAGE], label=LABEL, **KNOWN)
    with pytest.raises(SegpipeError, match=r"\{frame\} needs --frames"):
        create_manifest(patients, images=[IMAGE], label=OF_FRAME, **KNOWN)
    for number in range(3):
        write_frame_labels(patients, f"p{number}", (1,))

    notes = create_manifest(patients, images=[IMAGE], label="{case}/{case}_frame01_gt.nii.gz", **KNOWN).notes

    assert any("the 3 volumes along the fourth axis" in note and "--frames" in note for note in notes)


def test_a_folder_without_time_frames(patients):
    for number in range(3):
        path = patients / f"p{number}" / f"p{number}_4d.nii.gz"
        nibabel.save(nibabel.Nifti1Image(frames_of_noise()[..., 0], AFFINE), path)

    assert "--frames is given, and no image has time frames" in refusal(patients)
